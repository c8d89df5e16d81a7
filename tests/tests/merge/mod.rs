//! Rows that several nodes write at once: policies, counters, conflicts, people, truncations.

mod conflicts;
mod counters;
mod custom;
mod deletes;
mod first_sets;
mod heads;
mod manual;
mod policies;
mod races;
mod random;
mod truncate;

use syncjournal_tests::{Db, assert_same_rows, carry, introduce, pair, triple};

/// The row that every test begins with.
const ROW: &str = "00000000-0000-4000-8000-000000000001";

/// A tracked table under a policy on each node, introduced to each other, with the same one row.
fn track(nodes: &[&Db], rules: &str) {
    for db in nodes {
        db.exec(
            "create table item (id uuid primary key, label text, n int default 0, price numeric)",
        );
        db.exec(&format!("select syncjournal.track('item', {rules})"));
    }
    nodes[0].exec(&format!("insert into item values ('{ROW}', 'both', 10, 1)"));
    spread(nodes);
}

fn two(rules: &str) -> (Db, Db) {
    let (a, b) = pair();
    introduce(&[(&a, "a"), (&b, "b")]);
    track(&[&a, &b], rules);
    (a, b)
}

fn three(rules: &str) -> (Db, Db, Db) {
    let (a, b, c) = triple();
    introduce(&[(&a, "a"), (&b, "b"), (&c, "c")]);
    track(&[&a, &b, &c], rules);
    (a, b, c)
}

/// Carries sets between all until nothing moves any more: which must be soon.
#[track_caller]
fn spread(nodes: &[&Db]) {
    for _ in 0..8 {
        let mut moved = 0;
        for from in nodes {
            for to in nodes.iter().filter(|to| !std::ptr::eq(**to, *from)) {
                let applied = carry(from, to, "changes");
                moved += applied.entries - applied.skipped + new_frames(from, to);
            }
        }
        if moved == 0 {
            return;
        }
    }
    panic!("entries go to and fro without end");
}

/// Entries that would still go.
fn new_frames(from: &Db, to: &Db) -> i64 {
    let name = to.text("select name from syncjournal.node where is_local");
    from.query_one(&format!(
        "select lag_entries::int8 from syncjournal.stat_peer where name = '{name}'"
    ))
}

#[track_caller]
fn assert_all_same(nodes: &[&Db]) {
    nodes.windows(2).for_each(|two| assert_same_rows(two[0], two[1], "item"));
}

/// The row as text; empty where it is gone.
fn row(db: &Db) -> String {
    let rows: Vec<String> =
        db.column(&format!("select concat_ws(' ', label, n, price) from item where id = '{ROW}'"));
    rows.concat()
}

fn set(db: &Db, change: &str) {
    db.exec(&format!("update item set {change} where id = '{ROW}'"));
}

fn delete(db: &Db) {
    db.exec(&format!("delete from item where id = '{ROW}'"));
}

/// Conflicts in their order, as `type winner status`.
fn conflicts(db: &Db) -> Vec<String> {
    db.column(
        "select concat_ws(' ', conflict_type, winner, status) from syncjournal.conflict
         order by conflict_id",
    )
}
