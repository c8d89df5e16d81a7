//! Gates: switches, directions, allowed operations, ranks, and rows that only the destination has.

mod agent;
mod extras;
mod operations;
mod pushes;
mod switches;

use syncjournal_tests::{Db, introduce, pair};

/// Two nodes with the same empty table, tracked, each the other's peer.
fn offices() -> (Db, Db) {
    let (hq, branch) = pair();
    introduce(&[(&hq, "hq"), (&branch, "branch")]);
    for db in [&hq, &branch] {
        db.exec(
            "create table item (id int primary key, label text);
             select syncjournal.track('item')",
        );
    }
    (hq, branch)
}

fn labels(db: &Db) -> Vec<String> {
    db.column("select id || ' ' || label from item order by id")
}

fn active(db: &Db) -> bool {
    db.query_one("select active from syncjournal.peer")
}

fn activity(db: &Db) -> Vec<String> {
    db.column("select peer || ' ' || event || ' ' || detail from syncjournal.activity order by activity_id")
}
