//! What a seed means.

use syncjournal_core::merge::Policy;

use crate::node::Moment;
use crate::random::Random;

/// A rule left out, to see that the oracle notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A restored backup goes on under its old node tag.
    RestoreKeepsIdentity,
    /// Entries are pruned once all nodes have them, though a peer's copy is still to come.
    PruneBeforeInbound,
    /// An insert does not look for the tombstone of its identity.
    InsertForgetsTombstone,
    /// The first update of a row that was there when tracked carries the changed columns only, and
    /// the databases were not quite equal at that time.
    PartialFirstUpdate,
    /// A TRUNCATE deletes all rows that it finds.
    TruncateAll,
}

/// The functions of the custom policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Custom {
    KeepLocal,
    TakeRemote,
    GreaterOfEach,
    /// Deletes where one side is deleted, else what the node happens to like.
    Whimsical,
}

/// A schedule before it runs.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub nodes: usize,
    pub rows: u8,
    /// Rows that are there before tracking.
    pub initial_rows: u8,
    pub columns: usize,
    pub counters: Vec<usize>,
    pub policy: Policy,
    pub custom: Custom,
    pub links: Vec<(usize, usize)>,
    pub events: usize,
    /// How far clocks may be off, either way.
    pub skew_micros: u64,
    pub loss_percent: usize,
    pub duplicate_percent: usize,
    pub partitions: bool,
    pub restores: bool,
    pub prunes: bool,
    pub truncates: bool,
    pub flaw: Option<Flaw>,
}

const HOUR: u64 = 3_600_000_000;

impl Plan {
    /// The plan of a seed: mostly a handful of nodes, now and then up to fifty.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let nodes = match random.below(1_000) {
            0..700 => random.between(2, 4),
            700..985 => random.between(4, 7),
            985..999 => random.between(8, 16),
            _ => random.between(17, 50),
        };
        Self::with_nodes(seed, nodes, &mut random)
    }

    /// The plan at a time.
    #[must_use]
    pub const fn moment(&self, wall_micros: u64) -> Moment<'_> {
        Moment { plan: self, wall_micros }
    }

    /// As [`of_seed`](Self::of_seed), with a given number of nodes.
    #[must_use]
    pub fn with_nodes(seed: u64, nodes: usize, random: &mut Random) -> Self {
        let columns = random.between(2, 4);
        let counters = match random.percent(40) {
            true => vec![columns - 1],
            false => Vec::new(),
        };
        let rows = random.between(1, 4) as u8;
        let policy = policy(random, nodes);
        let restores = random.percent(20);
        let truncates = random.percent(25);
        Self {
            seed,
            nodes,
            rows,
            initial_rows: random.below(usize::from(rows) + 1) as u8,
            columns,
            counters,
            policy,
            custom: [
                Custom::KeepLocal,
                Custom::TakeRemote,
                Custom::GreaterOfEach,
                Custom::Whimsical,
            ][random.below(4)],
            links: links(random, nodes),
            events: random.between(6, 24) + nodes * random.between(2, 6),
            skew_micros: [0, 1_000_000, 6 * HOUR][random.below(3)],
            loss_percent: random.below(40),
            duplicate_percent: random.below(40),
            partitions: random.percent(50),
            restores,
            // What a restored node lacks must not be pruned at its peers: it would need a full set.
            // A TRUNCATE makes its deletes where it arrives, and pruning does not ask after them.
            prunes: !restores && !truncates && nodes <= 8 && random.percent(30),
            truncates,
            flaw: None,
        }
    }
}

fn policy(random: &mut Random, nodes: usize) -> Policy {
    match random.below(6) {
        0 => Policy::LastUpdateWins,
        1 => Policy::FirstUpdateWins,
        2 => {
            let first = random.between(1, nodes) as u32;
            Policy::NodePriority((first..=nodes as u32).collect())
        }
        3 => Policy::MergeColumns,
        4 => Policy::Custom,
        _ => Policy::Manual,
    }
}

/// Pair, chain, ring, hub, mesh, or a random connected graph.
fn links(random: &mut Random, nodes: usize) -> Vec<(usize, usize)> {
    let mut links: Vec<(usize, usize)> = match random.below(5) {
        0 => (1..nodes).map(|node| (node - 1, node)).collect(),
        1 => (0..nodes).map(|node| (node, (node + 1) % nodes)).collect(),
        2 => (1..nodes).map(|node| (0, node)).collect(),
        3 if nodes <= 16 => {
            (1..nodes).flat_map(|node| (0..node).map(move |other| (other, node))).collect()
        }
        _ => {
            let tree = (1..nodes).map(|node| (random.below(node), node)).collect::<Vec<_>>();
            let more = (0..nodes / 2).map(|_| (random.below(nodes), random.below(nodes)));
            tree.into_iter().chain(more).collect()
        }
    };
    links.retain(|(a, b)| a != b);
    links.iter_mut().for_each(|link| *link = (link.0.min(link.1), link.0.max(link.1)));
    links.sort_unstable();
    links.dedup();
    links
}
