//! Who is linked with whom, and who wins.

use std::str::FromStr;

use super::NAMES;

/// Four ways to join three nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topology {
    /// b in the middle; one agent has both links.
    Hub,
    /// a with b, b with c; an agent for each link.
    Chain,
    /// a to b to c to a, one way each; an agent for each link.
    Ring,
    /// Everybody with everybody, both ways; one agent.
    Mesh,
}

impl Topology {
    pub const ALL: [Self; 4] = [Self::Hub, Self::Chain, Self::Ring, Self::Mesh];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hub => "hub",
            Self::Chain => "chain",
            Self::Ring => "ring",
            Self::Mesh => "mesh",
        }
    }

    /// The links of each agent: from and to, as indexes of nodes.
    fn agents(self) -> Vec<Vec<(usize, usize)>> {
        match self {
            Self::Hub => vec![vec![(1, 0), (1, 2)]],
            Self::Chain => vec![vec![(0, 1)], vec![(1, 2)]],
            Self::Ring => vec![vec![(0, 1)], vec![(1, 2)], vec![(2, 0)]],
            Self::Mesh => vec![vec![(0, 1), (1, 2), (2, 0)]],
        }
    }

    /// The configuration of each agent.
    pub(super) fn configurations(self, dsns: &[String; 3]) -> Vec<String> {
        let direction = if self == Self::Ring { "push" } else { "both" };
        let nodes: String = NAMES
            .iter()
            .zip(dsns)
            .map(|(name, dsn)| format!("[node.{name}]\ndsn = \"{dsn}\"\n"))
            .collect();
        let link = |&(from, to): &(usize, usize)| {
            let (from, to) = (NAMES[from], NAMES[to]);
            format!(
                "[[link]]\nname = \"{from}-{to}\"\nsource = \"{from}\"\ndestination = \"{to}\"\n\
                 direction = \"{direction}\"\nmode = \"live\"\n"
            )
        };
        let agent = |links: &Vec<(usize, usize)>| {
            nodes.clone() + &links.iter().map(link).collect::<String>()
        };
        self.agents().iter().map(agent).collect()
    }
}

/// The policies under which nodes that are all written to end equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    LastUpdateWins,
    FirstUpdateWins,
    NodePriority,
    MergeColumns,
    Custom,
    Manual,
}

impl Policy {
    pub const ALL: [Self; 6] = [
        Self::LastUpdateWins,
        Self::FirstUpdateWins,
        Self::NodePriority,
        Self::MergeColumns,
        Self::Custom,
        Self::Manual,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::LastUpdateWins => "last_update_wins",
            Self::FirstUpdateWins => "first_update_wins",
            Self::NodePriority => "node_priority",
            Self::MergeColumns => "merge_columns",
            Self::Custom => "custom",
            Self::Manual => "manual",
        }
    }

    /// What must be there before a table is tracked under the policy.
    pub(super) fn prerequisites(self, nodes: &[String]) -> String {
        match self {
            // By id: not every node meets every other one.
            Self::NodePriority => {
                format!("select syncjournal.set_node_priority('{{{}}}')", nodes.join(","))
            }
            // A change outlives a delete, else the greater row wins: every node would say the same.
            Self::Custom => {
                "create function keep_greater(base jsonb, local jsonb, remote jsonb) returns jsonb
                 language sql immutable as
                 $$ select greatest(local, remote) $$"
                    .to_owned()
            }
            _ => String::new(),
        }
    }

    pub(super) fn track(self, table: &str, counters: &str) -> String {
        let function = if self == Self::Custom { ", merge_function => 'keep_greater'" } else { "" };
        format!(
            "select syncjournal.track('{table}', conflict_policy => '{}', counters => '{counters}'
                 {function})",
            self.as_str()
        )
    }
}

/// Both are chosen by name.
impl FromStr for Topology {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|topology| topology.as_str() == text);
        found.ok_or_else(|| format!("there is no topology \"{text}\""))
    }
}

impl FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|policy| policy.as_str() == text);
        found.ok_or_else(|| format!("there is no policy \"{text}\""))
    }
}
