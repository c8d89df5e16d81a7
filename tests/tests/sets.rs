//! Sync sets by hand: made on one database, carried as bytes, applied on another.

use std::process::Command;

use syncjournal_tests::{
    Db, Session, SqlError, apply_set, assert_same_rows, carry, confirm_set, introduce, pair,
    prepare_set, table_rows, triple,
};

/// Two nodes with the same empty table, tracked, after a first copy.
fn offices() -> (Db, Db) {
    let (hq, branch) = pair();
    introduce(&[(&hq, "hq"), (&branch, "branch")]);
    for db in [&hq, &branch] {
        db.exec("create table item (id int primary key, label text, price numeric)");
        db.exec("select syncjournal.track('item')");
    }
    carry(&hq, &branch, "full");
    (hq, branch)
}

#[track_caller]
fn apply_error(session: &mut Session, part: &[u8]) -> SqlError {
    let applied = session.client().query("select * from syncjournal.apply($1)", &[&part]);
    SqlError::from(&applied.expect_err("the part should have been refused"))
}

fn labels(db: &Db) -> Vec<String> {
    db.column("select id || ' ' || label from item order by id")
}

#[test]
fn a_set_travels_as_a_file_from_psql_to_psql() {
    let (hq, branch) = offices();
    hq.exec("insert into item values (1, 'one', 1.10), (2, 'two', null)");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("set.hex");
    let made = hq.psql(
        "\\t on\n\\a\nselect encode(data, 'hex') from syncjournal.prep_sync('branch') order by part",
    );
    std::fs::write(&file, &made.stdout).expect("the file can be written");
    let script = format!(
        "\\set set `cat {}`\nselect * from syncjournal.apply(decode(trim(:'set'), 'hex'))",
        file.display()
    );
    let applied = branch.psql(&script);
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    assert!(Command::new("test").arg("-s").arg(&file).status().is_ok_and(|s| s.success()));
    assert_same_rows(&hq, &branch, "item");
    assert_eq!(labels(&branch), ["1 one", "2 two"]);
}

#[test]
fn a_transaction_that_began_early_and_committed_late_is_not_missed() {
    let (hq, branch) = offices();
    let (mut early, mut late) = (hq.session(), hq.session());
    early.exec("begin; insert into item values (1, 'early', 1)");
    late.exec("insert into item values (2, 'late', 2)");
    assert_eq!(carry(&hq, &branch, "changes").inserted, 1);
    late.exec("insert into item values (3, 'later', 3)");
    early.exec("insert into item values (4, 'early too', 4)");
    assert_eq!(carry(&hq, &branch, "changes").inserted, 1);
    early.exec("commit");
    assert_eq!(carry(&hq, &branch, "changes").inserted, 2);
    assert_eq!(carry(&hq, &branch, "changes").entries, 0);
    assert_same_rows(&hq, &branch, "item");
}

#[test]
fn what_the_preparing_transaction_writes_comes_with_the_next_set() {
    let (hq, branch) = offices();
    hq.exec("begin; insert into item values (1, 'before', 1)");
    // Another transaction ends meanwhile, so that the snapshot's end lies behind this one's number.
    hq.session().exec("insert into item values (2, 'other', 2)");
    let parts = prepare_set(&hq, &branch, "changes");
    hq.exec("insert into item values (3, 'after', 3); commit");
    assert_eq!(apply_set(&branch, &parts).inserted, 1);
    confirm_set(&hq, &parts);
    assert_eq!(carry(&hq, &branch, "changes").inserted, 2);
    assert_same_rows(&hq, &branch, "item");
}

#[test]
fn sets_chain_and_a_gap_is_refused_and_named() {
    let (hq, branch) = offices();
    hq.exec("insert into item values (1, 'one', 1)");
    let first = prepare_set(&hq, &branch, "changes");
    confirm_set(&hq, &first);
    hq.exec("insert into item values (2, 'two', 2)");
    let second = prepare_set(&hq, &branch, "changes");
    confirm_set(&hq, &second);

    let error = apply_error(&mut branch.session(), &second[0]);
    assert_eq!(error.sqlstate, "55000", "{error:#?}");
    let from = "select syncjournal.describe_set($1) ->> 'from'";
    let missing: String = hq.query_one_with(from, &[&second[0]]);
    assert!(error.message.contains(&missing), "{error:#?}");
    assert_eq!(labels(&branch).len(), 0);

    apply_set(&branch, &first);
    apply_set(&branch, &second);
    assert_same_rows(&hq, &branch, "item");
    let again = apply_set(&branch, &first);
    assert_eq!((again.entries, again.skipped), (1, 1));
}

