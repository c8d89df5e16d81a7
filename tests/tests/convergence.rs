//! Random work on three nodes that change the same rows, with sets carried at random between them:
//! once everything has travelled, all three hold the same.
//!
//! `SYNCJOURNAL_SEED` replays one run; `SYNCJOURNAL_ROUNDS` makes it longer.

use syncjournal_tests::{Db, assert_same_rows, carry, introduce, triple};

/// A small generator, so that a seed means the same everywhere (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("small")
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// One statement on a handful of rows, so that nodes meet on them.
fn statement(random: &mut Random) -> String {
    let id = format!("00000000-0000-0000-0000-{:012}", random.below(12));
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

#[test]
fn random_work_on_three_nodes_converges() {
    let seed = number("SYNCJOURNAL_SEED", u64::from(std::process::id()));
    eprintln!("SYNCJOURNAL_SEED={seed}");
    let mut random = Random(seed);
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
        assert_same_rows(from, to, "item");
    }
    for db in nodes {
        let replayed: i64 = db.query_one(
            "select count(*) from item i where not exists (
                 select from syncjournal.history('item', i.id) h where h.version = i.sync_version)",
        );
        assert_eq!(replayed, 0, "each row stands at an entry of its own history");
    }
}
