//! Capture: whatever a client does to a tracked table, the journal replays exactly to the table's
//! content, and each entry names the version that it replaces.

mod columns;
mod last_word;
mod lives;
mod partitions;
mod random;
mod replay;
mod rows;
mod standing;
mod statements;
mod transactions;
mod triggers;
mod truncate;

use syncjournal_tests::{Cluster, Db, Options, shared};

use replay::{assert_replays, entries, ops};

/// A database that is a node.
fn node() -> Db {
    let db = Db::fresh(shared(0));
    db.exec("select syncjournal.create_node('hq')");
    db
}

/// A database that is a node, with a tracked table made by this definition.
fn tracking(table: &str, definition: &str) -> Db {
    let db = node();
    db.exec(&format!("create table {table} ({definition})"));
    db.exec(&format!("select syncjournal.track('{table}')"));
    db
}

/// Runs statements one after another, each in a transaction of its own unless they open one.
#[track_caller]
fn steps(db: &Db, script: &[&str]) {
    for statement in script {
        db.exec(statement);
    }
}

/// A cluster for what the shared ones are not configured for.
fn with_prepared_transactions() -> Db {
    let cluster = Cluster::start(Options::default().set("max_prepared_transactions", "4"));
    let db = Db::fresh(&cluster);
    db.exec("select syncjournal.create_node('hq')");
    db
}