#[test]
fn an_unconfirmed_set_is_contained_in_the_next() {
    let (hq, branch) = offices();
    hq.exec("insert into item values (1, 'one', 1)");
    let lost = prepare_set(&hq, &branch, "changes");
    hq.exec("update item set label = 'uno'");
    let next = carry(&hq, &branch, "changes");
    assert_eq!((next.inserted, next.updated), (1, 1));
    let late = apply_set(&branch, &lost);
    assert_eq!((late.entries, late.skipped), (1, 1));
    assert_same_rows(&hq, &branch, "item");
}

#[test]
fn a_full_set_copies_what_was_there_before_tracking() {
    let (hq, branch) = pair();
    introduce(&[(&hq, "hq"), (&branch, "branch")]);
    for db in [&hq, &branch] {
        db.exec("create table item (id int primary key, label text, price numeric)");
    }
    hq.exec("insert into item select i, 'item ' || i, i from generate_series(1, 1000) i");
    branch.exec("insert into item select i, 'item ' || i, i from generate_series(1, 10) i");
    branch.exec("insert into item values (11, 'another eleven', 11)");
    for db in [&hq, &branch] {
        db.exec("select syncjournal.track('item')");
    }
    hq.exec("update item set label = 'changed' where id <= 5");
    let full = carry(&hq, &branch, "full");
    assert_eq!((full.inserted, full.updated, full.skipped), (989, 6, 5), "{full:?}");
    assert_eq!(full.conflicts, 1, "the row that differed without a history");
    assert_same_rows(&hq, &branch, "item");
    let local: String = branch.query_one("select local ->> 'label' from syncjournal.conflict");
    assert_eq!(local, "another eleven");
    // A second copy finds everything in place.
    let again = carry(&hq, &branch, "full");
    assert_eq!((again.skipped, again.conflicts), (1000, 0), "{again:?}");
}

#[test]
fn a_full_set_does_not_bring_back_what_is_newer_here() {
    let (hq, branch) = offices();
    hq.exec("insert into item values (1, 'one', 1), (2, 'two', 2)");
    carry(&hq, &branch, "changes");
    let old = prepare_set(&hq, &branch, "full");
    branch.exec("update item set label = 'newer' where id = 1; delete from item where id = 2");
    apply_set(&branch, &old);
    assert_eq!(labels(&branch), ["1 newer"]);
    carry(&branch, &hq, "changes");
    assert_same_rows(&hq, &branch, "item");
}

#[test]
fn a_dry_run_reports_the_same_and_changes_nothing() {
    let (hq, branch) = offices();
    hq.exec("insert into item values (1, 'one', 1); update item set label = 'uno'");
    let parts = prepare_set(&hq, &branch, "changes");
    let query =
        "select array[entries, inserted, updated] from syncjournal.apply($1, dry_run => true)";
    let counts: Vec<i64> = branch.query_one_with(query, &[&parts[0]]);
    assert_eq!(counts, [2, 1, 1]);
    for table in [
        "item",
        "syncjournal.change",
        "syncjournal.sync_set where direction = 'received'
        and mode = 'changes'",
    ] {
        assert_eq!(branch.query_one::<i64>(&format!("select count(*) from {table}")), 0, "{table}");
    }
    assert_eq!(apply_set(&branch, &parts).inserted, 1);
    assert_same_rows(&hq, &branch, "item");
}

#[test]
fn a_set_describes_itself() {
    let (hq, branch) = offices();
    hq.exec("insert into item values (1, 'one', 1)");
    let parts = prepare_set(&hq, &branch, "changes");
    let described: serde_json::Value =
        branch.query_one_with("select syncjournal.describe_set($1)", &[&parts[0]]);
    assert_eq!(described["source"]["name"], "hq");
    assert_eq!(described["destination"]["name"], "branch");
    assert_eq!(described["mode"], "changes");
    assert_eq!((&described["part"], &described["parts"]), (&1.into(), &1.into()));
    assert_eq!(described["entries"], 1);
    assert_eq!(described["relations"][0]["table"], "item");
    let columns = described["relations"][0]["columns"].as_array().expect("columns");
    assert_eq!(columns.len(), 3);
}

