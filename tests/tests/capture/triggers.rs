//! Other people's triggers.

use super::{assert_replays, entries, ops, steps, tracking};

#[test]
fn before_triggers_that_change_or_suppress_rows_replay() {
    let db = tracking("t", "id int primary key, label text, n int default 0");
    steps(
        &db,
        &[
            "create function edit() returns trigger language plpgsql as $$ begin
             if new.label = 'no' then return null; end if;
             if tg_op = 'UPDATE' and new.label = 'as it was' then return old; end if;
             new.label := upper(new.label); return new; end $$",
            "create trigger zz_edit before insert or update on t for each row execute function edit()",
            "insert into t values (1, 'one'), (2, 'no'), (3, 'three')",
            "update t set label = 'no' where id = 1",
            "update t set label = 'as it was', n = 7",
            "update t set label = 'changed', n = 8 where id = 3",
        ],
    );
    assert_eq!(ops(&db, "t"), "INSERT INSERT UPDATE");
    assert_replays(&db, "t");
}

#[test]
fn a_trigger_that_fires_behind_ours_must_not_change_rows() {
    let db = tracking("t", "id int primary key, label text, n int default 0");
    steps(
        &db,
        &[
            "create function late() returns trigger language plpgsql as $$ begin
             if new.label = 'no' then return null; end if;
             if new.label = 'n' then new.n := new.n + 1; end if;
             if new.label = 'version' then new.sync_version := null; end if;
             if new.label = 'undo' then new.label := old.label; end if;
             if new.label = 'id' then new.sync_id := gen_random_uuid(); end if;
             return new; end $$",
            "create trigger \"~~late\" before insert or update on t
             for each row execute function late()",
            "insert into t values (1, 'one'), (2, 'no')",
            "update t set label = 'no'",
            // It changes the row together with the statement: the entry has both.
            "update t set label = 'n'",
        ],
    );
    // The statement changes nothing, the trigger does: the row would lie outside its version.
    for (statement, sqlstate) in [
        ("update t set label = label", "27000"),
        ("insert into t values (3, 'version')", "27000"),
        ("update t set label = 'id'", "23000"),
    ] {
        let error = db.expect_error(statement);
        assert_eq!(error.sqlstate, sqlstate, "{statement}: {error:#?}");
        assert_ne!(error.hint, "");
    }
    // A change that is taken back has its version already: an empty entry keeps the chain whole.
    db.exec("update t set label = 'undo'");
    let last = entries(&db, "t").pop().expect("the empty entry");
    assert_eq!((last.op.as_str(), last.new.len()), ("UPDATE", 0));
    assert_replays(&db, "t");
}

#[test]
fn nested_triggers_replay() {
    let db = tracking("t", "id int primary key, n int default 0, total int default 0");
    db.exec("create table log (id int generated always as identity primary key, what text)");
    db.exec("select syncjournal.track('log')");
    steps(
        &db,
        &[
            "create function follow() returns trigger language plpgsql as $$ begin
             insert into log (what) values (tg_op || coalesce(new.id, old.id));
             if tg_op = 'UPDATE' and new.n < 5 and pg_trigger_depth() < 4 then
                 update t set n = n + 1 where id = new.id;
                 update t set total = total + 1 where id = 1;
             end if;
             return null; end $$",
            "create trigger follow after insert or update or delete on t
             for each row execute function follow()",
            "create function ahead() returns trigger language plpgsql as $$ begin
             update t set total = total + 10 where id = new.id - 1;
             return new; end $$",
            "create trigger ahead before update on t for each row
             when (pg_trigger_depth() = 0 and new.id > 5) execute function ahead()",
            "insert into t select generate_series(1, 9)",
            "update t set n = n + 1 where id in (2, 3, 4)",
            "update t set n = n + 1 where id in (7, 9)",
            "delete from t where id = 3",
        ],
    );
    assert_replays(&db, "t");
    assert_replays(&db, "log");
}

#[test]
fn entries_of_one_row_keep_their_order_when_the_buffer_overflows_within_a_statement() {
    let db = tracking("t", "id int primary key, n int default 0, pad text");
    steps(
        &db,
        &[
            "insert into t select g, 0, repeat('x', 300) from generate_series(1, 3000) g",
            // While the statement is under way, its trigger changes rows that it has changed already.
            "create function back() returns trigger language plpgsql as $$ begin
             update t set n = n + 1, pad = repeat('y', 300)
                 where id in (new.id - 1, new.id - 3, new.id - 700);
             return new; end $$",
            "create trigger back before update on t for each row
             when (pg_trigger_depth() = 0) execute function back()",
            "update t set n = n + 100",
        ],
    );
    assert_replays(&db, "t");
}

#[test]
fn deferred_constraint_triggers_that_write_replay() {
    let db = tracking("t", "id int primary key, n int default 0");
    steps(
        &db,
        &[
            "create function settle() returns trigger language plpgsql as $$ begin
             update t set n = n + 1 where id = new.id and n < 3; return null; end $$",
            "create constraint trigger settle after insert or update on t
             deferrable initially deferred for each row execute function settle()",
            "begin; insert into t values (1), (2); savepoint a; insert into t values (3);
             rollback to a; commit",
        ],
    );
    assert_replays(&db, "t");
    assert_eq!(db.query_one::<i64>("select sum(n) from t"), 6);
}

#[test]
fn who_writes_needs_no_rights_on_the_journal() {
    let db = tracking("t", "id int primary key, label text");
    db.exec("create role clerk login; grant all on t to clerk");
    let clerk = &mut db.session_as("clerk");
    clerk.exec("insert into t values (1, 'one'), (2, 'two')");
    clerk.exec("update t set label = 'three'; delete from t where id = 1");
    let error = clerk.expect_error("set syncjournal.capture = off");
    assert_eq!(error.sqlstate, "42501");
    assert_eq!(clerk.expect_error("select * from syncjournal.journal").sqlstate, "42501");
    assert_replays(&db, "t");
    db.exec("drop owned by clerk; drop role clerk");
}
