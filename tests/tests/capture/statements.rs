//! What one statement can do.

use super::{assert_replays, entries, ops, steps, tracking};

#[test]
fn statements_of_many_rows_replay() {
    let db = tracking("t", "id int primary key, label text, n numeric");
    steps(
        &db,
        &[
            "insert into t values (1, 'one', 1.10), (2, 'two', 'NaN'), (3, null, null)",
            "insert into t select g, 'row ' || g, g / 3.0 from generate_series(10, 200) g",
            "update t set n = n + 1 where id between 20 and 100",
            "update t set label = null, n = 0 where id > 150",
            "delete from t where id % 7 = 0",
            "update t set id = id + 1000",
            "delete from t where id > 1190",
        ],
    );
    assert_replays(&db, "t");
    assert_eq!(db.query_one::<i64>("select count(*) from syncjournal.journal_frame"), 8);
}

#[test]
fn copy_replays() {
    let db = tracking("t", "id int primary key, label text");
    let done = db.psql("\\copy t (id, label) from stdin\n1\tone\n2\t\\N\n3\tthree\n\\.\n");
    assert!(done.status.success(), "{done:?}");
    assert_eq!(ops(&db, "t"), "INSERT INSERT INSERT");
    assert_replays(&db, "t");
}

#[test]
fn on_conflict_journals_what_was_done() {
    let db = tracking("t", "id int primary key, n int not null default 0");
    steps(
        &db,
        &[
            "insert into t values (1), (2)",
            "insert into t values (1, 5), (3, 5) on conflict do nothing",
            "insert into t values (1, 5), (4, 5) on conflict (id) do update set n = t.n + excluded.n",
            "insert into t values (2, 0) on conflict (id) do update set n = excluded.n",
            "insert into t values (2, 7) on conflict (id) do update set n = 7 where t.n > 100",
        ],
    );
    // The last but one changes nothing.
    assert_eq!(ops(&db, "t"), "INSERT INSERT INSERT UPDATE INSERT");
    assert_replays(&db, "t");
}

#[test]
fn merge_journals_what_was_done() {
    let db = tracking("t", "id int primary key, n int");
    steps(
        &db,
        &[
            "insert into t select g, g from generate_series(1, 6) g",
            "merge into t using (values (1, 10), (2, 20), (9, 90)) s (id, n) on t.id = s.id
             when matched and s.id = 2 then delete
             when matched then update set n = s.n
             when not matched then insert values (s.id, s.n)",
        ],
    );
    let done = entries(&db, "t").split_off(6);
    let mut done: Vec<_> = done.into_iter().map(|entry| entry.op).collect();
    done.sort();
    assert_eq!(done, ["DELETE", "INSERT", "UPDATE"]);
    assert_replays(&db, "t");
}

#[test]
fn writing_queries_and_functions_within_queries_replay() {
    let db = tracking("t", "id int primary key, n int");
    steps(
        &db,
        &[
            "insert into t select g, g from generate_series(1, 20) g",
            "with gone as (delete from t where id < 5 returning *)
             insert into t select id + 100, n from gone",
            "with a as (update t set n = 0 where id = 6 returning 1),
              b as (insert into t values (200, 200) returning 1)
         select * from a, b",
            "create function bump(which int) returns int volatile language plpgsql as
             'begin update t set n = n + 1 where id = which; return which; end'",
            "update t set n = n + bump(id + 1) where id in (7, 9, 11)",
            "select bump(id) from t where id > 12",
        ],
    );
    assert_replays(&db, "t");
}

#[test]
fn cascading_foreign_keys_replay() {
    let db = tracking("parent", "id int primary key");
    for (table, action) in [
        ("cascades", "on delete cascade on update cascade"),
        ("nulls", "on delete set null on update set null"),
        ("defaults", "on delete set default on update set default"),
    ] {
        db.exec(&format!(
            "create table {table} (
                 id int primary key, parent int default 1 references parent {action})"
        ));
        db.exec(&format!("select syncjournal.track('{table}')"));
    }
    steps(
        &db,
        &[
            "insert into parent values (1), (2), (3), (4)",
            "insert into cascades values (1, 2), (2, 2), (3, 3)",
            "insert into nulls values (1, 2), (2, 2), (3, 3)",
            "insert into defaults values (1, 2), (2, 2), (3, 3)",
            "delete from parent where id = 2",
            "update parent set id = 30 where id = 3",
        ],
    );
    for table in ["parent", "cascades", "nulls", "defaults"] {
        assert_replays(&db, table);
    }
    assert_eq!(ops(&db, "cascades"), "INSERT INSERT INSERT DELETE DELETE UPDATE");
    assert_eq!(ops(&db, "nulls"), "INSERT INSERT INSERT UPDATE UPDATE UPDATE");
}

#[test]
fn truncate_is_one_entry_and_what_follows_stays() {
    let db = tracking("t", "id int primary key");
    db.exec("create table child (id int primary key references t)");
    db.exec("select syncjournal.track('child')");
    steps(
        &db,
        &[
            "insert into t select generate_series(1, 100)",
            "insert into child values (1)",
            "begin; insert into t values (101); truncate t cascade; insert into t values (1), (2);
             update t set id = 3 where id = 2; commit",
        ],
    );
    assert_eq!(ops(&db, "child"), "INSERT TRUNCATE");
    assert!(ops(&db, "t").ends_with("INSERT INSERT TRUNCATE INSERT INSERT UPDATE"));
    assert_replays(&db, "t");
    assert_replays(&db, "child");
    let stone = "select version = (
            select u.version from syncjournal.journal_frame j
                cross join lateral syncjournal.unfold_frame(j.frame, j.layout, j.data) u
                join syncjournal.relation_layout l on l.layout_id = j.layout
            where u.op = 'TRUNCATE' and l.table_name = 't')
        from syncjournal.tombstone join syncjournal.tracked_relation using (relation_id)
        where row_id = '00000000-0000-0000-0000-000000000000' and relid = 't'::regclass";
    assert!(db.query_one::<bool>(stone));
    db.exec("begin; truncate t cascade; rollback");
    assert_replays(&db, "t");
}

#[test]
fn a_deleted_row_leaves_a_tombstone() {
    let db = tracking("t", "id uuid primary key, n int");
    let id = "11111111-2222-3333-4444-555555555555";
    let stones = "select string_agg(row_id || ' ' || version, ',') from syncjournal.tombstone";
    steps(&db, &[&format!("insert into t values ('{id}', 1)"), "delete from t"]);
    let first = entries(&db, "t").pop().expect("the delete");
    assert_eq!(db.text(stones), format!("{id} {}", first.version));
    // The row comes back, and goes again: in a command of its own, and twice in a transaction.
    steps(
        &db,
        &[
            &format!("insert into t values ('{id}', 2)"),
            "delete from t",
            &format!(
                "begin; insert into t values ('{id}', 3); delete from t;
                 insert into t values ('{id}', 4); delete from t; commit"
            ),
        ],
    );
    let last = entries(&db, "t").pop().expect("the delete");
    assert_eq!(db.text(stones), format!("{id} {}", last.version));
    assert_replays(&db, "t");
}