/// One transaction that fills several parts.
fn large_transaction(hq: &Db, branch: &Db) -> Vec<Vec<u8>> {
    hq.exec(
        "insert into item select i, repeat(md5(i::text), 8), i from generate_series(1, 40000) i;
         insert into item values (0, 'small', 0)",
    );
    let parts = prepare_set(hq, branch, "changes");
    assert!(parts.len() > 2, "{} parts", parts.len());
    assert!(parts.iter().all(|part| part.len() < 6 << 20), "parts are of bounded size");
    parts
}

#[test]
fn a_transaction_over_several_parts_is_never_seen_in_half() {
    let (hq, branch) = offices();
    let parts = large_transaction(&hq, &branch);
    let mut session = branch.session();
    // Alone, the first part would commit half a transaction.
    let error = apply_error(&mut session, &parts[0]);
    assert!(error.hint.contains("begin"), "{error:#?}");
    session.exec("begin");
    session.client().query("select syncjournal.apply($1)", &[&parts[0]]).expect("the first part");
    let error = session.expect_error("commit");
    assert!(error.hint.contains("begin"), "{error:#?}");
    session.exec("begin");
    session.client().query("select syncjournal.apply($1)", &[&parts[0]]).expect("the first part");
    let error = session.expect_error("prepare transaction 'half'");
    assert!(!error.hint.is_empty() || error.sqlstate == "55000", "{error:#?}");
    session.try_exec("rollback").ok();
    assert_eq!(labels(&branch).len(), 0);

    // A part out of order, alone or after another.
    apply_error(&mut session, &parts[1]);
    session.exec("begin");
    session.client().query("select syncjournal.apply($1)", &[&parts[0]]).expect("the first part");
    apply_error(&mut session, &parts[2]);
    session.exec("rollback");

    apply_set(&branch, &parts);
    assert_same_rows(&hq, &branch, "item");
    let again = apply_set(&branch, &parts);
    assert_eq!(again.entries, again.skipped);
}

#[test]
fn a_savepoint_takes_half_a_transaction_back() {
    let (hq, branch) = offices();
    let parts = large_transaction(&hq, &branch);
    let mut session = branch.session();
    let apply = |session: &mut Session, part: &[u8]| {
        session.client().query("select syncjournal.apply($1)", &[&part]).expect("applied");
    };
    session.exec("begin; savepoint a");
    apply(&mut session, &parts[0]);
    session.exec("rollback to a; commit");
    assert_eq!(labels(&branch).len(), 0);
    session.exec("begin");
    apply(&mut session, &parts[0]);
    session.exec("savepoint a");
    apply(&mut session, &parts[1]);
    session.exec("rollback to a");
    for part in &parts[1..] {
        session.exec("savepoint b");
        apply(&mut session, part);
        session.exec("release b");
    }
    session.exec("commit");
    assert_same_rows(&hq, &branch, "item");
}

#[test]
fn small_transactions_apply_part_by_part() {
    let (hq, branch) = offices();
    for from in (0..40_000).step_by(5_000) {
        hq.exec(&format!(
            "insert into item select i, repeat(md5(i::text), 8), i
             from generate_series({from}, {from} + 4999) i"
        ));
    }
    let parts = prepare_set(&hq, &branch, "full");
    assert!(parts.len() > 2);
    let mut rows = 0;
    for part in &parts {
        branch.query_one_with::<i64>("select inserted from syncjournal.apply($1)", &[part]);
        let now = labels(&branch).len();
        assert!(now > rows, "each part adds rows");
        rows = now;
    }
    assert_same_rows(&hq, &branch, "item");
}

#[test]
fn the_parts_come_one_by_one_through_a_cursor() {
    let (hq, branch) = offices();
    hq.exec(
        "insert into item select i, repeat(md5(i::text), 8), i from generate_series(1, 40000) i",
    );
    for mode in ["changes", "full"] {
        hq.exec(&format!(
            "begin; declare parts no scroll cursor for
             select (syncjournal.prep_sync('branch', mode => '{mode}')).*"
        ));
        let mut parts: Vec<Vec<u8>> = Vec::new();
        loop {
            let rows = hq.own().client().query("fetch 1 from parts", &[]).expect("a part");
            let Some(row) = rows.first() else { break };
            parts.push(row.get("data"));
        }
        hq.exec("commit");
        apply_set(&branch, &parts);
        assert_same_rows(&hq, &branch, "item");
        // Reading only some of the parts leaves nothing open.
        hq.exec(&format!("select (syncjournal.prep_sync('branch', '{mode}')).part limit 1"));
    }
}

