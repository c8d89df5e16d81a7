//! Who makes an update's entry: the BEFORE trigger where it has the last word, else the AFTER one.

use syncjournal_tests::{Db, SqlError};

use super::{assert_replays, entries, node, ops, steps, tracking};

const A: &str = "aaaaaaaa-0000-4000-8000-000000000000";
const B: &str = "bbbbbbbb-0000-4000-8000-000000000000";
const OWN_KEY: &str = "id uuid primary key, n int default 0, label text";

/// "early" where the BEFORE trigger makes entries, "late" where the AFTER trigger does; anything else
/// would make two or none. Behind it the trigger for keys that change, if there is one.
#[track_caller]
fn way(db: &Db, table: &str) -> String {
    db.text(&format!(
        "select case when v.tgnargs = 1 and c.tgtype & 16 = 0 then 'early'
                 when v.tgnargs = 0 and c.tgtype & 16 = 16 then 'late' else 'both or none' end
             || coalesce(' ' || m.tgname, '')
             || case when 'A' <> any (array[v.tgenabled, c.tgenabled, coalesce(m.tgenabled, 'A')])
                 then ', not always' else '' end
         from pg_trigger v join pg_trigger c using (tgrelid)
             left join pg_trigger m on m.tgrelid = v.tgrelid and m.tgname = 'syncjournal_moved'
         where v.tgrelid = '{table}'::regclass and v.tgname = '~syncjournal_version'
             and c.tgname = 'syncjournal_capture'"
    ))
}

/// Alters the table, and writes to it by that way.
#[track_caller]
fn goes(db: &Db, ddl: &str, expected: &str) {
    db.exec(ddl);
    assert_eq!(way(db, "t"), expected, "after: {ddl}");
    let before = ops(db, "t");
    db.exec("update t set n = n + 1 where id = 1");
    assert_eq!(ops(db, "t"), format!("{before} UPDATE"), "after: {ddl}");
    assert_replays(db, "t");
}

#[test]
fn ddl_changes_who_makes_entries() {
    let db = tracking("t", "id int primary key, n int not null default 0");
    assert_eq!(way(&db, "t"), "early");
    db.exec("insert into t values (1), (2)");
    db.exec(
        "create function late() returns trigger language plpgsql as $$ begin
         if new.n = 77 then return null; end if;
         if new.n > 77 then new.n := new.n + 1000; end if;
         return new; end $$",
    );
    let on = "before update on t for each row execute function late()";
    goes(&db, &format!("create trigger ahead {on}"), "early");
    goes(&db, &format!("create trigger \"~~behind\" {on}"), "late");
    db.exec("update t set n = 77 where id = 2; update t set n = 78 where id = 2");
    assert_eq!(db.query_one::<i32>("select n from t where id = 2"), 2078);
    let last = entries(&db, "t").pop().expect("an entry");
    assert_eq!(last.new["n"], 2078, "as the last trigger left it");
    assert_replays(&db, "t");
    goes(&db, "alter trigger \"~~behind\" on t rename to behind", "early");
    goes(&db, "alter trigger behind on t rename to \"~été\"", "late");
    goes(&db, "alter table t disable trigger \"~été\"", "late");
    goes(&db, "drop trigger \"~été\" on t; drop trigger ahead on t", "early");
    goes(&db, "alter table t add made int generated always as (n * 2) stored", "late");
    goes(&db, "alter table t drop made", "early");
    let after = "after update on t for each row execute function late()";
    goes(&db, &format!("create trigger \"~~after\" {after}"), "early");
    goes(
        &db,
        "begin; alter table t add twice int generated always as (n) stored; rollback",
        "early",
    );
    db.exec("select syncjournal.untrack('t')");
    let left = "select count(*) from pg_trigger where tgname ~ 'syncjournal'";
    assert_eq!(db.query_one::<i64>(left), 0);
}

