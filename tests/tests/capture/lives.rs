//! Rows that come back under their identity: the insert knows of the delete before it.

use syncjournal_tests::{carry, introduce, pair};

use super::{assert_replays, entries, node, ops, steps, tracking};

const A: &str = "aaaaaaaa-0000-4000-8000-000000000000";
const B: &str = "bbbbbbbb-0000-4000-8000-000000000000";
const C: &str = "cccccccc-0000-4000-8000-000000000000";

#[test]
fn an_insert_after_a_delete_names_it_as_its_parent() {
    let db = tracking("t", "id uuid primary key default gen_random_uuid(), n int");
    db.exec(&format!("insert into t values ('{A}', 1), ('{B}', 1)"));
    steps(
        &db,
        &[
            "delete from t",
            &format!("insert into t values ('{A}', 2)"),
            &format!("delete from t where id = '{A}'"),
            &format!("insert into t values ('{A}', 3) on conflict (id) do update set n = 9"),
            &format!("insert into t values ('{A}', 4) on conflict (id) do update set n = 4"),
            &format!("copy t (id, n) from program 'echo {B},5' (format csv)"),
            // Within one transaction the delete is not even journaled yet.
            &format!("begin; delete from t; insert into t values ('{A}', 6); commit"),
            &format!(
                "begin; delete from t; savepoint a; insert into t values ('{A}', 7), ('{B}', 7);
                 rollback to a; insert into t values ('{B}', 8); savepoint b;
                 insert into t values ('{A}', 8); delete from t where id = '{A}'; release b;
                 insert into t values ('{A}', 9); commit"
            ),
            "insert into t (n) select 1 from generate_series(1, 100)",
            "begin; create temporary table kept on commit drop as table t; delete from t;
             insert into t select * from kept; commit",
        ],
    );
    assert_replays(&db, "t");
    let stones = "select count(*) from syncjournal.tombstone";
    assert_eq!(db.query_one::<i64>(stones), 0, "all are back");
}

#[test]
fn a_row_of_our_identity_comes_back_only_where_it_is_named() {
    let db = tracking("t", "id int primary key, n int");
    db.exec(&format!("insert into t (id, sync_id) values (1, '{A}'), (2, '{B}')"));
    db.exec("delete from t");
    db.exec("insert into t values (1), (2)");
    db.exec(&format!("insert into t (id, sync_id) values (3, '{A}'), (4, null)"));
    assert_replays(&db, "t");
    let last = entries(&db, "t").into_iter().rfind(|entry| entry.row == A).expect("it came");
    assert!(last.prev.is_some());
}

#[test]
fn a_row_that_one_statement_deletes_and_inserts_has_changed() {
    let db = tracking("t", "id uuid primary key, n int");
    db.exec(&format!("insert into t values ('{A}', 1), ('{B}', 1)"));
    let replace =
        "with gone as (delete from t returning *) insert into t select id, n + 1 from gone";
    db.exec(replace);
    assert_replays(&db, "t");
    assert_eq!(ops(&db, "t"), "INSERT INSERT INSERT INSERT");
    assert_eq!(db.text("select string_agg(n::text, ',') from t"), "2,2");
    // One by one, whatever is journaled on the way.
    db.exec(
        "create table wide (id uuid primary key, n text); select syncjournal.track('wide');
         insert into wide select gen_random_uuid(), repeat('x', 300) from generate_series(1, 20)",
    );
    let in_turn =
        "with gone as (delete from wide returning *) insert into wide select id, n from gone";
    db.exec(in_turn);
    assert_replays(&db, "wide");
    // So many that the deletes are journaled before the inserts come.
    db.exec(
        "create table bulk (id uuid primary key, n text); select syncjournal.track('bulk');
         insert into bulk select gen_random_uuid(), repeat('x', 200) from generate_series(1, 5000)",
    );
    let refused = db.expect_error(
        "with gone as materialized (delete from bulk returning *),
             held as materialized (select * from gone order by id)
         insert into bulk select * from held",
    );
    assert_eq!(refused.sqlstate, "27000");
    assert!(!refused.hint.is_empty());
}

#[test]
fn another_key_is_another_row() {
    let db = tracking("t", "id uuid primary key, n int");
    db.exec(&format!("insert into t values ('{A}', 1), ('{B}', 1)"));
    steps(
        &db,
        &[
            &format!("update t set id = '{C}', n = 2 where id = '{A}'"),
            &format!("update t set id = '{A}' where id = '{C}'"),
            &format!(
                "insert into t values ('{A}', 1) on conflict (id) do update set id = '{C}', n = 3"
            ),
            &format!(
                "update t set id = case id when '{C}' then '{A}'::uuid else '{C}' end
                 where id = '{C}'"
            ),
        ],
    );
    assert_replays(&db, "t");
    assert_eq!(
        ops(&db, "t"),
        "INSERT INSERT INSERT DELETE INSERT DELETE INSERT DELETE INSERT DELETE"
    );
    let db = node();
    db.exec(
        "create table p (id uuid, area int, primary key (id, area), unique (id, area))
             partition by list (area);
         create table parent (id uuid primary key);
         create table child (id int primary key,
             parent uuid references parent on update cascade);
         select syncjournal.track_all()",
    );
    db.exec(&format!("insert into parent values ('{A}'); insert into child values (1, '{A}')"));
    db.exec(&format!("update parent set id = '{B}'"));
    assert_replays(&db, "parent");
    assert_replays(&db, "child");
    assert_eq!(ops(&db, "child"), "INSERT UPDATE");
}

#[test]
fn another_key_reaches_the_peer() {
    let (left, right) = pair();
    for db in [&left, &right] {
        db.exec("create table t (id uuid primary key, n int)");
    }
    introduce(&[(&left, "left"), (&right, "right")]);
    for db in [&left, &right] {
        db.exec("select syncjournal.track('t')");
    }
    left.exec(&format!("insert into t values ('{A}', 1), ('{B}', 1)"));
    carry(&left, &right, "changes");
    left.exec(&format!("update t set id = '{C}' where id = '{A}'; delete from t where id = '{B}'"));
    left.exec(&format!("insert into t values ('{B}', 2)"));
    carry(&left, &right, "changes");
    syncjournal_tests::assert_same_rows(&left, &right, "t");
    assert_eq!(right.query_one::<i64>("select count(*) from syncjournal.conflict"), 0);
}

#[test]
fn a_delete_that_ends_while_the_insert_waits_is_known_to_it() {
    let db = tracking("t", "id uuid primary key, n int");
    db.exec(&format!("insert into t values ('{A}', 1)"));
    let mut other = db.session();
    other.exec(&format!("begin; delete from t where id = '{A}'"));
    let dsn = db.session();
    let mut inserting = dsn;
    let waiting = std::thread::spawn(move || {
        inserting.exec(&format!("insert into t values ('{A}', 2)"));
    });
    syncjournal_tests::wait_until("the insert waits", || {
        db.query_one("select exists (select from pg_locks where not granted)")
    });
    other.exec("commit");
    waiting.join().expect("the insert succeeds");
    assert_replays(&db, "t");
    let stones = "select count(*) from syncjournal.tombstone";
    assert_eq!(db.query_one::<i64>(stones), 0);
}