#[test]
fn columns_are_matched_by_name() {
    let (hq, branch) = pair();
    introduce(&[(&hq, "hq"), (&branch, "branch")]);
    hq.exec(
        "create table item (gone int, id int primary key, label text, price numeric(8,2));
             alter table item drop column gone",
    );
    branch.exec(
        "create table item (price numeric(8,2), extra text default 'here', label text,
                     id int primary key, twice numeric generated always as (price * 2) stored,
                     serial_no bigint generated always as identity)",
    );
    for db in [&hq, &branch] {
        db.exec("select syncjournal.track('item')");
    }
    // The branch has columns that the head office has not: only one way is possible.
    hq.exec("insert into item (id, label, price) values (1, 'one', 1.25), (2, null, null)");
    carry(&hq, &branch, "full");
    hq.exec("update item set price = 2.5 where id = 1; insert into item (id) values (3)");
    carry(&hq, &branch, "changes");
    let rows: Vec<String> = branch.column(
        "select concat_ws('|', id, label, price, extra, twice, serial_no) from item order by id",
    );
    assert_eq!(rows, ["1|one|2.50|here|5.00|1", "2|here|2", "3|here|3"]);
}

#[test]
fn a_column_that_the_target_excludes_is_not_taken() {
    let (hq, branch) = pair();
    introduce(&[(&hq, "hq"), (&branch, "branch")]);
    for db in [&hq, &branch] {
        db.exec("create table item (secret text default 'own', id int primary key, label text)");
    }
    hq.exec("select syncjournal.track('item')");
    branch.exec("select syncjournal.track('item', exclude_columns => '{secret}')");
    hq.exec("insert into item values ('hidden', 1, 'one'), ('hidden', 2, 'two')");
    carry(&hq, &branch, "full");
    hq.exec(
        "update item set secret = 'more', label = 'uno' where id = 1;
             update item set secret = 'more' where id = 2",
    );
    carry(&hq, &branch, "changes");
    let rows: Vec<String> =
        branch.column("select concat_ws(' ', id, label, secret) from item order by id");
    assert_eq!(rows, ["1 uno own", "2 two own"]);
}

#[test]
fn the_later_update_wins_and_the_other_can_be_read() {
    let (hq, branch) = offices();
    hq.exec("insert into item values (1, 'both', 1), (2, 'both', 2), (3, 'both', 3)");
    carry(&hq, &branch, "changes");
    hq.exec("update item set label = 'hq first' where id = 1");
    branch.exec("update item set price = 10 where id = 1");
    branch.exec("update item set label = 'branch first' where id = 2");
    hq.exec("update item set price = 20 where id = 2");
    hq.exec("update item set label = 'hq a' where id = 2");
    branch.exec("delete from item where id = 3");
    hq.exec("update item set label = 'alive' where id = 3");

    let there = carry(&hq, &branch, "changes");
    let back = carry(&branch, &hq, "changes");
    assert_same_rows(&hq, &branch, "item");
    let rows: Vec<String> =
        hq.column("select concat_ws(' ', id, label, price) from item order by id");
    assert_eq!(rows, ["1 both 10", "2 hq a 20", "3 alive 3"], "whole rows win");
    assert!(there.conflicts > 0 && back.conflicts > 0);

    let conflicts = branch.rows(
        "select row_id, conflict_type, winner, status, base ->> 'label', local ->> 'price',
             remote ->> 'label'
         from syncjournal.conflict c where conflict_type = 'update_origin_differs'
         order by conflict_id",
    );
    let told = |place: usize| -> Vec<String> {
        conflicts[place].iter().skip(1).map(|field| field.clone().unwrap_or_default()).collect()
    };
    assert_eq!(told(0), ["update_origin_differs", "local", "resolved", "both", "10", "hq first"],);
    assert_eq!(told(1)[1], "remote");
    let deleted: Vec<String> = branch
        .column("select winner from syncjournal.conflict where conflict_type = 'update_deleted'");
    assert_eq!(deleted, ["remote"]);
}

