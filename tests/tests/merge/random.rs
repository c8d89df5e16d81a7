//! Random work on three nodes under each policy, by sets carried at random: all end equal, finitely
//! many merges are made, and no write is lost without an entry behind which it stands or a conflict
//! that tells of it.
//!
//! `SYNCJOURNAL_SEED` replays one run; `SYNCJOURNAL_ROUNDS` makes it longer.

use syncjournal_tests::{Db, Random, carry, introduce, triple};

use super::{assert_all_same, spread};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

const PAIRS: [(usize, usize); 6] = [(0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)];

/// One statement on a handful of rows, so that nodes meet on them.
fn statement(random: &mut Random, with_truncate: bool) -> String {
    let id = format!("00000000-0000-0000-0000-{:012}", 1 + random.below(8));
    let value = random.below(1000);
    match random.below(12) {
        0..3 => format!(
            "insert into item values ('{id}', {value}, 'new {value}')
             on conflict (id) do update set n = item.n + 1"
        ),
        3..5 => format!("update item set n = n + {value} where id = '{id}'"),
        5..8 => format!("update item set label = 'label {value}' where id = '{id}'"),
        8 => format!("update item set n = n + 1 where n < {value}"),
        9..11 => format!("delete from item where id = '{id}'"),
        _ if with_truncate && value < 100 => "truncate item".to_owned(),
        _ => format!("update item set label = null, n = n - {value} where id = '{id}'"),
    }
}

fn work(random: &mut Random, db: &Db, with_truncate: bool) {
    let statements: Vec<String> =
        (0..=random.below(3)).map(|_| statement(random, with_truncate)).collect();
    let end = if random.below(8) == 0 { "rollback" } else { "commit" };
    db.exec(&format!("begin; {}; {end}", statements.join("; ")));
}

/// Entries by users of rows that are here or have a tombstone, which are not behind what stands
/// there, and of which no conflict tells; unless another did the very same: that is no conflict.
fn lost(db: &Db) -> Vec<Vec<Option<String>>> {
    db.rows(
        "with recursive
         entry as materialized (
             select version, prev, merged, row_id, op, new from syncjournal.change
             where row_id is not null),
         head (row_id, version) as (
             select id, sync_version from item
             union all
             select row_id, version from syncjournal.tombstone t
             where not exists (select from item i where i.id = t.row_id)),
         told (row_id, version) as (
             select row_id, v from syncjournal.conflict
                 cross join unnest(array[local_version, remote_version]) v
             where v is not null),
         twin (row_id, version) as (
             select e.row_id, e.version from entry e
                 join entry same on same.row_id = e.row_id and same.version <> e.version
                     and same.op = e.op and same.new is not distinct from e.new),
         behind (row_id, version) as (
             select row_id, version from (table head union table told union table twin) known
             union
             select b.row_id, p from behind b
                 join entry e on e.row_id = b.row_id and e.version = b.version
                 cross join unnest(array[e.prev, e.merged]) p
             where p is not null)
         select e.op, e.version, e.row_id from entry e
         where e.op <> 'MERGE' and exists (select from head h where h.row_id = e.row_id)
             and not exists (select from behind b
                 where b.row_id = e.row_id and b.version = e.version)",
    )
}

fn converges(rules: &str, settle: Option<&str>, with_truncate: bool) {
    let seed = number("SYNCJOURNAL_SEED", 2001);
    eprintln!("SYNCJOURNAL_SEED={seed} for {rules}");
    let mut random = Random::new(seed);
    let (a, b, c) = triple();
    introduce(&[(&a, "a"), (&b, "b"), (&c, "c")]);
    let nodes = [&a, &b, &c];
    let ids = nodes.map(|db| db.text("select node_id from syncjournal.node where is_local"));
    for db in nodes {
        db.exec("create table item (id uuid primary key, n int, label text)");
        if let Some(body) = settle {
            db.exec(&format!(
                "create function settle(base jsonb, local jsonb, remote jsonb) returns jsonb
                 language sql as $$ {body} $$"
            ));
        }
        if rules.contains("node_priority") {
            let order = ids[1..].join(",");
            db.exec(&format!("select syncjournal.set_node_priority('{{{order}}}')"));
        }
        db.exec(&format!("select syncjournal.track('item', {rules})"));
    }
    for _ in 0..number("SYNCJOURNAL_ROUNDS", 60) {
        if random.below(3) > 0 {
            let db = nodes[random.below(3)];
            work(&mut random, db, with_truncate);
        } else {
            let (from, to) = PAIRS[random.below(PAIRS.len())];
            carry(nodes[from], nodes[to], "changes");
        }
    }
    spread(&nodes);
    if rules.contains("manual") {
        settle_by_hand(&nodes);
    }
    explain_differences(&nodes);
    assert_all_same(&nodes);
    for db in nodes {
        // What a TRUNCATE took, it has behind it by what it had seen, and not as a parent.
        if !with_truncate {
            let lost = lost(db);
            if let Some(Some(id)) = lost.first().and_then(|entry| entry.last()) {
                explain(&nodes, id);
            }
            assert_eq!(lost, Vec::<Vec<_>>::new(), "{} lost writes", db.name());
        }
        let waiting: i64 =
            db.query_one("select count(*) from syncjournal.conflict where status = 'pending'");
        assert_eq!(waiting, 0, "{} waits for a person", db.name());
    }
    let (merges, writes): (i64, i64) = (
        a.query_one("select count(*) from syncjournal.change where op = 'MERGE'"),
        a.query_one("select count(*) from syncjournal.change where op <> 'MERGE'"),
    );
    assert!(merges <= 3 * writes, "{merges} merges of {writes} writes");
}

