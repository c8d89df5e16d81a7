//! Three nodes that are all written at once, over links that fail, and end equal.
//!
//! ```text
//! shape  who is linked with whom, under which policy
//! work   sessions that write at random, and note what was acknowledged
//! links  agents, which are stopped, killed, frozen, and cut off
//! still  waits until nothing moves any more
//! verdict  compares the nodes with each other, and with what was acknowledged
//! ```
//!
//! `make converge` runs every shape under every policy for a minute; the test suite a few of them for
//! some seconds.

mod links;
mod shape;
mod still;
mod verdict;
mod work;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use shape::{Policy, Topology};

use crate::cluster::Cluster;
use crate::database::Db;
use crate::random::Random;
use links::Links;

/// What the nodes are called.
const NAMES: [&str; 3] = ["a", "b", "c"];

/// Tables of a run, tracked under its policy.
const TABLES: [&str; 3] = ["item", "part", "tally"];

/// One run.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub topology: Topology,
    pub policy: Policy,
    /// How long the nodes are written to.
    pub time: Duration,
    pub seed: u64,
}

/// What came of it; every number was checked.
#[derive(Debug, Clone)]
pub struct Report {
    /// Rows that were written, in transactions that were acknowledged.
    pub writes: usize,
    pub transactions: usize,
    /// Entries that nodes made to join two histories of a row.
    pub merges: usize,
    /// Conflicts in each node's log.
    pub conflicts: [i64; 3],
    /// Conflicts that a person had to settle.
    pub resolved: usize,
    /// How often links were cut.
    pub cuts: usize,
    /// From the last write, and whole links, until nothing moved.
    pub until_equal: Duration,
}

impl Run {
    /// Runs on three clusters; panics at any difference.
    #[track_caller]
    pub fn on(&self, clusters: [&Arc<Cluster>; 3]) -> Report {
        let mut random = Random::new(self.seed);
        let nodes = self.furnish(clusters);
        let mut links = Links::connect(self.topology, &nodes);
        let writers = work::Writers::start(&nodes, &mut random);
        let end = Instant::now() + self.time;
        let mut cuts = 0;
        while Instant::now() < end {
            links.trouble(&mut random, &nodes, end);
            cuts += 1;
        }
        let done = writers.stop();
        links.mend();
        let whole = Instant::now();
        still::wait(&nodes, self.time);
        let mut resolved = 0;
        if self.policy == Policy::Manual {
            resolved = verdict::resolve_all(&nodes, &mut random, self.time);
        }
        if verdict::wait_until_released(&nodes) {
            still::wait(&nodes, self.time);
        }
        let until_equal = whole.elapsed();
        let merges = verdict::judge(&nodes, &done, self.policy);
        links.stop();
        Report {
            writes: done.writes(),
            transactions: done.transactions,
            merges,
            conflicts: nodes
                .each_ref()
                .map(|db| db.query_one("select count(*) from syncjournal.conflict")),
            resolved,
            cuts,
            until_equal,
        }
    }

    fn furnish(&self, clusters: [&Arc<Cluster>; 3]) -> [Db; 3] {
        let nodes = clusters.map(Db::fresh);
        let ids: Vec<String> = nodes
            .iter()
            .zip(NAMES)
            .map(|(db, name)| db.text(&format!("select syncjournal.create_node('{name}')")))
            .collect();
        for db in &nodes {
            db.exec(work::SCHEMA);
            db.exec(&self.policy.prerequisites(&ids));
            for table in TABLES {
                let counters = if table == "tally" { "{stock}" } else { "{}" };
                db.exec(&self.policy.track(table, counters));
            }
        }
        nodes
    }
}