#[test]
fn deletes_meet_updates_on_both_sides_and_both_agree() {
    let (hq, branch) = offices();
    hq.exec("insert into item select i, 'both', i from generate_series(1, 4) i");
    carry(&hq, &branch, "changes");
    hq.exec("update item set label = 'hq' where id = 1");
    branch.exec("delete from item where id = 1");
    hq.exec("delete from item where id = 2");
    branch.exec("update item set label = 'branch' where id = 2");
    hq.exec("delete from item where id = 3");
    branch.exec("delete from item where id = 3");
    carry(&hq, &branch, "changes");
    carry(&branch, &hq, "changes");
    carry(&hq, &branch, "changes");
    assert_same_rows(&hq, &branch, "item");
    assert_eq!(labels(&hq), ["2 branch", "4 both"]);
    branch.exec("update item set price = 7 where id = 2");
    assert_eq!(carry(&branch, &hq, "changes").updated, 1);
    assert_same_rows(&hq, &branch, "item");
}

#[test]
fn a_truncate_spares_what_was_written_later() {
    let (hq, branch) = offices();
    hq.exec("insert into item select i, 'old', i from generate_series(1, 100) i");
    carry(&hq, &branch, "changes");
    hq.exec("truncate item; insert into item values (1, 'new', 1)");
    branch.exec("insert into item values (200, 'later', 1)");
    carry(&hq, &branch, "changes");
    assert_eq!(labels(&branch), ["1 new", "200 later"]);
    carry(&branch, &hq, "changes");
    assert_same_rows(&hq, &branch, "item");
}

#[test]
fn the_role_of_the_agent_is_enough() {
    let (hq, branch) = offices();
    for db in [&hq, &branch] {
        let role = format!("carrier_{}", db.name());
        db.exec(&format!("create role {role} login in role syncjournal_agent"));
    }
    hq.exec("insert into item values (1, 'one', 1)");
    let mut from = hq.session_as(&format!("carrier_{}", hq.name()));
    let mut to = branch.session_as(&format!("carrier_{}", branch.name()));
    let set: Vec<u8> = from.query_one("select data from syncjournal.prep_sync('branch')");
    assert_eq!(to.query_one_with::<i64>("select inserted from syncjournal.apply($1)", &[&set]), 1);
    assert_eq!(from.expect_error("select * from item").sqlstate, "42501");
    assert_same_rows(&hq, &branch, "item");
}

#[test]
fn the_tables_owner_runs_its_code_and_no_more() {
    let (hq, branch) = offices();
    let owner = format!("owner_{}", branch.name());
    branch.exec(&format!(
        "create role {owner}; grant all on schema public to {owner};
         create function who() returns text language sql as 'select current_user::text';
         create function check_owner(label text) returns boolean language plpgsql as $$
             begin return current_user = '{owner}' and label is not null; end $$;
         alter table item add column author text default who();
         alter table item add check (public.check_owner(label));
         alter table item owner to {owner};
         alter table item enable row level security; alter table item force row level security"
    ));
    hq.exec("insert into item values (1, 'one', 1)");
    carry(&hq, &branch, "changes");
    assert_eq!(branch.text("select author from item"), owner);
}

#[test]
fn triggers_and_foreign_keys_fire_as_for_a_replica() {
    let (hq, branch) = offices();
    branch.exec(
        "create table seen (what text);
         create function note() returns trigger language plpgsql as $$
             begin insert into public.seen values (tg_name); return new; end $$;
         create function shout() returns trigger language plpgsql as $$
             begin new.label := upper(new.label); return new; end $$;
         create trigger plain after insert on item for each row execute function note();
         create trigger replica after insert or update on item
             for each row execute function note();
         alter table item enable replica trigger replica;
         create trigger loud before insert on item for each row execute function shout();
         alter table item enable always trigger loud;
         create table allowed (label text primary key);
         alter table item add foreign key (label) references allowed",
    );
    hq.exec("insert into item values (1, 'one', 1); update item set price = 2");
    carry(&hq, &branch, "changes");
    assert_eq!(labels(&branch), ["1 ONE"]);
    assert_eq!(branch.column::<String>("select what from seen"), ["replica", "replica"]);
    let journaled: i64 = branch.query_one("select count(*) from syncjournal.change");
    assert_eq!(journaled, 2, "what was applied is not captured again");
}

