//! Digests: equal content gives equal lines, a difference is found by going down.

use syncjournal_tests::{Db, carry, introduce, pair, shared};

/// Tracks nothing yet: both have a node's name.
fn nodes() -> (Db, Db) {
    let (left, right) = pair();
    introduce(&[(&left, "left"), (&right, "right")]);
    (left, right)
}

/// The lines of a digest: prefix, rows, hash.
fn digest(db: &Db, arguments: &str) -> Vec<String> {
    let lines = format!(
        "select encode(prefix, 'hex') || ' ' || row_count || ' ' || encode(hash, 'hex')
         from syncjournal.digest({arguments})"
    );
    db.column(&lines)
}

#[test]
fn neither_the_order_of_rows_nor_of_columns_counts() {
    let (left, right) = nodes();
    left.exec(
        "create table item (id uuid primary key, gone int, n int, label text, price numeric(8, 2));
         alter table item drop column gone;
         insert into item select md5(i::text)::uuid, i, 'item ' || i, i / 4.0
             from generate_series(1, 500) i",
    );
    right.exec(
        "create table item (price numeric(8, 2), label varchar(40), id uuid primary key, n int);
         insert into item select i / 4.0, 'item ' || i, md5(i::text)::uuid, i
             from generate_series(500, 1, -1) i",
    );
    for db in [&left, &right] {
        db.exec("select syncjournal.track('item')");
    }
    let whole = digest(&left, "'item'");
    assert_eq!(whole.len(), 1);
    assert!(whole[0].starts_with(" 500 "), "{whole:?}");
    for depth in 0..=4 {
        let lines = digest(&left, &format!("'item', {depth}"));
        assert_eq!(lines, digest(&right, &format!("'item', depth => {depth}")), "depth {depth}");
    }
    right.exec("update item set n = n where n <= 10; update item set n = 11 where n = 12");
    assert_ne!(digest(&right, "'item'"), whole, "one value has changed");
    right.exec("update item set n = 12 where label = 'item 12'");
    assert_eq!(digest(&right, "'item'"), whole, "what rows went through does not count");
}

#[test]
fn a_difference_is_found_by_going_down() {
    let (left, right) = nodes();
    for db in [&left, &right] {
        db.exec(
            "create table item (id uuid primary key, n int);
             insert into item select md5(i::text)::uuid, i from generate_series(1, 2000) i;
             select syncjournal.track('item')",
        );
    }
    right.exec("update item set n = -1 where n = 1234");
    let mut prefix = String::new();
    for depth in [1, 4, 4, 4, 3] {
        let below = format!("'item', {depth}, '\\x{prefix}'");
        let (here, there) = (digest(&left, &below), digest(&right, &below));
        let differing: Vec<_> = here.iter().zip(&there).filter(|(a, b)| a != b).collect();
        assert_eq!((here.len(), differing.len()), (there.len(), 1), "below {prefix}");
        prefix = differing[0].0.split(' ').next().expect("a line begins so").to_owned();
    }
    let id: String = left.query_one("select id::text from item where n = 1234");
    assert_eq!(prefix, id.replace('-', ""));
    let count: i64 =
        left.query_one("select sum(row_count)::int8 from syncjournal.digest('item', 2)");
    assert_eq!(count, 2000);
}

#[test]
fn what_does_not_travel_does_not_count() {
    let (left, right) = nodes();
    left.exec(
        "create table item (
             id int primary key, n int, twice int generated always as (n * 2) stored, note text);
         select syncjournal.track('item', exclude_columns => '{note}');
         insert into item values (1, 10, default, 'seen on the left only'), (2, 20, default, null)",
    );
    right.exec(
        "create table item (id int primary key, n int, shelf text);
         select syncjournal.track('item')",
    );
    carry(&left, &right, "full");
    let whole = digest(&left, "'item'");
    assert_eq!(digest(&right, "'item'"), whole, "an empty column of one side is no difference");
    left.exec("update item set note = 'changed'");
    assert_eq!(digest(&left, "'item'"), whole);
    right.exec("update item set shelf = 'A' where id = 1");
    assert_ne!(digest(&right, "'item'"), whole, "a filled one is");
}

