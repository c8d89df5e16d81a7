//! Small frames of one transaction share a row of the journal: each is found, sent, known and kept by
//! itself all the same.

use syncjournal_tests::{
    Db, apply_set, assert_same_rows, carry, introduce, prepare_set, shared, triple,
};

const ROWS: &str = "select count(*) from syncjournal.journal";
const FRAMES: &str = "select count(*) from syncjournal.journal_frame";

/// Tracks three empty tables.
fn tables(db: &Db) {
    for table in ["a", "b", "c"] {
        db.exec(&format!("create table {table} (id uuid primary key, n int, note text)"));
        db.exec(&format!("select syncjournal.track('{table}')"));
    }
}

/// A transaction that writes to all three, by turns.
fn write_all(db: &Db) {
    db.exec(
        "begin;
         insert into a values ('00000000-0000-4000-8000-000000000001', 1, 'a');
         insert into b values ('00000000-0000-4000-8000-000000000002', 2, 'b');
         insert into a values ('00000000-0000-4000-8000-000000000003', 3, 'a');
         insert into c values ('00000000-0000-4000-8000-000000000004', 4, 'c');
         commit",
    );
}

#[test]
fn a_transaction_on_several_tables_writes_one_row() {
    let db = Db::fresh(shared(0));
    db.exec("select syncjournal.create_node('one')");
    tables(&db);
    write_all(&db);
    assert_eq!((db.query_one::<i64>(ROWS), db.query_one::<i64>(FRAMES)), (1, 3));
    let told = "select array_agg(relation || ' ' || (new ->> 'n') order by version) from syncjournal.change";
    assert_eq!(
        db.query_one::<Vec<String>>(told),
        ["public.a 1", "public.a 3", "public.b 2", "public.c 4"]
    );
    for (table, entries) in [("a", 2_i64), ("b", 1), ("c", 1)] {
        let live = format!(
            "select live_entries::int8 from syncjournal.tracked_table where relation = '{table}'::regclass"
        );
        assert_eq!(db.query_one::<i64>(&live), entries, "{table}");
    }
    assert_eq!(db.query_one::<i64>("select sum(entries)::int8 from syncjournal.journal"), 4);

    db.exec("begin; update c set n = 5; update b set n = 6; update b set n = 7; commit");
    let history = "select array_agg(new ->> 'n') from syncjournal.history('b', (select id from b))";
    assert_eq!(db.query_one::<Vec<String>>(history), ["2", "6", "7"]);
}

#[test]
fn what_is_large_has_a_row_of_its_own() {
    let db = Db::fresh(shared(0));
    db.exec("select syncjournal.create_node('one')");
    tables(&db);
    db.exec(
        "begin; insert into a values (gen_random_uuid(), 1, 'small');
         insert into b select gen_random_uuid(), 1, string_agg(md5(i::text), '') from generate_series(1, 90) i;
         insert into c values (gen_random_uuid(), 1, 'small'); commit",
    );
    assert_eq!((db.query_one::<i64>(ROWS), db.query_one::<i64>(FRAMES)), (3, 3));
}

#[test]
fn frames_are_known_by_themselves_wherever_they_stand() {
    let (a, b, c) = triple();
    introduce(&[(&a, "a"), (&b, "b"), (&c, "c")]);
    for db in [&a, &b, &c] {
        tables(db);
    }
    // From a, c does not get what stands between the other two frames of the row.
    a.exec("select syncjournal.alter_peer('c', exclude => '{b}')");
    write_all(&a);
    let late = prepare_set(&a, &b, "changes");
    assert_eq!(carry(&a, &c, "changes").inserted, 3);
    assert_eq!((c.query_one::<i64>(ROWS), c.query_one::<i64>(FRAMES)), (1, 2));
    assert_eq!(carry(&a, &b, "changes").inserted, 4);
    let again = apply_set(&b, &late);
    assert_eq!((again.entries, again.skipped, again.conflicts), (4, 4, 0));

    // From b all comes: what is here already is known, the rest fits in between.
    let rest = carry(&b, &c, "changes");
    assert_eq!((rest.inserted, rest.skipped, rest.conflicts), (1, 3, 0));
    assert_eq!((c.query_one::<i64>(ROWS), c.query_one::<i64>(FRAMES)), (2, 3));
    for table in ["a", "b", "c"] {
        assert_same_rows(&a, &c, table);
        assert_same_rows(&a, &b, table);
        let walk = format!(
            "select count(*) from syncjournal.history('{table}', (select min(id::text)::uuid from {table}))"
        );
        assert_eq!(c.query_one::<i64>(&walk), 1, "{table}");
    }

    // The walk of a merge needs the parents, which stand behind another table's frame.
    c.exec("begin; update a set n = 10; update c set n = 40; commit");
    b.exec("begin; update a set note = 'b'; update c set note = 'b'; commit");
    assert_eq!(carry(&c, &b, "changes").conflicts, 3);
    carry(&b, &c, "changes");
    for table in ["a", "b", "c"] {
        assert_same_rows(&b, &c, table);
    }
}

#[test]
fn a_pruned_row_of_several_frames_is_no_evidence_of_a_restored_backup() {
    let (a, b, _) = triple();
    introduce(&[(&a, "a"), (&b, "b")]);
    for db in [&a, &b] {
        tables(db);
    }
    a.exec("select syncjournal.alter_peer('b', exclude => '{a}')");
    write_all(&a);
    carry(&a, &b, "changes");
    carry(&b, &a, "changes");
    let newest = "select newest::text from syncjournal.reached((
        select node_id from syncjournal.node where name = 'a'))";
    let newest = b.text(newest);
    assert_ne!(newest, a.text("select max(frame::text) from syncjournal.journal"));
    let evidence = format!(
        "select syncjournal.evidence_of_restore(p, pg_current_snapshot(), '{newest}', now())
         from syncjournal.registered_peer p where peer_name = 'b'"
    );
    assert_eq!(a.query_one::<Option<String>>(&evidence), None);
    let gone = "update syncjournal.journal_segment set opened_at = opened_at - interval '2 days'";
    a.exec(gone);
    // What nobody's open transaction holds back goes at once.
    let at_once: i64 = a.query_one("select syncjournal.prune()");
    a.outlive_others();
    a.exec("update b set n = 3");
    carry(&a, &b, "changes");
    b.exec("update c set n = 3");
    carry(&b, &a, "changes");
    assert_eq!(at_once + a.query_one::<i64>("select syncjournal.prune()"), 4);
    assert_eq!(a.query_one::<Option<String>>(&evidence), None);
}
