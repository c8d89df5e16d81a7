//! Which operations may pass, by peer and table.

use syncjournal_tests::{Db, assert_same_rows, carry};

use super::{labels, offices};

fn refused(db: &Db) -> Vec<String> {
    db.column(
        "select concat_ws(' ', peer, relation, operation, entries) from syncjournal.not_permitted
         order by operation",
    )
}

fn shared_rows(hq: &Db, branch: &Db) {
    hq.exec("insert into item values (1, 'one'), (2, 'two'), (3, 'three')");
    carry(hq, branch, "full");
    carry(hq, branch, "changes");
}

#[test]
fn deletes_that_may_not_come_are_skipped_and_named() {
    let (hq, branch) = offices();
    shared_rows(&hq, &branch);
    branch.exec("select syncjournal.restrict_peer('hq', 'public.item', '{insert,update}')");
    hq.exec("delete from item where id < 3; update item set label = 'drei' where id = 3");
    hq.exec("insert into item values (4, 'four')");
    let applied = carry(&hq, &branch, "changes");
    assert_eq!((applied.entries, applied.skipped, applied.deleted), (4, 2, 0));
    assert_eq!((applied.updated, applied.inserted), (1, 1));
    assert_eq!((applied.conflicts, applied.quarantined), (0, 0));
    assert_eq!(labels(&branch), ["1 one", "2 two", "3 drei", "4 four"]);
    assert_eq!(refused(&branch), ["hq public.item delete 2"]);
    let journaled = "select count(*) from syncjournal.change where op = 'DELETE'";
    assert_eq!(branch.query_one::<i64>(journaled), 2, "they can be read all the same");

    // What stays here goes on living: its changes travel, and meet the delete at the source.
    branch.exec("update item set label = 'eins' where id = 1");
    let back = carry(&branch, &hq, "changes");
    assert_eq!(back.conflicts, 1);
    assert_eq!(labels(&hq), ["1 eins", "3 drei", "4 four"], "the later write wins");

    hq.exec("truncate item");
    carry(&hq, &branch, "changes");
    assert_eq!(refused(&branch), ["hq public.item delete 2", "hq public.item truncate 1"]);
    assert_eq!(labels(&branch).len(), 4);

    branch.exec("select syncjournal.restrict_peer('hq', 'public.item', null)");
    hq.exec("insert into item values (5, 'five')");
    carry(&hq, &branch, "changes");
    hq.exec("delete from item where id = 5");
    assert_eq!(carry(&hq, &branch, "changes").deleted, 1);
}

#[test]
fn a_restriction_of_the_source_is_held_by_the_destination() {
    let (hq, branch) = offices();
    shared_rows(&hq, &branch);
    hq.exec("select syncjournal.restrict_peer('branch', 'item', '{insert}', direction => 'send')");
    hq.exec("update item set label = 'x' where id = 1; insert into item values (4, 'four')");
    hq.exec("delete from item where id = 2");
    let applied = carry(&hq, &branch, "changes");
    assert_eq!((applied.inserted, applied.skipped), (1, 2));
    assert_eq!(labels(&branch), ["1 one", "2 two", "3 three", "4 four"]);
    assert_eq!(refused(&branch), ["hq public.item delete 1", "hq public.item update 1"]);

    // A full set is held to the same: rows that are new come, others stay.
    hq.exec("insert into item values (6, 'six')");
    let applied = carry(&hq, &branch, "full");
    assert_eq!((applied.inserted, applied.updated), (1, 0));
    assert_eq!(labels(&branch), ["1 one", "2 two", "3 three", "4 four", "6 six"]);

    // The other way is not meant.
    branch.exec("update item set label = 'drei' where id = 3");
    assert_eq!(carry(&branch, &hq, "changes").updated, 1);
    hq.exec("select syncjournal.restrict_peer('branch', 'item', null, direction => 'send')");
    carry(&hq, &branch, "full");
    assert_eq!(branch.text("select label from item where id = 1"), "x");
}

#[test]
fn rows_that_may_not_be_inserted_do_not_come_by_a_full_set() {
    let (hq, branch) = offices();
    shared_rows(&hq, &branch);
    branch.exec("select syncjournal.restrict_peer('hq', '*', '{update}', direction => 'receive')");
    hq.exec("insert into item values (4, 'four'); update item set label = 'uno' where id = 1");
    for mode in ["changes", "full"] {
        carry(&hq, &branch, mode);
        assert_eq!(labels(&branch), ["1 uno", "2 two", "3 three"]);
    }
    branch.exec("select syncjournal.restrict_peer('hq', '*', null, direction => 'receive')");
    carry(&hq, &branch, "full");
    assert_same_rows(&hq, &branch, "item");
}

#[test]
fn what_may_pass_brings_nothing_along_that_may_not() {
    let (hq, branch) = offices();
    shared_rows(&hq, &branch);
    branch.exec("select syncjournal.restrict_peer('hq', 'item', '{update,delete}')");
    hq.exec("insert into item values (4, 'four')");
    carry(&hq, &branch, "changes");
    hq.exec("update item set label = 'vier' where id = 4");
    let applied = carry(&hq, &branch, "changes");
    assert_eq!((applied.inserted, applied.skipped), (0, 1));
    assert_eq!(labels(&branch).len(), 3);
    assert_eq!(refused(&branch), ["hq public.item insert 2"]);

    // The other way round: a row that was kept takes what comes later.
    branch.exec("select syncjournal.restrict_peer('hq', 'item', '{insert,update}')");
    hq.exec("create temporary table kept as select * from item where id = 1");
    hq.exec("delete from item where id = 1");
    carry(&hq, &branch, "changes");
    hq.exec("insert into item select * from kept; update item set label = 'uno' where id = 1");
    let applied = carry(&hq, &branch, "changes");
    assert_eq!((applied.conflicts, applied.quarantined), (0, 0), "{applied:?}");
    assert_eq!(labels(&branch)[0], "1 uno");
    hq.exec("truncate item");
    carry(&hq, &branch, "changes");
    assert_eq!(labels(&branch).len(), 3);
    branch.exec("select syncjournal.restrict_peer('hq', 'item', '{truncate}')");
    hq.exec("insert into item values (8, 'eight'); truncate item");
    carry(&hq, &branch, "changes");
    assert_eq!(labels(&branch), Vec::<String>::new(), "as far as it had seen the rows");
}

#[test]
fn what_is_no_restriction_is_refused() {
    let (hq, _) = offices();
    let refuse = |call: &str, sqlstate: &str| {
        let error = hq.expect_error(&format!("select syncjournal.restrict_peer({call})"));
        assert_eq!(error.sqlstate, sqlstate, "{error:#?}");
    };
    refuse("'nobody', 'item', '{insert}'", "42704");
    refuse("'branch', 'a.b.c', '{insert}'", "22023");
    refuse("'branch', 'item', '{merge}'", "22023");
    refuse("'branch', 'item', '{null}'", "22023");
    refuse("'branch', 'item', '{insert}', direction => 'up'", "22023");
    hq.exec("select syncjournal.restrict_peer('branch', 'item', '{update,insert,insert}')");
    let shown = "select concat_ws(' ', peer, relation, direction, operations)
        from syncjournal.restriction";
    assert_eq!(hq.text(shown), "branch item both {insert,update}");
    hq.exec("select syncjournal.drop_peer('branch')");
    assert_eq!(hq.query_one::<i64>("select count(*) from syncjournal.restriction"), 0);
}
