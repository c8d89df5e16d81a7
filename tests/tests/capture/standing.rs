//! The look-up for a row's earlier life stays open while a statement runs. It ends with it, however
//! that ends, and nothing of it is left open.

use super::replay::Entry;
use super::{assert_replays, entries, with_prepared_transactions};

/// Ten rows were deleted, and five are back.
const SETUP: &str = "
    create table t (id uuid primary key, n int check (n < 100));
    create table u (id uuid primary key, n int);
    create function id(n int) returns uuid language sql immutable
        return lpad(n::text, 32, '0')::uuid;
    select syncjournal.track('t'), syncjournal.track('u');
    insert into t select id(g), g from generate_series(1, 10) g;
    insert into u select id(g), g from generate_series(1, 10) g;
    delete from t; delete from u";

#[test]
fn statements_may_end_in_any_way() {
    let db = with_prepared_transactions();
    db.exec(SETUP);
    for script in [
        "insert into t select id(g), g from generate_series(1, 3) g",
        // Fails at its second row, whose savepoint goes while the transaction stays.
        "do $$ begin
             insert into t values (id(4), 4);
             begin
                 insert into t values (id(5), 5), (id(4), 4);
             exception when unique_violation then
                 insert into t values (id(5), 55);
             end;
             begin
                 insert into t values (id(6), 6), (id(7), 700);
             exception when check_violation then null;
             end;
             insert into t values (id(6), 66);
         end $$",
        "begin; savepoint a; insert into t values (id(7), 7); rollback to a;
         insert into t values (id(7), 77), (id(8), 88); release a; commit",
        "begin; insert into u values (id(1), 1); insert into t values (id(9), 9); rollback",
        "begin; insert into u values (id(1), 1); insert into t values (id(9), 9);
         prepare transaction 'p'",
        "commit prepared 'p'",
        "with a as (insert into t values (id(10), 10) returning id)
         insert into u select id(g), g from generate_series(2, 10) g, a",
    ] {
        db.exec(script);
    }
    let failed = db.expect_error("insert into t values (id(11), 11), (id(1), 1)");
    assert_eq!(failed.sqlstate, "23505");
    assert_replays(&db, "t");
    assert_replays(&db, "u");
    let stones = "select count(*) from syncjournal.tombstone";
    assert_eq!(db.query_one::<i64>(stones), 0, "all are back, each once");
    let pins = db.query_one::<i64>(
        "select count(*) from pg_locks l join pg_class c on c.oid = l.relation
         where c.relname = 'tombstone'",
    );
    assert_eq!(pins, 0);
    assert!(!db.cluster().log().contains(" leak"), "{}", db.cluster().log());
}

#[test]
fn the_extension_may_go_in_the_same_transaction() {
    let db = with_prepared_transactions();
    db.exec(SETUP);
    db.exec(
        "begin; insert into t values (id(1), 1), (id(12), 12); drop extension syncjournal cascade;
         commit",
    );
    assert_eq!(db.text("select string_agg(n::text, ',' order by n) from t"), "1,12");
    assert!(!db.cluster().log().contains(" leak"), "{}", db.cluster().log());
}

#[test]
fn a_bulk_of_rows_finds_each_ones_earlier_life() {
    let db = with_prepared_transactions();
    db.exec(SETUP);
    // Every third is back, among rows that were never there; so many that the stones are read ahead.
    db.exec(
        "insert into u select id(g), g from generate_series(100, 6000) g;
         delete from u where n >= 100",
    );
    for order in ["g", "md5(g::text)"] {
        db.exec(&format!(
            "begin; insert into u select id(g), g from generate_series(102, 9000, 3) g
             order by {order}; savepoint a;
             insert into u select id(g), g from generate_series(103, 9000, 3) g order by {order};
             rollback to a; commit"
        ));
        assert_replays(&db, "u");
        db.exec("delete from u where n >= 100");
        assert_replays(&db, "u");
    }
    db.exec(
        "insert into u select id(g), g from generate_series(100, 6000) g order by md5(g::text)",
    );
    assert_replays(&db, "u");
    // 6003 to 9000 of the last round, and the ten of the beginning.
    let left = "select count(*) from syncjournal.tombstone join syncjournal.tracked_relation
        using (relation_id) where relid = 'u'::regclass";
    assert_eq!(db.query_one::<i64>(left), 1000 + 10);
    let back = |entry: &Entry| entry.op == "INSERT" && entry.prev.is_some();
    assert_eq!(entries(&db, "u").iter().filter(|entry| back(entry)).count(), 1967 + 2967 + 5901);
}
