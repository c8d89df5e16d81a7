//! Rows that come together are written without a look for any of them: what is here after all, was
//! here, or is about to be, comes to the same as if each had come alone.

use syncjournal_tests::{
    Db, Session, assert_same_rows, carry, introduce, pair, prepare_set, wait_until,
};

const APPLIED: &str = "select array[inserted, updated, skipped, conflicts, quarantined]
    from syncjournal.apply($1)";

/// Two nodes with the same table, whose key is the rows' identity; `before` comes before it is
/// tracked, at the branch alone.
fn offices(before: &str) -> (Db, Db) {
    let (hq, branch) = pair();
    introduce(&[(&hq, "hq"), (&branch, "branch")]);
    for db in [&hq, &branch] {
        db.exec("create table item (id uuid primary key, n int, label text)");
    }
    branch.exec(before);
    for db in [&hq, &branch] {
        db.exec("select syncjournal.track('item', conflict_policy => 'last_update_wins')");
    }
    carry(&hq, &branch, "full");
    (hq, branch)
}

/// SQL for the identity of row `n`.
fn id(n: &str) -> String {
    format!("('00000000-0000-4000-8000-' || lpad(({n})::text, 12, '0'))::uuid")
}

fn fill(from: i32, to: i32, label: &str) -> String {
    let id = id("g");
    format!("insert into item select {id}, g, '{label}' from generate_series({from}, {to}) g")
}

fn conflicts(db: &Db) -> Vec<String> {
    db.column("select conflict_type || ' ' || winner from syncjournal.conflict order by 1")
}

#[test]
fn rows_that_were_here_before_are_met_as_they_are() {
    let (hq, branch) = offices(&format!("{}; {}", fill(5, 5, "hq"), fill(700, 701, "branch")));
    hq.exec(&fill(1, 1200, "hq"));
    let done = carry(&hq, &branch, "changes");
    assert_eq!((done.inserted, done.updated, done.conflicts), (1197, 3, 2));
    assert_eq!(conflicts(&branch), ["insert_exists remote", "insert_exists remote"]);
    assert_same_rows(&hq, &branch, "item");
    let again = carry(&hq, &branch, "full");
    assert_eq!((again.inserted, again.updated, again.skipped), (0, 0, 1200));
    assert_same_rows(&hq, &branch, "item");
}

#[test]
fn rows_that_were_deleted_here_are_not_taken_for_new() {
    let (hq, branch) = offices("");
    hq.exec(&fill(1, 40, "first"));
    carry(&hq, &branch, "changes");
    branch.exec("delete from item where n in (7, 8)");
    hq.exec("delete from item where n in (8, 9)");
    hq.exec(&format!("{}; {}", fill(8, 9, "again"), fill(41, 90, "more")));
    for _ in 0..3 {
        carry(&hq, &branch, "changes");
        carry(&branch, &hq, "changes");
    }
    assert_same_rows(&hq, &branch, "item");
    let again: Vec<i32> = branch.column("select n from item where label = 'again' order by n");
    assert_eq!(again, [8, 9], "the later write stands");
    assert_eq!(branch.query_one::<i64>("select count(*) from item where n = 7"), 0);
}

#[test]
fn a_row_that_is_being_inserted_here_is_waited_for() {
    for (ending, result) in [("rollback", [60, 0, 0, 0, 0]), ("commit", [59, 0, 0, 1, 1])] {
        let (hq, branch) = offices("");
        let mut user = branch.session();
        user.exec(&format!("begin; {}", fill(30, 30, "branch")));
        hq.exec(&fill(1, 60, "hq"));
        let part = prepare_set(&hq, &branch, "changes").remove(0);
        let to = branch.dsn();
        let applied: Vec<i64> = std::thread::scope(|scope| {
            let apply = || Session::connect(&to).query_one_with(APPLIED, &[&part]);
            let applied = scope.spawn(apply);
            wait_until("the set waits for the user", || {
                branch.query_one::<bool>(
                    "select exists (select from pg_stat_activity
                         where datname = current_database() and wait_event_type = 'Lock')",
                )
            });
            user.exec(ending);
            applied.join().expect("it is applied")
        });
        assert_eq!(applied, result, "{ending}");
        branch.exec("select syncjournal.retry_quarantine()");
        carry(&branch, &hq, "changes");
        carry(&hq, &branch, "changes");
        assert_same_rows(&hq, &branch, "item");
    }
}