#[test]
fn partitions_are_the_targets_own_affair() {
    let (hq, branch) = pair();
    introduce(&[(&hq, "hq"), (&branch, "branch")]);
    let table = "create table event (id int, day date, note text, primary key (id, day))";
    hq.exec(&format!("{table} partition by range (day)"));
    hq.exec("create table event_old partition of event for values from (minvalue) to ('2024-01-01');
             create table event_new partition of event for values from ('2024-01-01') to (maxvalue)");
    branch.exec(&format!("{table} partition by hash (id)"));
    for n in 0..3 {
        branch.exec(&format!(
            "create table event_{n} (note text, id int not null, day date not null);
             alter table event attach partition event_{n}
                 for values with (modulus 3, remainder {n})"
        ));
    }
    for db in [&hq, &branch] {
        db.exec("select syncjournal.track('event')");
    }
    hq.exec(
        "insert into event select i, '2023-12-01'::date + i, 'n' from generate_series(1, 60) i",
    );
    carry(&hq, &branch, "full");
    assert_same_rows(&hq, &branch, "event");
    hq.exec(
        "update event set day = day + 20 where id % 2 = 0; delete from event where id > 50;
             update event set id = id + 100, note = 'moved' where id < 10",
    );
    carry(&hq, &branch, "changes");
    assert_same_rows(&hq, &branch, "event");
    branch.exec(
        "update event set day = '2023-01-01', note = 'back' where id = 20;
                 insert into event values (500, '2030-01-01', 'branch')",
    );
    carry(&branch, &hq, "full");
    carry(&branch, &hq, "changes");
    assert_same_rows(&hq, &branch, "event");
    hq.exec("truncate event");
    carry(&hq, &branch, "changes");
    assert_eq!(branch.query_one::<i64>("select count(*) from event"), 0);
}

#[test]
fn lists_of_both_ends_choose_what_travels() {
    let (hq, branch) = pair();
    introduce(&[(&hq, "hq"), (&branch, "branch")]);
    for db in [&hq, &branch] {
        for table in ["a", "b", "c", "d"] {
            db.exec(&format!("create table {table} (id int primary key)"));
        }
        db.exec("select syncjournal.track_all()");
    }
    hq.exec("select syncjournal.alter_peer('branch', exclude => '{public.b}')");
    branch.exec("select syncjournal.alter_peer('hq', exclude => '{public.c}')");
    carry(&hq, &branch, "full");
    hq.exec(
        "insert into a values (1); insert into b values (1);
             insert into c values (1); insert into d values (1)",
    );
    let parts: Vec<Vec<u8>> = hq
        .column("select data from syncjournal.prep_sync('branch', exclude => '{d}') order by part");
    let applied = apply_set(&branch, &parts);
    assert_eq!((applied.inserted, applied.skipped), (1, 1));
    let found = ["a", "b", "c", "d"].map(|table| table_rows(&branch, table).len());
    assert_eq!(found, [1, 0, 0, 0]);
    let error = hq.expect_error("select syncjournal.prep_sync('branch', include => '{nothing}')");
    assert!(error.message.contains("nothing") && !error.hint.is_empty(), "{error:#?}");
}

#[test]
fn peers_that_may_not_are_refused() {
    let (hq, branch) = offices();
    hq.exec("insert into item values (1, 'one', 1)");
    let parts = prepare_set(&hq, &branch, "changes");
    for (at_source, at_target) in [
        ("active => false", "active => false"),
        ("active => true, direction => 'receive'", "active => true, direction => 'send'"),
    ] {
        hq.exec(&format!("select syncjournal.alter_peer('branch', {at_source})"));
        branch.exec(&format!("select syncjournal.alter_peer('hq', {at_target})"));
        let refused = hq.expect_error("select syncjournal.prep_sync('branch')");
        assert_eq!((refused.sqlstate.as_str(), refused.hint.is_empty()), ("55000", false));
        let refused = apply_error(&mut branch.session(), &parts[0]);
        assert_eq!((refused.sqlstate.as_str(), refused.hint.is_empty()), ("55000", false));
    }
    let error = hq.expect_error("select syncjournal.prep_sync('branch', mode => 'half')");
    assert_eq!((error.sqlstate.as_str(), error.hint.is_empty()), ("22023", false));
    let error = hq.expect_error("select syncjournal.prep_sync('nobody')");
    assert_eq!((error.sqlstate.as_str(), error.hint.is_empty()), ("42704", false));
}

#[test]
fn a_stranger_is_refused() {
    let (hq, branch) = offices();
    branch.exec("select syncjournal.drop_peer('hq')");
    hq.exec("insert into item values (1, 'one', 1)");
    let parts = prepare_set(&hq, &branch, "changes");
    let error = apply_error(&mut branch.session(), &parts[0]);
    assert_eq!(error.sqlstate, "42704", "{error:#?}");
    assert!(error.hint.contains("add_peer"), "{error:#?}");
}

#[test]
fn entries_from_the_future_are_refused() {
    let (hq, branch) = offices();
    hq.exec("insert into item values (1, 'one', 1)");
    let parts = prepare_set(&hq, &branch, "changes");
    let mut session = branch.session();
    session.exec("set syncjournal.max_clock_skew = '-1 hour'");
    let error = apply_error(&mut session, &parts[0]);
    assert_eq!(error.sqlstate, "55000", "{error:#?}");
    assert!(error.hint.contains("clock"), "{error:#?}");
    session.exec("reset syncjournal.max_clock_skew");
    apply_set(&branch, &parts);
}

#[test]
fn what_a_node_received_travels_on() {
    let (a, b, c) = triple();
    introduce(&[(&a, "a"), (&b, "b"), (&c, "c")]);
    for db in [&a, &b, &c] {
        db.exec("create table item (id int primary key, label text)");
    }
    a.exec("insert into item values (1, 'old'), (2, 'old')");
    for db in [&a, &b, &c] {
        db.exec("select syncjournal.track('item')");
    }
    a.exec("update item set label = 'versioned' where id = 2");
    carry(&b, &c, "full");
    carry(&a, &b, "full");
    // The rows of a's full set reach c through b as entries of b's journal.
    carry(&b, &c, "changes");
    a.exec(
        "update item set label = 'new' where id = 1; delete from item where id = 2;
            insert into item values (3, 'three')",
    );
    carry(&a, &b, "changes");
    carry(&b, &c, "changes");
    for db in [&b, &c] {
        assert_same_rows(&a, db, "item");
        assert_eq!(db.query_one::<i64>("select count(*) from syncjournal.conflict"), 0);
    }
}

#[test]
fn an_error_names_the_row_the_table_and_the_source() {
    let (hq, branch) = offices();
    hq.exec("insert into item values (1, 'hq', 1), (2, 'hq', 2)");
    branch.exec("insert into item values (2, 'branch', 2)");
    let parts = prepare_set(&hq, &branch, "changes");
    let applied = branch.own().client().query("select syncjournal.apply($1)", &[&parts[0]]);
    let error = applied.expect_err("another row has the key");
    let told = error.as_db_error().expect("from the server");
    assert_eq!(told.code().code(), "23505");
    let row = hq.text("select sync_id from item where id = 2");
    let place = told.hint().unwrap_or_default();
    assert!(place.contains(&row) && place.contains("item") && place.contains("hq"), "{place}");
    assert_eq!(labels(&branch), ["2 branch"], "nothing of the set is there");
}

#[test]
fn a_row_changed_by_others_meanwhile_is_waited_for() {
    let (hq, branch) = offices();
    hq.exec("insert into item values (1, 'one', 1)");
    carry(&hq, &branch, "changes");
    hq.exec("update item set label = 'hq' where id = 1");
    let parts = prepare_set(&hq, &branch, "changes");
    let mut local = branch.session();
    local.exec("begin; update item set price = 5 where id = 1");
    let mut other = branch.session();
    let applying = std::thread::spawn(move || {
        let query = "select conflicts from syncjournal.apply($1)";
        other.query_one_with::<i64>(query, &[&parts[0]])
    });
    syncjournal_tests::wait_until("apply waits for the row", || {
        branch.query_one::<i64>(
            "select count(*) from pg_stat_activity
             where wait_event_type = 'Lock' and datname = current_database()",
        ) == 1
    });
    local.exec("commit");
    assert_eq!(applying.join().expect("applied"), 1, "the change in between is a conflict");
    carry(&branch, &hq, "changes");
    assert_same_rows(&hq, &branch, "item");
    assert_eq!(branch.text("select label || price from item"), "one5");
}
