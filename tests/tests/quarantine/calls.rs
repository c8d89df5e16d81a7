//! Calls: dry runs, large parts, transactions over several parts, failure after failure.

use syncjournal_tests::{apply_set, assert_same_rows, carry, confirm_set, prepare_set};

use super::{CODES, conflicts, offices, rows, waiting};

#[test]
fn a_dry_run_says_what_would_be_set_aside_and_leaves_nothing() {
    let (hq, branch) = offices(CODES, "insert into item values (100, 5, 'in the way')");
    hq.exec("insert into item values (1, 5, 'taken'), (2, 6, 'free')");
    let set = prepare_set(&hq, &branch, "changes");
    let counts: Vec<i64> = branch.query_one_with(
        "select array[entries, inserted, quarantined, conflicts]
         from syncjournal.apply($1, dry_run => true)",
        &[&set[0]],
    );
    assert_eq!(counts, [2, 1, 1, 1]);
    assert_eq!(rows(&branch), ["100 5 in the way"]);
    assert!(waiting(&branch).is_empty() && conflicts(&branch).is_empty());
    assert_eq!(apply_set(&branch, &set).quarantined, 1);
}

#[test]
fn what_is_discarded_stays_away_until_its_row_changes_again() {
    let (hq, branch) = offices(CODES, "insert into item values (100, 5, 'in the way')");
    hq.exec("insert into item values (1, 5, 'taken')");
    carry(&hq, &branch, "changes");
    branch.exec("select syncjournal.discard_quarantine(quarantine_id) from syncjournal.quarantine");
    assert_eq!(conflicts(&branch), ["insert_exists resolved local"]);
    assert_eq!(branch.query_one::<i64>("select syncjournal.retry_quarantine()"), 0);
    assert_eq!(rows(&branch), ["100 5 in the way"]);
    let error = branch.expect_error("select syncjournal.discard_quarantine(1)");
    assert_eq!(error.sqlstate, "42704");
    hq.exec("update item set code = 6 where id = 1");
    carry(&hq, &branch, "changes");
    assert_eq!(rows(&branch), ["1 6 taken", "100 5 in the way"]);
}

#[test]
fn one_bad_row_in_twenty_thousand() {
    let (hq, branch) = offices(CODES, "alter table item add check (id <> 12345)");
    branch.exec("insert into item values (-1, 777, 'in the way')");
    hq.exec("insert into item select i, i, 'n' || i from generate_series(1, 20000) i");
    let begun = std::time::Instant::now();
    let done = carry(&hq, &branch, "changes");
    assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
    assert_eq!((done.entries, done.inserted, done.quarantined), (20_000, 19_998, 2));
    assert_eq!(waiting(&branch).len(), 2);
}

#[test]
fn a_transaction_over_several_parts_with_bad_rows_in_each() {
    let table = "create table item (id int primary key, code int, label text)";
    let (hq, branch) = offices(table, "alter table item add check (id % 1000 <> 500)");
    hq.exec(
        "insert into item select i, i, repeat(md5(i::text), 64) from generate_series(1, 5000) i",
    );
    let set = prepare_set(&hq, &branch, "changes");
    assert!(set.len() > 2, "{} parts", set.len());
    let done = apply_set(&branch, &set);
    confirm_set(&hq, &set);
    assert_eq!((done.inserted, done.quarantined), (4995, 5));
    branch.exec("alter table item drop constraint item_id_check");
    assert_eq!(branch.query_one::<i64>("select syncjournal.retry_quarantine()"), 5);
    assert_same_rows(&hq, &branch, "item");
}

#[test]
fn half_a_transaction_is_still_refused() {
    let table = "create table item (id int primary key, code int, label text)";
    let (hq, branch) = offices(table, "alter table item add check (id <> 500)");
    hq.exec(
        "insert into item select i, i, repeat(md5(i::text), 64) from generate_series(1, 5000) i",
    );
    let set = prepare_set(&hq, &branch, "changes");
    branch.exec("begin");
    let first: i64 =
        branch.query_one_with("select quarantined from syncjournal.apply($1)", &[&set[0]]);
    assert_eq!(first, 1);
    let error = branch.expect_error("commit");
    assert_eq!(error.sqlstate, "25001");
    assert!(waiting(&branch).is_empty());
}

#[test]
fn a_value_whose_holder_waits_makes_others_wait_and_all_go_together() {
    let table = "create table item (id int primary key, code int, label text)";
    let (hq, branch) = offices(
        table,
        "alter table item add unique (code), add constraint small check (label <> 'bad')",
    );
    hq.exec("alter table item add unique (code) deferrable initially deferred");
    hq.exec("insert into item select i, i, 'x' from generate_series(1, 30) i");
    carry(&hq, &branch, "changes");
    // Each row takes the value of the next; the last is refused, and so none before it can move.
    hq.exec(
        "update item set code = code % 30 + 1,
             label = case when id = 30 then 'bad' else label end",
    );
    let done = carry(&hq, &branch, "changes");
    assert_eq!((done.updated, done.quarantined), (0, 30));
    assert_eq!(branch.text("select count(*) from item where id = code"), "30");
    branch.exec("alter table item drop constraint small");
    let released: i64 = branch.query_one("select syncjournal.retry_quarantine()");
    assert_eq!(released, done.quarantined);
    assert_same_rows(&hq, &branch, "item");
}

#[test]
fn what_is_written_beside_a_failing_call_is_captured_once() {
    let (hq, branch) = offices(CODES, "");
    for db in [&hq, &branch] {
        db.exec(
            "create table audit (id uuid primary key default gen_random_uuid(), item int);
             select syncjournal.track('audit')",
        );
    }
    carry(&hq, &branch, "full");
    branch.exec(
        "create function note() returns trigger language plpgsql as $$
             begin
                 insert into public.audit (item) values (new.id);
                 if new.code % 3 = 0 then
                     raise exception 'no threes';
                 end if;
                 return null;
             end $$;
         create trigger note after insert on item for each row execute function note();
         alter table item enable always trigger note",
    );
    hq.exec("insert into item select i, i, 'hq' from generate_series(1, 30) i");
    hq.exec("insert into item select i, i, 'hq' from generate_series(31, 60) i");
    let set = prepare_set(&hq, &branch, "changes");
    branch.exec("begin; insert into item values (1001, 1001, 'before')");
    branch.exec("savepoint lost; insert into item values (1003, 1003, 'lost')");
    let tried: i64 =
        branch.query_one_with("select quarantined from syncjournal.apply($1)", &[&set[0]]);
    branch.exec("rollback to lost; savepoint kept");
    let done: i64 =
        branch.query_one_with("select quarantined from syncjournal.apply($1)", &[&set[0]]);
    assert_eq!((tried, done), (20, 20));
    branch.exec("release kept; insert into item values (1004, 1004, 'after'); commit");
    confirm_set(&hq, &set);
    let noted = "select count(*) || ' ' || count(distinct item) from audit";
    assert_eq!(branch.text(noted), "42 42");
    let journaled = "select count(*) from syncjournal.change where relation = 'public.audit'";
    assert_eq!(branch.text(journaled), "42");
    carry(&branch, &hq, "changes");
    assert_eq!(hq.text(noted), "42 42");
    assert_eq!(hq.text("select count(*) from item"), "62");

    branch.exec("alter table item disable trigger note");
    assert_eq!(branch.query_one::<i64>("select syncjournal.retry_due_quarantine()"), 20);
    assert_same_rows(&hq, &branch, "item");
    assert_same_rows(&hq, &branch, "audit");
}
