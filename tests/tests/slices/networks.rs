//! Several nodes that all write, with slices between them: they end with the same rows in each slice.
//!
//! `SYNCJOURNAL_SEED` makes another run.

use syncjournal_tests::{Db, Random, carry, introduce, triple};

use super::{ITEM, two_subscribers};

const ROUNDS: usize = 8;
const REGIONS: [&str; 3] = ["north", "south", "west"];

fn random() -> Random {
    let chosen = std::env::var("SYNCJOURNAL_SEED").ok().and_then(|text| text.parse().ok());
    let seed = chosen.unwrap_or(22);
    eprintln!("SYNCJOURNAL_SEED={seed}");
    Random::new(seed)
}

/// Some writes of all kinds; keys that no other node gives out.
fn write(db: &Db, node: usize, next_key: &mut usize, random: &mut Random) {
    for _ in 0..12 {
        let region = REGIONS[random.below(3)];
        let some = format!(
            "(select id from item order by md5(id::text || '{}') limit 2)",
            random.below(99)
        );
        let number = random.below(1000);
        match random.below(10) {
            0..=2 => {
                *next_key += 1;
                let key = node * 1_000_000 + *next_key;
                db.exec(&format!("insert into item values ({key}, '{region}', 'new', {number})"));
            }
            3..=4 => {
                db.exec(&format!("update item set label = 'l{number}' where id in {some}"));
            }
            5..=6 => db.exec(&format!("update item set price = {number} where id in {some}")),
            7..=8 => db.exec(&format!("update item set region = '{region}' where id in {some}")),
            _ => db.exec(&format!("delete from item where id in {some}")),
        }
    }
}

/// Carries what there is along all ways until there is nothing more.
fn settle(ways: &[(&Db, &Db)]) {
    for _ in 0..12 {
        let moved: i64 = ways.iter().map(|(from, to)| carry(from, to, "changes").entries).sum();
        if moved == 0 {
            return;
        }
    }
    panic!("there is no end to it");
}

fn digest(db: &Db, slice: &str) -> String {
    let sql = "select format('%s %s', row_count, hash) from syncjournal.slice_digest";
    db.text(&format!("{sql}('{slice}')"))
}

#[track_caller]
fn assert_equal_slice(nodes: &[&Db], slice: &str) {
    let rows = format!(
        "select string_agg(format('%s %s %s', id, sync_version, item.*), E'\n' order by id) \
        from item where region = '{slice}'"
    );
    for node in nodes {
        assert_eq!(node.text(&rows), nodes[0].text(&rows), "{slice} at {}", node.name());
        assert_eq!(digest(node, slice), digest(nodes[0], slice), "{slice} at {}", node.name());
    }
}

fn assert_nothing_waits(nodes: &[&Db]) {
    for node in nodes {
        let waiting = "select coalesce(string_agg(error, ', '), '') from syncjournal.quarantine";
        assert_eq!(node.text(waiting), "", "in {}", node.name());
    }
}

fn run(nodes: [&Db; 3], ways: &[(&Db, &Db)]) {
    let mut random = random();
    let mut keys = [0; 3];
    for (from, to) in ways {
        carry(from, to, "full");
    }
    for _ in 0..ROUNDS {
        for (number, node) in nodes.iter().enumerate() {
            write(node, number + 1, &mut keys[number], &mut random);
        }
        // Some of the ways, in some order.
        for _ in 0..ways.len() {
            let (from, to) = ways[random.below(ways.len())];
            carry(from, to, "changes");
        }
    }
    settle(ways);
    assert_nothing_waits(&nodes);
}

#[test]
fn a_hub_and_its_subscribers_end_with_equal_slices() {
    let (hq, branch, office) = two_subscribers();
    for db in [&branch, &office] {
        db.exec("select syncjournal.create_slice('north', 'item', $$region = 'north'$$)");
        db.exec("select syncjournal.create_slice('south', 'item', $$region = 'south'$$)");
    }
    hq.exec(
        "insert into item select n, (array['north', 'south', 'west'])[n % 3 + 1], 'r', n \
        from generate_series(1, 30) n",
    );
    run([&hq, &branch, &office], &[(&hq, &branch), (&hq, &office), (&branch, &hq), (&office, &hq)]);
    assert_equal_slice(&[&hq, &branch, &office], "north");
    assert_equal_slice(&[&hq, &office], "south");
}

#[test]
fn a_subscriber_that_has_subscribers_ends_with_the_same() {
    let (hq, branch, office) = triple();
    introduce(&[(&hq, "hq"), (&branch, "branch"), (&office, "office")]);
    for db in [&hq, &branch, &office] {
        db.exec(ITEM);
        db.exec("select syncjournal.track('item')");
        db.exec("select syncjournal.create_slice('north', 'item', $$region = 'north'$$)");
        db.exec("select syncjournal.create_slice('south', 'item', $$region = 'south'$$)");
    }
    hq.exec("select syncjournal.alter_peer('branch', slices => '{north,south}')");
    branch.exec("select syncjournal.alter_peer('office', slices => '{north}')");
    hq.exec(
        "insert into item select n, (array['north', 'south', 'west'])[n % 3 + 1], 'r', n \
        from generate_series(1, 30) n",
    );
    run(
        [&hq, &branch, &office],
        &[(&hq, &branch), (&branch, &office), (&branch, &hq), (&office, &branch)],
    );
    assert_equal_slice(&[&hq, &branch, &office], "north");
    assert_equal_slice(&[&hq, &branch], "south");
}
