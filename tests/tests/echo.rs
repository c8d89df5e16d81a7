//! What came from a peer is not sent back to it, and travels on to others under its own version.

use syncjournal_tests::{
    Agent, AgentCommand, Db, assert_same_rows, carry, introduce, pair, table_rows, triple,
    wait_until,
};

const CHANGES: &str = "select count(*) from syncjournal.change where relation = 'public.item'";

/// Three nodes with the same table, empty and tracked, after a first copy along the chain a – b – c.
fn chain() -> (Db, Db, Db) {
    let (a, b, c) = triple();
    introduce(&[(&a, "a"), (&b, "b"), (&c, "c")]);
    for db in [&a, &b, &c] {
        db.exec("create table item (id int primary key, label text)");
        db.exec("select syncjournal.track('item')");
    }
    (a, b, c)
}

fn assert_all_same(a: &Db, b: &Db, c: &Db) {
    assert_same_rows(a, b, "item");
    assert_same_rows(b, c, "item");
    for db in [a, b, c] {
        let conflicts: i64 = db.query_one("select count(*) from syncjournal.conflict");
        assert_eq!(conflicts, 0, "conflicts in {}", db.name());
    }
}

#[test]
fn entries_travel_on_along_a_chain_and_not_back() {
    let (a, b, c) = chain();
    for (from, to) in [(&a, &b), (&b, &a), (&b, &c), (&c, &b)] {
        carry(from, to, "full");
    }
    a.exec("insert into item values (1, 'from a'), (2, 'from a')");
    assert_eq!(carry(&a, &b, "changes").inserted, 2);
    assert_eq!(carry(&b, &a, "changes").entries, 0, "a's own entries came back to it");
    assert_eq!(carry(&b, &c, "changes").inserted, 2);
    assert_eq!(carry(&c, &b, "changes").entries, 0, "what c has from b went back to b");

    c.exec("update item set label = 'from c' where id = 1; delete from item where id = 2");
    let back = carry(&c, &b, "changes");
    assert_eq!((back.updated, back.deleted), (1, 1));
    let further = carry(&b, &a, "changes");
    assert_eq!((further.updated, further.deleted), (1, 1));
    assert_eq!(carry(&a, &b, "changes").entries, 0);
    assert_eq!(carry(&b, &c, "changes").entries, 0);
    assert_all_same(&a, &b, &c);
    for db in [&a, &b, &c] {
        assert_eq!(db.query_one::<i64>(CHANGES), 4, "each entry once in {}", db.name());
    }
}

#[test]
fn entries_go_round_a_live_ring_once() {
    let (a, b, c) = chain();
    let mut config = String::new();
    for (db, name) in [(&a, "a"), (&b, "b"), (&c, "c")] {
        config += &format!("[node.{name}]\ndsn = \"{}\"\n", db.dsn());
    }
    for (source, destination) in [("a", "b"), ("b", "c"), ("c", "a")] {
        config += &format!(
            "[[link]]\nname = \"{source}-{destination}\"\nsource = \"{source}\"\n\
             destination = \"{destination}\"\ndirection = \"both\"\nmode = \"live\"\n"
        );
    }
    // The first copies, of empty tables: what is written from here on travels as entries alone.
    let synced = AgentCommand::new(&config).arg("sync").finish();
    assert_eq!(synced.code, Some(0), "{synced:#?}");
    let agent = Agent::run(&config);
    a.exec("insert into item values (1, 'from a')");
    b.exec("insert into item values (2, 'from b')");
    c.exec("insert into item values (3, 'from c')");
    let everywhere = |rows: usize| {
        let [a, b, c] = [&a, &b, &c].map(|db| table_rows(db, "item"));
        a.len() == rows && a == b && b == c
    };
    wait_until("all three inserts are everywhere", || everywhere(3));
    a.exec("update item set label = 'again' where id = 3");
    b.exec("delete from item where id = 1");
    let arrived = |db: &Db| {
        db.query_one::<i64>("select count(*) from item where label = 'again' and id = 3") == 1
    };
    wait_until("the changes are everywhere", || everywhere(2) && arrived(&b) && arrived(&c));
    let ended = agent.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_all_same(&a, &b, &c);
    for db in [&a, &b, &c] {
        assert_eq!(db.query_one::<i64>(CHANGES), 5, "each entry once in {}", db.name());
    }
}

/// Both ends have much to give each other when the link starts.
#[test]
fn two_first_copies_in_opposite_directions_do_not_wait_for_each_other() {
    let (a, b) = pair();
    introduce(&[(&a, "a"), (&b, "b")]);
    for (db, offset) in [(&a, 0), (&b, 100_000)] {
        db.exec("create table item (id int primary key, label text)");
        db.exec(&format!(
            "insert into item select {offset} + n, repeat('x', 50) from generate_series(1, 20000) n"
        ));
        db.exec("select syncjournal.track('item')");
    }
    let agent = Agent::run(&format!(
        "[node.a]\ndsn = \"{}\"\n[node.b]\ndsn = \"{}\"\n[[link]]\nname = \"a-b\"\n\
         source = \"a\"\ndestination = \"b\"\ndirection = \"both\"\nmode = \"live\"\n",
        a.dsn(),
        b.dsn()
    ));
    let rows = |db: &Db| db.query_one::<i64>("select count(*) from item");
    wait_until("both have all rows", || rows(&a) == 40_000 && rows(&b) == 40_000);
    assert_eq!(agent.stop().code, Some(0));
    assert_same_rows(&a, &b, "item");
}
