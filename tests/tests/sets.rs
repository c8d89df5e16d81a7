//! Sync sets by hand: made on one database, carried as bytes, applied on another.

use std::process::Command;

use syncjournal_tests::{
    Db, Session, SqlError, apply_set, assert_same_rows, carry, confirm_set, introduce, pair,
    prepare_set, table_rows,
};

/// Two nodes with the same empty table, tracked, after a first copy.
pub fn offices() -> (Db, Db) {
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

pub fn labels(db: &Db) -> Vec<String> {
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
fn sets_that_come_back_from_the_peer_confirm_by_themselves() {
    let (hq, branch) = offices();
    hq.exec("insert into item values (1, 'one', 1)");
    let sent = prepare_set(&hq, &branch, "changes");
    apply_set(&branch, &sent);
    let unconfirmed = "select count(*) from syncjournal.sync_set
        where direction = 'sent' and confirmed_at is null";
    assert_eq!(hq.query_one::<i64>(unconfirmed), 1);

    apply_set(&hq, &prepare_set(&branch, &hq, "changes"));
    assert_eq!(hq.query_one::<i64>(unconfirmed), 0);
    hq.exec("insert into item values (2, 'two', 2)");
    assert_eq!(apply_set(&branch, &prepare_set(&hq, &branch, "changes")).entries, 1);
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
fn parts_that_are_not_counted_come_sooner_and_the_last_says_how_many_there_were() {
    let (hq, branch) = offices();
    let mut slow = hq.session();
    slow.exec("begin; insert into item values (-1, 'began first and ends last', 1)");
    hq.exec("insert into item select i, 'item ' || i, i from generate_series(1, 50) i");
    hq.exec(
        "do $$ begin
             for i in 1..300 loop
                 insert into item values (1000 + i, 'small', i);
                 update item set label = label || i where id = i % 50 + 1;
                 commit;
             end loop;
         end $$",
    );
    // More frames than are held: what is behind them is sorted by the server.
    hq.exec(
        "insert into item select i, repeat(md5(i::text), 8), i from generate_series(2000, 42000) i",
    );
    hq.exec("update item set label = 'after' where id < 5000");
    slow.exec("insert into item values (-2, 'the end', 1); commit");
    let sql = "select p.part, p.parts, p.data
               from syncjournal.prep_sync('branch', counted => false) p";
    let rows = hq.own().client().query(sql, &[]).expect("a set");
    let numbers: Vec<(i32, i32)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let count = i32::try_from(numbers.len()).expect("few parts");
    assert!(count > 3, "{count} parts");
    let expected: Vec<_> = (1..=count).map(|n| (n, if n == count { n } else { 0 })).collect();
    assert_eq!(numbers, expected);
    let parts: Vec<Vec<u8>> = rows.iter().map(|row| row.get(2)).collect();
    assert!(parts[0].len() < 256 << 10, "the first part has {} bytes", parts[0].len());
    let applied = apply_set(&branch, &parts);
    assert_eq!((applied.conflicts, applied.quarantined), (0, 0));
    assert_same_rows(&hq, &branch, "item");
    let sql = "select s.parts from syncjournal.sync_set s
               where s.direction = 'received' and s.confirmed_at is not null and s.mode = 'changes'";
    assert_eq!(branch.query_one::<i32>(sql), count);
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

/// What a session keeps of nodes and peers from call to call follows what others write, and what it takes
/// back itself.
#[test]
fn a_session_that_goes_on_applying_sees_what_others_change_of_its_peer() {
    let (hq, branch) = offices();
    let mut session = branch.session();
    let made = |n: i32| {
        hq.exec(&format!("insert into item values ({n}, 'item {n}', null)"));
        prepare_set(&hq, &branch, "changes").remove(0)
    };
    let numbers = |session: &mut Session, part: &[u8]| -> Vec<i64> {
        session.query_one_with("select syncjournal.apply_part($1, false)", &[&part])
    };
    let alter = |what: &str| format!("select syncjournal.alter_peer('hq', {what})");

    assert_eq!(numbers(&mut session, &made(1)), [1, 1, 0, 0, 0, 0, 0]);
    branch.exec(&alter("active => false"));
    assert_eq!(apply_error(&mut session, &made(2)).sqlstate, "55000");
    branch.exec(&alter("active => true, exclude => '{public.item}'"));
    assert_eq!(numbers(&mut session, &made(3))[1], 0, "the table is not taken");
    branch.exec(&alter("exclude => '{}'"));
    branch.exec("select syncjournal.restrict_peer('hq', 'public.item', '{update}')");
    assert_eq!(numbers(&mut session, &made(4))[1], 0, "an insert is not permitted");
    branch.exec("select syncjournal.restrict_peer('hq', 'public.item', null)");

    let part = made(5);
    session.exec("begin; savepoint here");
    session.exec(&alter("active => false"));
    assert_eq!(apply_error(&mut session, &part).sqlstate, "55000");
    session.exec("rollback to here");
    assert_eq!(numbers(&mut session, &part)[1], 1, "what was not permitted is journaled");
    session.exec("rollback");
    assert_eq!(numbers(&mut session, &part)[1], 1);

    branch.exec("delete from syncjournal.known_node where node_name = 'hq'");
    assert_eq!(numbers(&mut session, &part)[4], 5, "they are here");
    let known: i64 =
        branch.query_one("select count(*) from syncjournal.known_node where node_name = 'hq'");
    assert_eq!(known, 1, "the node is noted anew");
}
