//! Two clusters of their own for one system: a source and a target.

use std::cell::Cell;
use std::time::{Duration, Instant};

use syncjournal_tests::{Cluster, Db};

use crate::gauge::cpu;
use crate::machine::settings;

/// Longer than the slowest peer needs; what takes longer is reported as failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(900);
const PAUSE: Duration = Duration::from_millis(2);
const DATABASE: &str = "bench";

/// The tables that a system carries.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tables {
    /// From the source to the target.
    pub(crate) forth: Vec<String>,
    /// From the target to the source, in measurements that go both ways.
    pub(crate) back: Vec<String>,
}

impl Tables {
    /// Those of a one-way measurement; the marker goes with them.
    pub(crate) fn one_way(names: &[&str]) -> Self {
        let forth = names.iter().chain([&"marker"]).map(|name| (*name).to_owned()).collect();
        Self { forth, back: Vec::new() }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &String> {
        self.forth.iter().chain(&self.back)
    }
}

/// A source and a target, each on a cluster of its own; gone when dropped.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) source: Db,
    pub(crate) target: Db,
    mark: Cell<i32>,
}

impl Pair {
    /// Starts both clusters, with some settings more than the common ones. Both databases hold the
    /// tables `marker` and `marker_back`, by which it is told that everything before has arrived.
    pub(crate) fn start(more: &[(&str, &str)]) -> Self {
        let options = || more.iter().fold(settings(), |options, (n, v)| options.set(n, v));
        let [source, target] = [(), ()].map(|()| {
            let db = Db::named(&Cluster::start(options()), DATABASE);
            db.exec("create table marker (n int primary key)");
            db.exec("create table marker_back (n int primary key)");
            db
        });
        Self { source, target, mark: Cell::new(0) }
    }

    /// Commits a marker behind everything that was written so far.
    pub(crate) fn mark(&self) -> i32 {
        let mark = self.next_mark();
        self.source.exec(&format!("insert into marker values ({mark})"));
        mark
    }

    /// The same in the table that goes from the target to the source.
    pub(crate) fn mark_back(&self) -> i32 {
        let mark = self.next_mark();
        self.target.exec(&format!("insert into marker_back values ({mark})"));
        mark
    }

    fn next_mark(&self) -> i32 {
        self.mark.set(self.mark.get() + 1);
        self.mark.get()
    }

    /// Waits until the target shows a marker.
    pub(crate) fn wait(&self, mark: i32) {
        arrived(&self.target, "marker", mark);
    }

    /// Waits until the source shows a marker from the target.
    pub(crate) fn wait_back(&self, mark: i32) {
        arrived(&self.source, "marker_back", mark);
    }

    /// Brings both ends to rest, so that nothing of the past is done in the time of the next turn.
    pub(crate) fn settle(&self) {
        for db in [&self.source, &self.target] {
            db.exec("vacuum (analyze)");
            db.exec("checkpoint");
        }
    }

    /// The seconds of CPU that each server has used.
    pub(crate) fn cpu(&self) -> [f64; 2] {
        [&self.source, &self.target].map(|db| cpu::of_family(db.cluster().pid()))
    }
}

/// Bytes of WAL that a database's server has written.
pub(crate) fn wal(db: &Db) -> f64 {
    let bytes = "select (pg_current_wal_insert_lsn() - '0/0')::float8";
    db.query_one::<f64>(bytes)
}

/// Waits for a row of a marker table.
pub(crate) fn arrived(db: &Db, table: &str, mark: i32) {
    let query = format!("select exists (select from {table} where n = {mark})");
    wait(&format!("{table} {mark} has arrived"), || db.query_one::<bool>(&query));
}

/// Waits for a fact with a finer eye than the tests' own waiting.
pub(crate) fn wait(what: &str, mut fact: impl FnMut() -> bool) {
    let start = Instant::now();
    while !fact() {
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain until {what}");
        std::thread::sleep(PAUSE);
    }
}