/// Prints all that the nodes know of the first row that differs.
fn explain_differences(nodes: &[&Db; 3]) {
    let rows = nodes.map(|db| syncjournal_tests::table_rows(db, "item"));
    let all = rows.iter().flatten();
    if let Some(odd) = all.clone().find(|row| !rows.iter().all(|rows| rows.contains(row))) {
        explain(nodes, &odd[1..37]);
    }
}

/// Prints all that the nodes know of a row.
fn explain(nodes: &[&Db; 3], id: &str) {
    for db in nodes {
        for query in [
            format!("select 'row', sync_version, n, label from item where id = '{id}'"),
            format!("select 'stone', version from syncjournal.tombstone where row_id = '{id}'"),
            format!(
                "select op, version, prev, merged, old::text, new::text from syncjournal.change
                 where op = 'TRUNCATE' or row_id = '{id}' order by version"
            ),
            format!(
                "select conflict_type, winner, base_version, local_version, remote_version
                 from syncjournal.conflict where row_id = '{id}' order by conflict_id"
            ),
        ] {
            for row in db.rows(&query) {
                let texts: Vec<String> = row.into_iter().map(|f| f.unwrap_or_default()).collect();
                eprintln!("{}: {}", db.name(), texts.join(" "));
            }
        }
    }
}

/// A person at the first node decides on all that waits there, until nothing does anywhere.
fn settle_by_hand(nodes: &[&Db; 3]) {
    for _ in 0..20 {
        nodes[0].exec(
            "do $$ declare waiting int8; begin
                 loop
                     select conflict_id into waiting from syncjournal.conflict
                     where status = 'pending' order by conflict_id limit 1;
                     exit when not found;
                     perform syncjournal.resolve_conflict(waiting,
                         case when waiting % 2 = 0 then 'local' else 'remote' end);
                 end loop;
             end $$",
        );
        spread(nodes);
        let waiting = |db: &&Db| -> i64 {
            db.query_one("select count(*) from syncjournal.conflict where status = 'pending'")
        };
        if nodes.iter().map(waiting).sum::<i64>() == 0 {
            return;
        }
    }
    for db in nodes {
        let left = db.rows(
            "select conflict_type, row_id, local_version, remote_version, local, remote
             from syncjournal.conflict where status = 'pending'",
        );
        eprintln!("{}: {left:#?}", db.name());
    }
    panic!("conflicts do not end");
}

fn converges_with_and_without_truncates(rules: &str) {
    converges(rules, None, false);
    converges(rules, None, true);
}

#[test]
fn last_update_wins() {
    converges_with_and_without_truncates("conflict_policy => 'last_update_wins'");
}

#[test]
fn first_update_wins() {
    converges("conflict_policy => 'first_update_wins'", None, false);
}

#[test]
fn node_priority() {
    converges("conflict_policy => 'node_priority'", None, false);
}

#[test]
fn merge_columns() {
    converges_with_and_without_truncates("conflict_policy => 'merge_columns'");
}

#[test]
fn counters() {
    let counted = ", counters => '{n}'";
    converges(&format!("conflict_policy => 'merge_columns'{counted}"), None, false);
    converges(&format!("conflict_policy => 'last_update_wins'{counted}"), None, false);
}

#[test]
fn custom() {
    let greater = "select case when local is null or remote is null then coalesce(local, remote)
         else jsonb_build_object('n', greatest((local ->> 'n')::int, (remote ->> 'n')::int),
             'label', local ->> 'label') end";
    converges("conflict_policy => 'custom', merge_function => 'settle'", Some(greater), false);
}

#[test]
fn manual() {
    converges("conflict_policy => 'manual'", None, false);
}