#[test]
fn an_own_key_that_changes_is_seen_when_it_is_written() {
    let db = tracking("t", OWN_KEY);
    assert_eq!(way(&db, "t"), "early syncjournal_moved");
    steps(
        &db,
        &[
            &format!("insert into t values ('{A}', 1)"),
            "create function other() returns trigger language plpgsql as $$ begin
             if new.label = 'other' then new.id := gen_random_uuid(); end if;
             return new; end $$",
            "create trigger other before update on t for each row execute function other()",
            "update t set n = 2",
            // The statement does not name the key, and a trigger changes it.
            "update t set label = 'other'",
            &format!("update t set id = '{B}', n = 3, label = null"),
            "update t set n = n",
        ],
    );
    assert_eq!(ops(&db, "t"), "INSERT UPDATE INSERT DELETE INSERT DELETE");
    assert_replays(&db, "t");
    db.exec(&format!("alter table t rename id to key; update t set key = '{A}'"));
    assert_eq!(ops(&db, "t"), "INSERT UPDATE INSERT DELETE INSERT DELETE INSERT DELETE");
    assert_eq!(way(&db, "t"), "early syncjournal_moved");
    db.exec("alter table t disable trigger syncjournal_moved");
    let wrong = "select check_name from syncjournal.health where severity = 'error'";
    assert_eq!(db.text(wrong), "triggers");
}

#[test]
fn updates_are_refused_while_the_trigger_that_makes_their_entries_is_disabled() {
    let db = tracking("t", "id int primary key, n int not null default 0");
    db.exec("insert into t values (1)");
    db.exec("alter table t disable trigger \"~syncjournal_version\"");
    assert_eq!(way(&db, "t"), "late, not always");
    assert_eq!(db.expect_error("update t set n = 5").sqlstate, "27000");
    assert_eq!(db.query_one::<i32>("select n from t"), 0);
    goes(&db, "alter table t enable always trigger \"~syncjournal_version\"", "early");
}

#[test]
fn a_key_that_another_session_frees_meanwhile_knows_of_its_delete() {
    let db = tracking("t", OWN_KEY);
    db.exec(&format!("insert into t values ('{A}', 1), ('{B}', 2)"));
    let one = &mut db.session();
    one.exec(&format!("begin; delete from t where id = '{A}'"));
    let waiting = std::thread::spawn({
        let mut other = db.session();
        move || other.try_exec(&format!("update t set id = '{A}' where id = '{B}'"))
    });
    let blocked = "select count(*) from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'";
    while db.query_one::<i64>(blocked) == 0 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    one.exec("commit");
    let moved: Result<(), SqlError> = waiting.join().expect("the other session");
    if let Err(error) = moved {
        assert_eq!(error.sqlstate, "40001", "{error:#?}");
        db.exec(&format!("update t set id = '{A}' where id = '{B}'"));
    }
    assert_replays(&db, "t");
    let last = entries(&db, "t").into_iter().rfind(|entry| entry.row == A).expect("it came");
    assert!(last.op == "INSERT" && last.prev.is_some(), "{last:?}");
}

#[test]
fn updates_that_fail_behind_the_trigger_leave_no_entry() {
    let db = tracking("t", "id int primary key, n int check (n < 100), label text");
    steps(
        &db,
        &[
            "insert into t select g, g from generate_series(1, 20) g",
            "create unique index on t (label)",
            "create function itself() returns trigger language plpgsql as $$ begin
             if new.label = 'itself' then update t set n = n + 1 where id = new.id; end if;
             return new; end $$",
            "create trigger itself before update on t for each row
             when (pg_trigger_depth() = 0) execute function itself()",
            "create function attempt(command text) returns text language plpgsql as $$ begin
             execute command; return 'done';
             exception when others then return sqlstate; end $$",
        ],
    );
    let before = ops(&db, "t");
    for (command, expected) in [
        ("update t set n = n + 90", "23514"),
        ("update t set label = 'same'", "23505"),
        ("update t set label = 'itself' where id = 1", "27000"),
        (
            "merge into t using (values (1), (1)) s(i) on id = i
          when matched then update set n = n + 1",
            "21000",
        ),
    ] {
        assert_eq!(db.query_one_with::<String>("select attempt($1)", &[&command]), expected);
        assert_eq!(ops(&db, "t"), before, "{command}");
    }
    // The second of two that match one row finds it changed by this very statement.
    db.exec("update t set n = i from (values (1, 50), (1, 51), (2, 52)) s(k, i) where id = k");
    assert_eq!(ops(&db, "t"), format!("{before} UPDATE UPDATE"));
    db.exec(
        "begin; update t set n = 60 where id = 3; savepoint a; update t set n = 61;
         rollback to a; update t set n = 62 where id = 4; release a; commit",
    );
    assert_eq!(ops(&db, "t"), format!("{before} UPDATE UPDATE UPDATE UPDATE"));
    assert_replays(&db, "t");
}