#[test]
fn a_partitioned_table_has_the_digest_of_a_plain_one() {
    let (left, right) = nodes();
    left.exec("create table item (id int primary key, label text)");
    right.exec(
        "create table item (id int primary key, label text) partition by range (id);
         create table item_low partition of item for values from (0) to (50);
         create table item_high partition of item for values from (50) to (1000)
             partition by list (id);
         create table item_rest (label text, id int not null);
         alter table item_high attach partition item_rest default",
    );
    for db in [&left, &right] {
        db.exec("select syncjournal.track('item')");
    }
    left.exec("insert into item values (1, 'low'), (2, 'low'), (60, 'high')");
    carry(&left, &right, "full");
    assert_eq!(digest(&left, "'item', 1"), digest(&right, "'item', 1"));
    let of_parts: Vec<i64> = ["item", "item_low", "item_high", "item_rest"]
        .map(|part| right.query_one(&format!("select row_count from syncjournal.digest('{part}')")))
        .to_vec();
    assert_eq!(of_parts, [3, 2, 1, 1], "a partition has a digest of its own");
}

#[test]
fn settings_and_storage_do_not_count() {
    let db = Db::fresh(shared(0));
    db.exec(
        "select syncjournal.create_node('solo');
         create type mood as enum ('fine', 'so-so');
         create table item (
             id uuid primary key, day date[], span interval, x float8, raw bytea, mood mood[],
             long text);
         select syncjournal.track('item');
         insert into item
             select md5(i::text)::uuid, array[date '2024-02-29' + i], make_interval(hours => i),
                 1 / (i + 0.5), decode(md5(i::text), 'hex'), '{fine}',
                 (select string_agg(md5((i * k)::text), '') from generate_series(1, 300) k)
             from generate_series(1, 40) i",
    );
    let whole = digest(&db, "'item'");
    db.exec(
        "set datestyle = 'german'; set intervalstyle = 'iso_8601'; set extra_float_digits = 0;
         set bytea_output = 'escape'; set search_path = pg_catalog",
    );
    assert_eq!(digest(&db, "'public.item'"), whole);
    db.exec("reset all; alter table item alter long set storage external");
    db.exec("vacuum full item");
    assert_eq!(digest(&db, "'item'"), whole);
    let none = digest(&db, "'item', 0, '\\xffffffffffffffffffffffffffffffff'");
    assert_eq!(none, ["ffffffffffffffffffffffffffffffff 0 00000000000000000000000000000000"]);
    db.exec("truncate item");
    assert_eq!(digest(&db, "'item'"), [" 0 00000000000000000000000000000000"]);
    assert!(digest(&db, "'item', 3").is_empty());
}

#[test]
fn what_cannot_be_digested_is_said_so() {
    let db = Db::fresh(shared(0));
    db.exec(
        "select syncjournal.create_node('solo');
         create table item (id uuid primary key); create table other (id uuid primary key);
         create view seen as select 1; select syncjournal.track('item')",
    );
    let cases = [
        ("'other'", "42704", "table \"public.other\" is not tracked"),
        ("'seen'", "42704", "table \"public.seen\" is not tracked"),
        ("null", "22004", "no table is named"),
        ("'item', 5", "22023", "depth 5 is out of range"),
        ("'item', -1", "22023", "depth -1 is out of range"),
        (
            "'item', 1, decode(repeat('00', 16), 'hex')",
            "22023",
            "prefix of 16 bytes with depth 1 is longer than an identity",
        ),
    ];
    for (arguments, sqlstate, message) in cases {
        let error = db.expect_error(&format!("select * from syncjournal.digest({arguments})"));
        assert_eq!((error.sqlstate.as_str(), error.message.as_str()), (sqlstate, message));
        assert!(!error.hint.is_empty(), "{error:?}");
    }
}

#[test]
fn the_agent_may_and_the_reader_may_not() {
    let db = Db::fresh(shared(0));
    db.exec(
        "select syncjournal.create_node('solo');
         create table item (id uuid primary key); select syncjournal.track('item')",
    );
    for (role, may) in
        [("syncjournal_agent", true), ("syncjournal_admin", true), ("syncjournal_reader", false)]
    {
        let mut session = db.session();
        session.exec(&format!("set role {role}"));
        let asked = session.try_exec("select * from syncjournal.digest('public.item')");
        assert_eq!(asked.is_ok(), may, "{role}: {asked:?}");
    }
}
