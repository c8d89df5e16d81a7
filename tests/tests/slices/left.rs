//! Rows that have left a subscriber, and are changed by others who still have them.

use syncjournal_tests::{Db, carry, introduce, triple};

use super::{ITEM, assert_quiet, items, north};

/// hq sends north to branch, branch all to office; what they write goes back the same way.
fn chain() -> (Db, Db, Db) {
    let (hq, branch, office) = triple();
    introduce(&[(&hq, "hq"), (&branch, "branch"), (&office, "office")]);
    for db in [&hq, &branch, &office] {
        db.exec(ITEM);
        db.exec("select syncjournal.track('item')");
    }
    hq.exec("select syncjournal.create_slice('north', 'item', $$region = 'north'$$)");
    hq.exec("select syncjournal.alter_peer('branch', slices => '{north}')");
    hq.exec("insert into item values (1, 'north', 'a', 1)");
    carry(&hq, &branch, "full");
    carry(&branch, &office, "full");
    (hq, branch, office)
}

/// What office wrote goes to branch and on to hq.
fn up(hq: &Db, branch: &Db, office: &Db) {
    carry(office, branch, "changes");
    carry(branch, hq, "changes");
}

#[test]
fn a_change_of_a_row_that_has_left_is_passed_over_until_the_row_comes_again() {
    let (hq, branch, office) = chain();
    office.exec("update item set region = 'west'");
    up(&hq, &branch, &office);
    carry(&hq, &branch, "changes");
    assert_eq!(items(&branch), "", "hq says that it has left");
    for price in 2..7 {
        office.exec(&format!("update item set price = {price}"));
        up(&hq, &branch, &office);
    }
    assert_eq!((items(&hq), items(&branch)), ("1:west:a:6".to_owned(), String::new()));
    let kept = "select max(cardinality(passed_over)) from syncjournal.left_row";
    assert_eq!(branch.query_one::<i32>(kept), 1, "each has the one before behind it");
    office.exec("update item set region = 'north'");
    up(&hq, &branch, &office);
    // hq has not heard of this one when it says that the row is back.
    office.exec("update item set label = 'b'");
    carry(&office, &branch, "changes");
    assert_eq!(items(&branch), "");
    carry(&hq, &branch, "changes");
    assert_eq!(items(&branch), "1:north:b:6");
    carry(&branch, &hq, "changes");
    assert_eq!(items(&hq), "1:north:b:6");
    assert_eq!(branch.query_one::<i64>("select count(*) from syncjournal.left_row"), 0);
    assert_quiet(&[&hq, &branch, &office]);
}

#[test]
fn what_waits_for_a_row_goes_when_the_row_leaves() {
    let (hq, branch) = north();
    hq.exec("insert into item values (1, 'north', 'a', 1), (2, 'north', 'b', 2)");
    carry(&hq, &branch, "full");
    branch.exec("alter table item add check (price < 100)");
    hq.exec("update item set price = 500");
    carry(&hq, &branch, "changes");
    let waiting = "select count(*) from syncjournal.quarantine";
    assert_eq!(branch.query_one::<i64>(waiting), 2);
    hq.exec("update item set region = 'west' where id = 1");
    carry(&hq, &branch, "changes");
    assert_eq!(branch.query_one::<i64>(waiting), 1, "the other row still waits");
    assert_eq!(items(&branch), "2:north:b:2");
    branch.exec("select syncjournal.untrack('item')");
    assert_eq!(branch.query_one::<i64>("select count(*) from syncjournal.left_row"), 0);
}
