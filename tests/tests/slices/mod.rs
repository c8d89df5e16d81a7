//! Slices: named row filters by which peers have a part of a table.

mod bad_input;
mod files;
mod left;
mod lists;
mod locked;
mod networks;

use syncjournal_tests::{Db, introduce, pair, triple};

const ITEM: &str = "create table item (id int primary key, region text, label text, price int)";

/// Nodes hq and branch with the same table; the branch is to have the rows of the north.
fn north() -> (Db, Db) {
    let (hq, branch) = pair();
    introduce(&[(&hq, "hq"), (&branch, "branch")]);
    prepare(&hq, &branch);
    (hq, branch)
}

/// The same, with a third that has north and south.
fn two_subscribers() -> (Db, Db, Db) {
    let (hq, branch, office) = triple();
    introduce(&[(&hq, "hq"), (&branch, "branch"), (&office, "office")]);
    prepare(&hq, &branch);
    office.exec(ITEM);
    office.exec("select syncjournal.track('item')");
    hq.exec("select syncjournal.create_slice('south', 'item', $$region = 'south'$$)");
    hq.exec("select syncjournal.alter_peer('office', slices => '{north,south}')");
    (hq, branch, office)
}

fn prepare(hq: &Db, branch: &Db) {
    for db in [hq, branch] {
        db.exec(ITEM);
        db.exec("select syncjournal.track('item')");
    }
    hq.exec("select syncjournal.create_slice('north', 'item', $$region = 'north'$$)");
    hq.exec("select syncjournal.alter_peer('branch', slices => '{north}')");
}

/// What a node has, in order.
fn items(db: &Db) -> String {
    db.text(
        "select coalesce(string_agg(concat_ws(':', id, region, label, price), ' ' order by id), '') \
        from item",
    )
}

/// No conflict and nothing in quarantine.
#[track_caller]
fn assert_quiet(nodes: &[&Db]) {
    for db in nodes {
        let found = "select coalesce((select string_agg(conflict_type || ' ' || status, ', ') \
            from syncjournal.conflict), '') || coalesce((select string_agg(error, ', ') \
            from syncjournal.quarantine), '')";
        assert_eq!(db.text(found), "", "in {}", db.name());
    }
}

/// The rows of a slice of the source are those, at the same versions, that the peer has.
#[track_caller]
fn assert_same_slice(hq: &Db, peer: &Db, filter: &str) {
    let rows = format!(
        "select coalesce(string_agg(format('%s %s %s', sync_id, sync_version, item.*), ' ' \
        order by id), '') from item where {filter}"
    );
    assert_eq!(hq.text(&rows), peer.text(&rows));
}
