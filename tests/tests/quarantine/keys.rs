//! Unique and exclusion constraints: values that swap and pass along, and those that are taken.

use syncjournal_tests::{assert_same_rows, carry};

use super::{CODES, conflicts, offices, rows, waiting};

#[test]
fn two_rows_swap_a_unique_value() {
    let (hq, branch) = offices(CODES, "");
    hq.exec("insert into item values (1, 10, 'a'), (2, 20, 'b')");
    carry(&hq, &branch, "changes");
    hq.exec(
        "begin; update item set code = null where id = 1; update item set code = 10 where id = 2;
         update item set code = 20 where id = 1; commit",
    );
    let done = carry(&hq, &branch, "changes");
    assert_eq!((done.updated, done.quarantined), (3, 0));
    assert_same_rows(&hq, &branch, "item");
}

#[test]
fn a_swap_that_the_source_checks_late_needs_no_help() {
    let table = "create table item (id int primary key, code int)";
    let (hq, branch) = offices(table, "alter table item add unique (code)");
    hq.exec("alter table item add unique (code) deferrable initially deferred");
    hq.exec("insert into item values (1, 10), (2, 20)");
    carry(&hq, &branch, "changes");
    hq.exec("update item set code = 30 - code");
    let done = carry(&hq, &branch, "changes");
    assert_eq!((done.updated, done.quarantined), (2, 0));
    assert_same_rows(&hq, &branch, "item");
}

#[test]
fn a_hundred_values_rotate() {
    let table = "create table item (id int primary key, code int)";
    let (hq, branch) = offices(table, "alter table item add unique (code)");
    hq.exec("alter table item add unique (code) deferrable initially deferred");
    hq.exec("insert into item select i, i from generate_series(1, 100) i");
    carry(&hq, &branch, "changes");
    hq.exec("update item set code = code % 100 + 1");
    let done = carry(&hq, &branch, "changes");
    assert_eq!((done.updated, done.quarantined), (100, 0));
    assert_same_rows(&hq, &branch, "item");
}

#[test]
fn a_value_passes_over_two_transactions_of_a_window() {
    let (hq, branch) = offices(CODES, "");
    hq.exec("insert into item values (1, 10, 'a'), (2, 20, 'b')");
    carry(&hq, &branch, "changes");
    hq.exec("update item set code = 30 where id = 1");
    hq.exec("update item set code = 10 where id = 2");
    hq.exec("update item set code = 20 where id = 1");
    carry(&hq, &branch, "changes");
    assert_eq!(rows(&branch), ["1 20 a", "2 10 b"]);
    assert_same_rows(&hq, &branch, "item");
}

#[test]
fn a_swap_within_partitions_and_one_under_an_exclusion_constraint() {
    let table = "create table item (id int, code int, label int4range, primary key (id, label))
            partition by list (id);
        create table item_1 partition of item for values in (1, 2);
        create table item_2 partition of item for values in (3)";
    let late = "deferrable initially deferred";
    let (hq, branch) = offices(
        table,
        "alter table item_1 add unique (code), add exclude using gist (label with &&)",
    );
    hq.exec(&format!(
        "alter table item_1 add unique (code) {late},
            add exclude using gist (label with &&) {late}"
    ));
    hq.exec("insert into item values (1, 10, '[1,5)'), (2, 20, '[5,9)'), (3, 10, '[1,9)')");
    carry(&hq, &branch, "changes");
    hq.exec("update item set code = 30 - code where id < 3");
    hq.exec(
        "begin; update item set label = '[6,8)' where id = 1;
         update item set label = '[2,4)' where id = 2; commit",
    );
    let done = carry(&hq, &branch, "changes");
    assert_eq!((done.updated, done.quarantined), (4, 0));
    assert_same_rows(&hq, &branch, "item");
}

