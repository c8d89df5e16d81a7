//! A row's identity, its version, its values, its history.

use super::{assert_replays, entries, ops, steps, tracking};

#[test]
fn an_update_that_changes_nothing_makes_no_entry() {
    let db = tracking("t", "id int primary key, label text, big text, n numeric");
    db.exec("insert into t values (1, 'x', repeat(md5('a'), 1000), 1.0), (2, null, null, null)");
    let version = db.text("select sync_version from t where id = 1");
    steps(
        &db,
        &[
            "update t set n = n, label = label",
            "update t set big = repeat(md5('a'), 1000) where id = 1",
            "update t set label = null where id = 2",
            "update t set sync_version = gen_random_uuid()",
            "update t set sync_version = null",
        ],
    );
    assert_eq!(db.text("select sync_version from t where id = 1"), version);
    assert_eq!(ops(&db, "t"), "INSERT INSERT");
    // Equal for SQL, other digits for people: that is a change.
    db.exec("update t set n = 1.00 where id = 1");
    assert_eq!(ops(&db, "t"), "INSERT INSERT UPDATE");
    assert_replays(&db, "t");
}

#[test]
fn unchanged_large_values_are_not_journaled_again() {
    let db = tracking("t", "id int primary key, n int, big text, doc jsonb");
    steps(
        &db,
        &[
            "alter table t alter column big set storage external",
            "insert into t select 1, 0, string_agg(md5(g::text), ''),
             jsonb_agg(md5(g::text)) from generate_series(1, 40000) g",
            "update t set n = 1",
            "update t set n = 2, doc = doc",
        ],
    );
    let size = "select octet_length(data) from syncjournal.journal_frame order by frame";
    let sizes = db.column::<i32>(size);
    assert!(sizes[0] > 2_000_000 && sizes[1] < 100 && sizes[2] < 100, "{sizes:?}");
    db.exec("update t set big = big || 'x'");
    assert_replays(&db, "t");
}

#[test]
fn an_identity_of_our_making_cannot_be_changed() {
    let db = tracking("t", "id int primary key");
    db.exec("insert into t values (1), (2)");
    for statement in
        ["update t set sync_id = gen_random_uuid()", "update t set sync_id = null where id = 1"]
    {
        let error = db.expect_error(statement);
        assert_eq!(error.sqlstate, "23000");
        assert_eq!(
            error.message,
            "the identity of a row of tracked table \"public.t\" cannot be changed"
        );
        assert_ne!(error.hint, "");
    }
}

#[test]
fn new_rows_get_a_time_ordered_identity() {
    let db = tracking("t", "id int primary key");
    db.exec("insert into t select generate_series(1, 1000)");
    let ordered = "select bool_and(sync_id::text like '________-____-7___-%') and
        array_agg(left(sync_id::text, 13) order by id)
            = array_agg(left(sync_id::text, 13) order by sync_id) from t";
    assert!(db.query_one::<bool>(ordered));
    // One that the client brings is taken.
    db.exec("insert into t (id, sync_id) values (0, '11111111-2222-3333-4444-555555555555')");
    assert_eq!(entries(&db, "t")[1000].row, "11111111-2222-3333-4444-555555555555");
    assert_replays(&db, "t");
}

#[test]
fn versions_that_clients_bring_are_not_believed() {
    let db = tracking("t", "id int primary key, n int default 0");
    db.exec("create table copy_of_t (id int primary key, n int)");
    db.exec("select syncjournal.track('copy_of_t')");
    steps(
        &db,
        &[
            "insert into t (id, sync_version) values (1, 'ffffffff-ffff-ffff-ffff-ffffffffffff')",
            "begin; update t set n = 1; insert into copy_of_t select * from t; commit",
        ],
    );
    assert_replays(&db, "t");
    assert_replays(&db, "copy_of_t");
}

#[test]
fn a_row_has_a_history() {
    let db = tracking("t", "id uuid primary key, n int");
    let id = "11111111-2222-3333-4444-555555555555";
    steps(
        &db,
        &[
            &format!("insert into t values ('{id}', 1), (gen_random_uuid(), 1)"),
            "update t set n = n + 1",
            "update t set n = n + 1",
            &format!("delete from t where id = '{id}'"),
            "update t set n = n + 1",
        ],
    );
    let walk = format!(
        "select u.op from syncjournal.history_walk('t', '{id}') w
             join syncjournal.journal_frame j using (stored_in)
             cross join lateral syncjournal.unfold_frame(j.frame, j.layout, j.data) u
         where u.version = w.version order by w.version"
    );
    assert_eq!(db.column::<String>(&walk), ["INSERT", "UPDATE", "UPDATE", "DELETE"]);
    // Back under its identity: one row, two lives.
    db.exec(&format!("insert into t values ('{id}', 1)"));
    assert_eq!(db.column::<String>(&walk), ["INSERT", "UPDATE", "UPDATE", "DELETE", "INSERT"]);
    let other = "select count(*) from syncjournal.history_walk(
        't', (select id from t where n > 1))";
    assert_eq!(db.query_one::<i64>(other), 4);
    let error =
        db.expect_error("select * from syncjournal.history_walk('pg_class', gen_random_uuid())");
    assert_eq!(error.sqlstate, "42704");
}

#[test]
fn capture_can_be_switched_off_by_a_superuser() {
    let db = tracking("t", "id int primary key, n int default 0");
    steps(
        &db,
        &[
            "insert into t values (1)",
            "set syncjournal.capture = off",
            "insert into t values (2)",
            "update t set n = 5",
            "truncate t",
            "insert into t values (3)",
            "reset syncjournal.capture",
        ],
    );
    assert_eq!(ops(&db, "t"), "INSERT");
    assert!(db.query_one::<bool>("select sync_id is not null from t"));
}

#[test]
fn a_trigger_on_a_table_that_is_not_tracked_says_so() {
    let db = tracking("t", "id int primary key");
    db.exec(
        "create table stray (sync_id uuid, sync_version uuid);
         create trigger \"~syncjournal_version\" before insert on stray
             for each row execute function syncjournal.trigger_version()",
    );
    let error = db.expect_error("insert into stray values (null, null)");
    assert_eq!(error.sqlstate, "55000");
    assert_ne!(error.hint, "");
    db.exec(
        "create trigger wrong after insert on t
             for each row execute function syncjournal.trigger_version()",
    );
    assert_eq!(db.expect_error("insert into t values (1)").sqlstate, "39P01");
}