#[test]
fn rows_that_refer_to_others_wait_for_the_statements_end() {
    let db = node();
    steps(
        &db,
        &[
            "create table t (id int generated by default as identity primary key, parent int)",
            "select syncjournal.track('t', keys => 'local')",
            "insert into t values (3, 2), (2, 1), (1, null)",
        ],
    );
    assert_eq!(way(&db, "t"), "early");
    db.exec("alter table t add foreign key (parent) references t (id)");
    assert_eq!(way(&db, "t"), "late");
    // When a row is about to be written, its parent's new key is still the row's own.
    db.exec("update t set id = id + 1, parent = parent + 1");
    let told = db.text(
        "select string_agg(format('%s>%s', c.id, p.id), ' ' order by c.id) from t c
             join syncjournal.change e on e.version = c.sync_version
             left join t p on p.sync_id::text = e.new ->> 'parent'
         where e.new ? 'parent' and c.parent is not null",
    );
    // The parent of 3 is the row that it was.
    assert_eq!(told, "4>3");
    db.exec("alter table t drop constraint t_parent_fkey");
    assert_eq!(way(&db, "t"), "early");
}

#[test]
fn a_table_that_was_altered_behind_our_back_says_so() {
    let db = tracking("t", "id int primary key, n int not null default 0");
    steps(
        &db,
        &[
            "insert into t values (1)",
            "create function late() returns trigger language plpgsql as 'begin return null; end'",
            "set session_replication_role = replica;
             create trigger \"~~behind\" before update on t for each row execute function late();
             reset session_replication_role",
        ],
    );
    let error = db.expect_error("update t set n = 1");
    assert_eq!(error.sqlstate, "55000", "{error:#?}");
    assert_ne!(error.hint, "");
    db.exec("alter table t set (fillfactor = 90)");
    assert_eq!(way(&db, "t"), "late");
    db.exec("update t set n = 1");
    assert_eq!(ops(&db, "t"), "INSERT", "it suppresses the row");
}

#[test]
fn partitions_keep_the_late_way() {
    let db = node();
    steps(
        &db,
        &[
            "create table p (id int, n int, primary key (id)) partition by range (id)",
            "create table p1 partition of p for values from (0) to (10)",
            "select syncjournal.track('p')",
            "create table t (id int primary key, n int); select syncjournal.track('t')",
        ],
    );
    for table in ["p", "p1"] {
        assert_eq!(way(&db, table), "late");
    }
    // Its triggers are there already.
    let refused = db.expect_error("alter table p attach partition t for values from (10) to (20)");
    assert_eq!(refused.sqlstate, "42710", "{refused:#?}");
    db.exec("create table p2 (like p including all)");
    db.exec("alter table p attach partition p2 for values from (10) to (20)");
    assert_eq!(way(&db, "p2"), "late");
    db.exec("alter table p detach partition p2; select syncjournal.track('p2')");
    assert_eq!(way(&db, "p2"), "early");
    db.exec("insert into p2 values (11, 1); update p2 set n = 2");
    assert_eq!(ops(&db, "p2"), "INSERT UPDATE");
}

#[test]
fn a_dump_keeps_the_way() {
    let db = node();
    let late = "create function late() returns trigger language plpgsql as 'begin return new; end'";
    let made = "(id uuid primary key, n int)";
    db.exec(&format!("{late}; create table own {made}; create table behind {made}"));
    db.exec("create table t (id int primary key, n int); create table generated (id int primary key, n int, made int generated always as (n) stored)");
    db.exec(
        "create trigger \"~~late\" before update on behind for each row execute function late()",
    );
    db.exec("select syncjournal.track_all()");
    let copy = db.restored_copy(db.cluster());
    for (table, expected) in [
        ("own", "early syncjournal_moved"),
        ("behind", "late"),
        ("t", "early"),
        ("generated", "late"),
    ] {
        assert_eq!((way(&db, table).as_str(), way(&copy, table).as_str()), (expected, expected));
    }
}
