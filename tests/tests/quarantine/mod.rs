//! Entries that cannot be applied are set aside, the rest goes on, and they flow when they can.

mod calls;
mod causes;
mod keys;
mod live;

use syncjournal_tests::{Db, carry, introduce, pair};

/// Two nodes with the same tracked table, empty, after a first copy; `more` comes after its creation
/// at the branch alone.
fn offices(table: &str, more: &str) -> (Db, Db) {
    let (hq, branch) = pair();
    introduce(&[(&hq, "hq"), (&branch, "branch")]);
    for db in [&hq, &branch] {
        db.exec(table);
        db.exec("select syncjournal.track('item')");
    }
    branch.exec(more);
    carry(&hq, &branch, "full");
    (hq, branch)
}

/// The table of most tests: the identity is added, so that rows made on both sides differ.
const CODES: &str = "create table item (id int primary key, code int unique, label text)";

fn rows(db: &Db) -> Vec<String> {
    db.column("select concat_ws(' ', id, code, label) from item order by id")
}

/// What waits: sqlstate, operation and new values, in order of the entries.
fn waiting(db: &Db) -> Vec<String> {
    db.column(
        "select concat_ws(' ', sqlstate, op, new) from syncjournal.quarantine order by version",
    )
}

/// The conflicts: type, status, winner.
fn conflicts(db: &Db) -> Vec<String> {
    db.column(
        "select concat_ws(' ', conflict_type, status, winner) from syncjournal.conflict
         order by conflict_id",
    )
}
