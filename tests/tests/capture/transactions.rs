//! Savepoints, errors that are caught, prepared transactions, bulk changes and order.

use super::{assert_replays, entries, ops, steps, tracking, with_prepared_transactions};

#[test]
fn what_a_savepoint_takes_back_leaves_no_entry() {
    let db = tracking("t", "id int primary key, n int default 0");
    steps(
        &db,
        &[
            "begin; insert into t values (1);
             savepoint a; insert into t values (2);
                 savepoint b; insert into t values (3); update t set n = 1;
             rollback to b; insert into t values (4); release a;
             insert into t values (5);
             savepoint c; delete from t; rollback to c;
             savepoint d; update t set n = 2 where id = 1; release d;
         commit",
            "begin; insert into t values (10); rollback",
            "begin; savepoint a; insert into t values (11); rollback to a; commit",
            "begin; savepoint a; savepoint b; insert into t values (12); release b; rollback to a;
             insert into t values (13); commit",
        ],
    );
    assert_eq!(ops(&db, "t"), "INSERT INSERT INSERT INSERT UPDATE INSERT");
    assert_replays(&db, "t");
}

#[test]
fn errors_caught_in_plpgsql_leave_no_entry() {
    let db = tracking("t", "id int primary key, n int default 0");
    steps(
        &db,
        &["do $$ begin
             for i in 1..200 loop
                 begin
                     insert into t values (i % 50);
                     update t set n = n + 1 where id = i % 50;
                     if i % 3 = 0 then raise 'no'; end if;
                 exception when others then
                     update t set n = n - 1 where id = (i + 1) % 50;
                 end;
             end loop;
         end $$"],
    );
    assert_replays(&db, "t");
}

#[test]
fn a_prepared_transaction_is_journaled_when_it_commits() {
    let db = with_prepared_transactions();
    db.exec("create table t (id int primary key)");
    db.exec("select syncjournal.track('t')");
    steps(
        &db,
        &[
            "insert into t values (1)",
            "begin; insert into t values (2); delete from t where id = 1; prepare transaction 'kept'",
            "insert into t values (3)",
        ],
    );
    assert_eq!(ops(&db, "t"), "INSERT INSERT");
    db.exec("commit prepared 'kept'");
    assert_replays(&db, "t");
    db.exec("begin; insert into t values (4); prepare transaction 'gone'");
    db.exec("rollback prepared 'gone'");
    assert_replays(&db, "t");
}

#[test]
fn a_bulk_change_is_journaled_in_full_pages_while_it_runs() {
    let db = tracking("t", "id int primary key, label text, n int default 0");
    steps(
        &db,
        &[
            "insert into t select g, 'label of row number ' || g from generate_series(1, 20000) g",
            "update t set n = id",
            "delete from t where id % 2 = 0",
        ],
    );
    assert_replays(&db, "t");
    let full: f64 = db.query_one(
        "select (avg(octet_length(data)) / 7900)::float8 from syncjournal.journal_frame",
    );
    // Each batch that is written ends with one that is not full, wherever it ends.
    assert!((0.8..=1.0).contains(&full), "frames are {full} of a page");
    let moved_out = "select pg_relation_size(reltoastrelid) from pg_class
        where oid = 'syncjournal.journal_1'::regclass";
    assert_eq!(db.query_one::<i64>(moved_out), 0, "frames lie inline");
}

#[test]
fn early_flushes_respect_savepoints() {
    let db = tracking("t", "id int primary key, label text");
    let rows = |from: i32, to: i32| {
        format!("insert into t select g, repeat('x', 100) from generate_series({from}, {to}) g;")
    };
    let script = format!(
        "begin; {} savepoint a; {} {} rollback to a; {} savepoint b; {} release b;
             savepoint c; {} savepoint d; {} rollback to c; update t set label = id::text; commit",
        rows(1, 2000),
        rows(2001, 6000),
        rows(6001, 9000),
        rows(2001, 3000),
        rows(3001, 8000),
        rows(8001, 12000),
        rows(12001, 16000),
    );
    db.exec(&script);
    assert_eq!(db.query_one::<i64>("select count(*) from t"), 8000);
    assert_replays(&db, "t");
}

#[test]
fn a_loop_of_savepoints_does_not_pile_up_memory() {
    let db = tracking("t", "id int primary key, label text");
    db.exec(
        "do $$ begin
             for i in 1..5000 loop
                 begin
                     insert into t values (i, repeat('x', 200));
                 exception when others then raise;
                 end;
             end loop;
             if (select count(*) from syncjournal.journal_frame) < 50 then
                 raise 'nothing was journaled before the end';
             end if;
         end $$",
    );
    assert_replays(&db, "t");
}

#[test]
fn a_row_changed_many_times_in_a_transaction_replays() {
    let db = tracking("t", "id int primary key, n int default 0");
    steps(&db, &[
        "begin; insert into t values (1); update t set n = 1; update t set n = 2; delete from t;
             insert into t values (1, 9); update t set n = 10; commit",
        "do $$ begin for i in 1..300 loop update t set n = n + 1; end loop; end $$",
    ]);
    assert_eq!(entries(&db, "t").len(), 306);
    assert_replays(&db, "t");
}

#[test]
fn later_writers_get_later_versions_whatever_their_clock() {
    let db = tracking("t", "id int primary key, n int default 0");
    db.exec("insert into t values (1)");
    // A version from a node whose clock is ten years ahead.
    db.exec(
        "set syncjournal.capture = off;
         update t set sync_version = ('7' || substr(sync_version::text, 2))::uuid;
         set syncjournal.capture = on",
    );
    let ahead = db.text("select sync_version from t");
    db.exec("update t set n = 1");
    let other = &mut db.session();
    other.exec("update t set n = 2");
    let versions: Vec<_> = entries(&db, "t").into_iter().map(|entry| entry.version).collect();
    assert!(versions[0] < ahead && ahead < versions[1] && versions[1] < versions[2]);
    assert_eq!(entries(&db, "t")[1].prev.as_deref(), Some(ahead.as_str()));
}

#[test]
fn sessions_side_by_side_replay() {
    let db = tracking("t", "id int primary key, n int default 0");
    db.exec("insert into t select generate_series(1, 10)");
    let dsn = db.dsn();
    let writer = |seed: i32| {
        let dsn = dsn.clone();
        std::thread::spawn(move || {
            let mut session = syncjournal_tests::Session::connect(&dsn);
            for i in 0..60 {
                let id = (i * seed) % 10 + 1;
                session.exec(&format!("update t set n = n + 1 where id = {id}"));
            }
        })
    };
    for thread in [1, 3, 7].map(writer) {
        thread.join().expect("the writer finishes");
    }
    assert_eq!(db.query_one::<i64>("select sum(n) from t"), 180);
    assert_replays(&db, "t");
}

#[test]
fn a_snapshot_older_than_the_layout_can_write() {
    let db = tracking("t", "id int primary key");
    db.exec("create table other (id int)");
    let old = &mut db.session();
    old.exec("begin isolation level repeatable read; select * from other");
    db.exec("alter table t add column n int default 5");
    old.exec("insert into t (id, n) values (1, 2); commit");
    old.exec("begin isolation level serializable; update t set n = 3; commit");
    assert_replays(&db, "t");
}

#[test]
fn a_layout_that_was_rolled_back_is_not_used() {
    let db = tracking("t", "id int primary key");
    steps(
        &db,
        &[
            "begin; alter table t add column n int; insert into t (id, n) values (1, 1); rollback",
            "insert into t values (2)",
            "begin; savepoint a; alter table t add column n int; insert into t (id, n) values (3, 3);
             rollback to a; insert into t values (4); alter table t add column n int;
             insert into t (id, n) values (5, 5); commit",
        ],
    );
    assert_replays_ignoring_added(&db);
}

/// Rows from before a column was added lack it in the journal.
fn assert_replays_ignoring_added(db: &syncjournal_tests::Db) {
    assert_eq!(ops(db, "t"), "INSERT INSERT INSERT");
    let ids: Vec<_> = entries(db, "t").into_iter().map(|entry| entry.new["id"].clone()).collect();
    assert_eq!(ids, [2, 4, 5]);
    let dangling = "select count(*) from syncjournal.journal_frame
        where layout not in (select layout_id from syncjournal.relation_layout)";
    assert_eq!(db.query_one::<i64>(dangling), 0);
}

#[test]
fn rows_that_come_back_are_later_than_their_end_elsewhere() {
    let db = tracking("t", "id uuid primary key, n int default 0");
    let id = "11111111-2222-3333-4444-555555555555";
    db.exec(&format!("insert into t values ('{id}')"));
    db.exec("delete from t");
    // The end came from a node whose clock is ahead.
    let ahead = |row: &str| {
        db.text(&format!(
            "update syncjournal.tombstone set version = ('7' || substr(version::text, 2))::uuid
             where row_id = '{row}' returning version"
        ))
    };
    let stone = ahead(id);
    db.exec(&format!("insert into t values ('{id}'), (gen_random_uuid())"));
    let version = db.text(&format!("select sync_version from t where id = '{id}'"));
    assert!(version > stone);
    assert_eq!(entries(&db, "t")[2].prev.as_ref(), Some(&stone));
    db.exec("truncate t");
    let stone = ahead("00000000-0000-0000-0000-000000000000");
    db.exec("insert into t values (gen_random_uuid())");
    assert!(db.text("select sync_version from t") > stone);
}

#[test]
fn a_truncate_by_another_session_is_heard_of() {
    let db = tracking("t", "id int primary key");
    db.exec("insert into t values (1)");
    let stone = "begin; truncate t; select syncjournal.flush_capture();
        update syncjournal.tombstone set version = ('7' || substr(version::text, 2))::uuid; commit";
    db.session().exec(stone);
    db.exec("insert into t values (2)");
    let stone = db.text("select version from syncjournal.tombstone");
    assert!(db.text("select sync_version from t") > stone);
}

#[test]
fn changes_go_with_the_extension_that_their_transaction_drops() {
    let db = tracking("t", "id int primary key");
    db.exec("begin; insert into t values (1); drop extension syncjournal cascade; commit");
    assert_eq!(db.query_one::<i64>("select count(*) from t"), 1);
    db.exec("insert into t values (2)");
}

#[test]
fn a_procedure_that_commits_on_its_way_replays() {
    let db = tracking("t", "id int primary key, n int default 0");
    steps(&db, &[
        "create procedure work() language plpgsql as $$ begin
             for i in 1..20 loop
                 insert into t values (i);
                 update t set n = n + 1 where id <= i;
                 if i % 3 = 0 then rollback; elsif i % 2 = 0 then commit; end if;
             end loop;
         end $$",
        "call work()",
        "begin; insert into t values (100); commit and chain; update t set n = 0; rollback and chain;
             delete from t where id = 2; commit",
    ]);
    assert_replays(&db, "t");
    let versions = "select count(distinct xid) from syncjournal.journal_frame";
    assert!(db.query_one::<i64>(versions) > 5);
}
