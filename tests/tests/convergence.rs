//! Random work on three nodes that change the same rows, with sets carried at random between them:
//! once everything has travelled, all three hold the same.
//!
//! `SYNCJOURNAL_SEED` replays one run; `SYNCJOURNAL_ROUNDS` makes it longer.

use syncjournal_tests::{Db, Random, assert_same_rows, carry, introduce, table_rows, triple};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// One statement on a handful of rows, so that nodes meet on them.
fn statement(random: &mut Random) -> String {
    let id = format!("00000000-0000-0000-0000-{:012}", 1 + random.below(12));
    let value = random.below(1000);
    match random.below(12) {
        0..3 => format!(
            "insert into item values ('{id}', {value}, 'new {value}')
             on conflict (id) do update set n = item.n + 1"
        ),
        3..6 => format!("update item set n = {value} where id = '{id}'"),
        6..8 => format!("update item set label = 'label {value}' where id = '{id}'"),
        8 => format!("update item set n = n + 1 where n < {value}"),
        9..11 => format!("delete from item where id = '{id}'"),
        _ if value < 100 => "truncate item".to_owned(),
        _ => format!("update item set label = null, n = -{value} where id = '{id}'"),
    }
}

fn work(random: &mut Random, db: &Db) {
    let statements: Vec<String> = (0..=random.below(3)).map(|_| statement(random)).collect();
    let end = if random.below(8) == 0 { "rollback" } else { "commit" };
    db.exec(&format!("begin; {}; {end}", statements.join("; ")));
}

/// Panics where two nodes differ, with all that the three know of the first row that does.
#[track_caller]
fn explain_differences(left: &Db, right: &Db, nodes: [&Db; 3]) {
    let (here, there) = (table_rows(left, "item"), table_rows(right, "item"));
    let only = |these: &[String], those: &[String]| {
        these.iter().find(|row| !those.contains(row)).map(|row| row[1..37].to_owned())
    };
    let Some(row) = only(&here, &there).or_else(|| only(&there, &here)) else { return };
    for db in nodes {
        for query in [
            "select 'row', sync_version, n, label from item where id = ",
            "select 'stone', version, row_id from syncjournal.tombstone
             where row_id::text like '00000000-%' and row_id in ('00000000-0000-0000-0000-000000000000', ",
            "select op, version, prev, new::text from syncjournal.change
             where op = 'TRUNCATE' or row_id = ",
            "select conflict_type, winner, base_version, local_version, remote_version, remote
             from syncjournal.conflict where row_id = ",
        ] {
            let end = if query.contains(" in (") { ")" } else { "" };
            eprintln!("{}: {:#?}", db.name(), db.rows(&format!("{query}'{row}'{end}")));
        }
    }
    assert_same_rows(left, right, "item");
}

#[test]
fn random_work_on_three_nodes_converges() {
    let seed = number("SYNCJOURNAL_SEED", u64::from(std::process::id()));
    eprintln!("SYNCJOURNAL_SEED={seed}");
    let mut random = Random::new(seed);
    let (a, b, c) = triple();
    introduce(&[(&a, "a"), (&b, "b"), (&c, "c")]);
    let nodes = [&a, &b, &c];
    for db in nodes {
        db.exec("create table item (id uuid primary key, n int, label text)");
        db.exec("select syncjournal.track('item')");
    }
    let pairs = [(&a, &b), (&b, &c), (&c, &a), (&b, &a), (&c, &b), (&a, &c)];
    for (from, to) in pairs {
        carry(from, to, "full");
    }
    for _ in 0..number("SYNCJOURNAL_ROUNDS", 150) {
        if random.below(3) > 0 {
            let db = nodes[random.below(3)];
            work(&mut random, db);
        } else {
            let (from, to) = pairs[random.below(pairs.len())];
            carry(from, to, "changes");
        }
    }
    // Whatever is still to travel travels in two rounds: to the next node, and to the one after.
    for _ in 0..3 {
        for (from, to) in pairs {
            carry(from, to, "changes");
        }
    }
    for db in nodes {
        let pending = db.rows(
            "select conflict_type, row_id, base_version, local_version, remote_version, local, remote
             from syncjournal.conflict where status = 'pending'",
        );
        assert!(pending.is_empty(), "{} waits for a person: {pending:#?}", db.name());
    }
    for (from, to) in pairs {
        let rest = carry(from, to, "changes");
        assert_eq!(rest.entries - rest.skipped, 0, "everything has travelled");
        explain_differences(from, to, nodes);
    }
    for db in nodes {
        let replayed: i64 = db.query_one(
            "select count(*) from item i where not exists (
                 select from syncjournal.history('item', i.id) h where h.version = i.sync_version)",
        );
        assert_eq!(replayed, 0, "each row stands at an entry of its own history");
    }
}