#[test]
fn an_insert_whose_key_is_taken_waits_and_the_rest_goes_on() {
    let (hq, branch) = offices(CODES, "insert into item values (100, 5, 'in the way')");
    hq.exec("insert into item values (1, 4, 'x'), (2, 5, 'taken'), (3, 6, 'y')");
    let done = carry(&hq, &branch, "changes");
    assert_eq!((done.inserted, done.quarantined, done.conflicts), (2, 1, 1));
    assert_eq!(rows(&branch), ["1 4 x", "3 6 y", "100 5 in the way"]);
    assert_eq!(waiting(&branch), [r#"23505 INSERT {"id": 2, "code": 5, "label": "taken"}"#]);
    let told = branch.text("select error from syncjournal.quarantine");
    assert!(told.contains("item_code_key") && told.contains("(code)=(5)"), "{told}");
    assert_eq!(conflicts(&branch), ["insert_exists pending"]);
    let sides = branch
        .text("select local::text || remote::text from syncjournal.conflict where winner is null");
    assert_eq!(
        sides,
        r#"{"id": 100, "code": 5, "label": "in the way"}{"id": 2, "code": 5, "label": "taken"}"#
    );
}

#[test]
fn a_taken_key_is_found_however_often_its_row_changes() {
    let (hq, branch) = offices(CODES, "insert into item values (100, 5, 'in the way')");
    hq.exec("insert into item values (2, 4, 'a'), (3, 6, 'a')");
    carry(&hq, &branch, "changes");
    hq.exec("update item set label = 'b'");
    hq.exec("update item set label = 'c'");
    hq.exec("update item set code = 5 where id = 2");
    hq.exec("update item set label = 'd'");
    hq.exec("update item set label = 'e'");
    let done = carry(&hq, &branch, "changes");
    assert_eq!((done.updated, done.quarantined), (4, 5));
    assert_eq!(rows(&branch), ["2 4 a", "3 6 e", "100 5 in the way"]);
    branch.exec("delete from item where id = 100");
    branch.exec("select syncjournal.retry_quarantine()");
    assert_eq!(waiting(&branch), Vec::<String>::new());
    assert_eq!(rows(&branch), ["2 5 e", "3 6 e"]);
}

#[test]
fn a_row_that_changes_often_within_a_set_is_found_by_each_index() {
    let (hq, branch) = offices(CODES, "");
    hq.exec("insert into item select i, i, repeat('x', 500) from generate_series(1, 100) i");
    carry(&hq, &branch, "changes");
    for step in 1..=30 {
        hq.exec(&format!(
            "update item set label = repeat('y', 500 + {step}) where id in (1, 50);
             update item set code = 1000 + {step} where id = 1 and {step} % 10 = 0;
             delete from item where id = 50 and {step} = 30;
             insert into item select 50, 50, 'again' where {step} = 30"
        ));
    }
    let done = carry(&hq, &branch, "changes");
    assert_eq!((done.conflicts, done.quarantined), (0, 0));
    assert_same_rows(&hq, &branch, "item");
    branch.exec("set enable_seqscan = off");
    let by_key = "select concat_ws(' ', id, code) from item
        where code in (1, 50, 1010, 1030) order by code";
    assert_eq!(branch.column::<String>(by_key), ["50 50", "1 1030"]);
}

#[test]
fn what_a_later_set_frees_is_taken_at_once() {
    let (hq, branch) = offices(CODES, "insert into item values (100, 5, 'in the way')");
    carry(&branch, &hq, "changes");
    hq.exec("update item set code = 50 where id = 100");
    hq.exec("insert into item values (2, 5, 'taken')");
    branch.exec("update item set label = 'stays' where id = 100");
    let taken = carry(&hq, &branch, "changes");
    assert_eq!((taken.inserted, taken.quarantined), (0, 1), "the branch's later update stays");
    hq.exec("update item set code = 51 where id = 100");
    carry(&hq, &branch, "changes");
    assert_eq!(waiting(&branch), Vec::<String>::new());
    assert_eq!(rows(&branch), ["2 5 taken", "100 51 in the way"]);
    let resolved = conflicts(&branch);
    assert!(resolved.contains(&"insert_exists resolved remote".to_owned()), "{resolved:?}");
}

#[test]
fn what_is_freed_here_is_taken_by_hand_or_by_time() {
    let (hq, branch) = offices(CODES, "insert into item values (100, 5, 'x'), (101, 6, 'y')");
    hq.exec("insert into item values (1, 5, 'a'), (2, 6, 'b')");
    assert_eq!(carry(&hq, &branch, "changes").quarantined, 2);
    assert_eq!(branch.query_one::<i64>("select syncjournal.retry_quarantine()"), 0);
    let attempts: Vec<i32> = branch.column("select attempts from syncjournal.quarantine");
    assert_eq!(attempts, [2, 2]);
    branch.exec("delete from item where id = 100");
    let id = "(select min(quarantine_id) from syncjournal.quarantine)";
    assert_eq!(branch.query_one::<i64>(&format!("select syncjournal.retry_quarantine({id})")), 1);
    branch.exec("delete from item where id = 101");
    assert_eq!(branch.query_one::<i64>("select syncjournal.retry_due_quarantine()"), 0);
    branch.exec("update syncjournal.quarantined_entry set next_try = now()");
    assert_eq!(branch.query_one::<i64>("select syncjournal.retry_due_quarantine()"), 1);
    assert_eq!(rows(&branch), ["1 5 a", "2 6 b"]);
    assert_eq!(conflicts(&branch), ["insert_exists resolved remote"; 2]);
    let error = branch.expect_error("select syncjournal.retry_quarantine(4711)");
    assert_eq!(error.sqlstate, "42704");
}

#[test]
fn an_update_whose_key_is_taken_and_one_with_several_rows_in_the_way() {
    let table = "create table item (id int primary key, code int unique, label int unique)";
    let (hq, branch) = offices(table, "");
    hq.exec("insert into item values (1, 1, 1), (2, 2, 2)");
    carry(&hq, &branch, "changes");
    branch.exec("insert into item values (100, 10, 10), (101, 11, 11)");
    hq.exec("update item set code = 10 where id = 1");
    hq.exec("update item set code = 11, label = 10 where id = 2");
    let done = carry(&hq, &branch, "changes");
    assert_eq!((done.updated, done.quarantined, done.conflicts), (0, 2, 2));
    assert_eq!(waiting(&branch).len(), 2);
    assert_eq!(conflicts(&branch), ["update_exists pending", "multiple_unique_conflicts pending"]);
    let local = branch.text(
        "select jsonb_array_length(local) from syncjournal.conflict
         where conflict_type like 'multiple%'",
    );
    assert_eq!(local, "2");
    // Each other's values now, which nobody else has: both at once.
    branch.exec("delete from item where id > 99");
    assert_eq!(branch.query_one::<i64>("select syncjournal.retry_quarantine()"), 2);
    assert_same_rows(&hq, &branch, "item");
}
