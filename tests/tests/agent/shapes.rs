//! Live links in every shape, written at all ends at once, in one agent and in several.

use std::ops::Range;
use std::time::Duration;

use syncjournal_tests::{
    Agent, AgentCommand, Db, assert_same_rows, shared, table_rows, wait_until_within,
};

use super::fan_out::{wait_until_all_stream, walsenders};
use super::{Config, agent_dsn, furnish};

const PATIENCE: Duration = Duration::from_secs(180);

/// Nodes `n0`, `n1`, … and their connection strings.
struct Nodes {
    dbs: Vec<Db>,
    dsns: Vec<(String, String)>,
}

impl Nodes {
    fn new(count: usize) -> Self {
        let dbs: Vec<Db> = (0..count).map(|number| Db::fresh(shared(number % 3))).collect();
        let mut dsns = Vec::new();
        for (number, db) in dbs.iter().enumerate() {
            furnish(db, &format!("n{number}"));
            dsns.push((format!("n{number}"), agent_dsn(db)));
        }
        Self { dbs, dsns }
    }

    /// Links both ways between these pairs.
    fn config(&self, pairs: &[(usize, usize)]) -> String {
        let dsns: Vec<(&str, &str)> =
            self.dsns.iter().map(|(name, dsn)| (name.as_str(), dsn.as_str())).collect();
        let link = |config: Config, (one, two): &(usize, usize)| {
            config.link(&format!("n{one}"), &format!("n{two}"), "direction = \"both\"")
        };
        pairs.iter().fold(Config::new(&dsns), link).0
    }

    /// All write at once: rows of their own, and the same twenty.
    fn write(&self, rounds: Range<i32>) {
        std::thread::scope(|scope| {
            for (number, db) in self.dbs.iter().enumerate() {
                let (mut session, rounds) = (db.session(), rounds.clone());
                scope.spawn(move || {
                    for round in rounds {
                        let own = (number + 1) * 1_000_000 + usize::try_from(round).unwrap_or(0);
                        session.exec(&format!("insert into item values ({own}, 'n{number}')"));
                        session.exec(&format!(
                            "update item set amount = amount + 1, label = 'n{number} {round}'
                             where id = {}",
                            round % 20
                        ));
                    }
                });
            }
        });
    }

    fn wait_until_same(&self) {
        wait_until_within(PATIENCE, "all are the same", || {
            let first = table_rows(&self.dbs[0], "item");
            self.dbs[1..].iter().all(|db| table_rows(db, "item") == first)
        });
        for db in &self.dbs[1..] {
            assert_same_rows(&self.dbs[0], db, "item");
        }
    }
}

/// Runs one agent for each configuration over the same nodes, and lets all nodes write.
fn converges(nodes: &Nodes, configs: &[String]) {
    nodes.dbs[0].exec("insert into item select i, 'common' from generate_series(0, 19) i");
    // One after another, as a person sets it up: the first copy of a row is everybody's.
    for config in configs.iter().chain(configs) {
        let finished = AgentCommand::new(config).arg("sync").finish();
        assert_eq!(finished.code, Some(0), "{finished:#?}");
    }
    let agents: Vec<Agent> = configs.iter().map(|config| Agent::run(config)).collect();
    configs.iter().for_each(|config| wait_until_all_stream(config));
    nodes.write(0..60);
    nodes.wait_until_same();
    nodes.write(60..80);
    nodes.wait_until_same();
    let rows = i64::try_from(nodes.dbs.len()).unwrap_or(0) * 80 + 20;
    assert_eq!(super::count(&nodes.dbs[0]), rows);
    for db in &nodes.dbs {
        let senders = walsenders(db).len();
        assert!(senders <= configs.len(), "{senders} streams of one source");
    }
    for agent in agents {
        let ended = agent.stop();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
}

#[test]
fn a_ring_in_one_agent() {
    let nodes = Nodes::new(3);
    let config = nodes.config(&[(0, 1), (1, 2), (2, 0)]);
    converges(&nodes, &[config]);
}

#[test]
fn a_hub_with_three_spokes_in_one_agent() {
    let nodes = Nodes::new(4);
    let config = nodes.config(&[(0, 1), (0, 2), (0, 3)]);
    converges(&nodes, &[config]);
}

#[test]
fn a_chain_of_which_each_link_has_an_agent() {
    let nodes = Nodes::new(3);
    let configs = [(0, 1), (1, 2)].map(|pair| nodes.config(&[pair]));
    converges(&nodes, &configs);
}

#[test]
fn a_full_mesh_in_two_agents() {
    let nodes = Nodes::new(4);
    let configs =
        [nodes.config(&[(0, 1), (1, 2), (2, 3)]), nodes.config(&[(3, 0), (0, 2), (1, 3)])];
    converges(&nodes, &configs);
}