#[test]
fn a_run_may_give_two_rows_the_same_key_for_a_while() {
    let (hq, branch) = offices("alter table item add unique (n)");
    let (last, same) = (id("50"), id("51"));
    hq.exec(&format!(
        "begin; {}; insert into item values ({same}, 50, 'hq');
         update item set n = 99 where id = {last}; commit",
        fill(1, 50, "hq")
    ));
    let done = carry(&hq, &branch, "changes");
    assert_eq!((done.inserted, done.updated, done.quarantined), (51, 1, 0));
    assert_same_rows(&hq, &branch, "item");
    hq.exec(&format!("begin; {}", fill(60, 70, "taken")));
    hq.exec("update item set n = 1 where n = 60; commit");
    let done = carry(&hq, &branch, "changes");
    assert_eq!((done.inserted, done.quarantined), (10, 2), "a row and its change wait");
}

#[test]
fn a_key_that_stays_stands_in_the_way_of_others() {
    let (one, other) = (id("10"), id("20"));
    // The first row gets a new entry for the key that it keeps, since another one changes.
    let keep = format!("update item set label = 'kept' where id = {one}");
    let take = format!("update item set n = 10 where id = {other}");
    for changes in [format!("{keep}; {take}"), format!("{take}; {keep}")] {
        let before = "alter table item add unique (n); create index on item (label)";
        let (hq, branch) = offices(before);
        hq.exec(&format!("{}; {}", fill(10, 10, "hq"), fill(20, 20, "hq")));
        carry(&hq, &branch, "changes");
        hq.exec(&format!("begin; {changes}; commit"));
        let done = carry(&hq, &branch, "changes");
        assert_eq!((done.updated, done.quarantined), (1, 1), "{changes}");
        let rows: Vec<String> = branch.column("select n || label from item order by n");
        assert_eq!(rows, ["10kept", "20hq"], "{changes}");
    }
}

/// Rows are expected on the pages of those before: some have gone from there, some stand elsewhere, and
/// strangers stand in their places.
#[test]
fn changes_of_all_rows_meet_what_has_become_of_each() {
    let (hq, branch) = offices("");
    hq.exec(&fill(1, 900, "hq"));
    carry(&hq, &branch, "changes");
    branch.exec("delete from item where n in (100, 101, 500)");
    branch.exec("vacuum item");
    branch.exec(&fill(2000, 2002, "branch"));
    let stranger = "select ctid = '(0,100)'::tid from item where n = 2000";
    assert!(branch.query_one::<bool>(stranger), "it took the place");
    branch.exec("update item set label = 'branch' where n in (200, 201, 899, 900)");
    hq.exec(
        "begin; update item set label = 'all';
         update item set label = 'twice' where n between 195 and 205;
         delete from item where n in (400, 401, 500);
         update item set label = 'thrice' where n in (202, 402, 600); commit",
    );
    let done = carry(&hq, &branch, "changes");
    let counted = [done.inserted, done.updated, done.deleted, done.conflicts, done.quarantined];
    assert_eq!(counted, [2, 909, 2, 6, 0], "of a row that both deleted nothing is told");
    carry(&branch, &hq, "changes");
    carry(&hq, &branch, "changes");
    assert_same_rows(&hq, &branch, "item");
    let labels: Vec<String> = branch.column(
        "select label || ' ' || count(*) from item group by label order by label collate \"C\"",
    );
    assert_eq!(labels, ["all 884", "branch 3", "thrice 3", "twice 10"]);
}

#[test]
fn rows_that_go_together_are_told_from_those_between_them() {
    let (hq, branch) = offices("");
    hq.exec(&fill(1, 600, "hq"));
    carry(&hq, &branch, "changes");
    branch.exec("update item set label = 'branch' where n % 100 = 0");
    hq.exec("update item set label = 'later' where n = 300");
    hq.exec("delete from item where n % 7 <> 0");
    for _ in 0..2 {
        carry(&hq, &branch, "changes");
        carry(&branch, &hq, "changes");
    }
    assert_same_rows(&hq, &branch, "item");
    assert_eq!(branch.query_one::<i64>("select count(*) from item where n % 7 = 0"), 85);
    let gone = "select count(*) from item where n % 7 <> 0";
    assert_eq!(branch.query_one::<i64>(gone), 0, "the later write stands");
}
