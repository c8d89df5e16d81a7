//! By files: what is in, what comes in, what goes out.

use syncjournal_tests::carry;

use super::{assert_quiet, assert_same_slice, items, north, two_subscribers};

#[test]
fn only_the_rows_of_the_slice_travel() {
    let (hq, branch) = north();
    hq.exec(
        "insert into item values (1, 'north', 'a', 1), (2, 'south', 'b', 2), (3, null, 'c', 3)",
    );
    assert_eq!(carry(&hq, &branch, "full").inserted, 1);
    assert_eq!(items(&branch), "1:north:a:1");
    hq.exec("insert into item values (4, 'north', 'd', 4), (5, 'south', 'e', 5)");
    hq.exec("update item set price = price + 10");
    hq.exec("delete from item where id in (2, 4)");
    carry(&hq, &branch, "changes");
    assert_eq!(items(&branch), "1:north:a:11");
    assert_quiet(&[&hq, &branch]);
    assert_same_slice(&hq, &branch, "region = 'north'");
}

#[test]
fn a_row_that_enters_arrives_whole_and_one_that_leaves_goes_away() {
    let (hq, branch) = north();
    hq.exec("insert into item values (1, 'north', 'a', 1), (2, 'south', 'b', 2)");
    carry(&hq, &branch, "full");
    hq.exec("update item set region = 'north' where id = 2");
    carry(&hq, &branch, "changes");
    assert_eq!(items(&branch), "1:north:a:1 2:north:b:2");
    hq.exec("update item set region = 'south' where id = 1");
    hq.exec("update item set region = null where id = 2");
    let left = carry(&hq, &branch, "changes");
    assert_eq!((left.entries, left.deleted), (2, 2));
    assert_eq!(items(&branch), "");
    let stones: i64 = branch.query_one("select count(*) from syncjournal.tombstone");
    assert_eq!(stones, 0, "a row that left is not deleted for anybody else");
    // There and back within one set, and whole again.
    hq.exec("update item set region = 'north', price = 7 where id = 1");
    hq.exec("update item set region = 'south' where id = 1");
    hq.exec("update item set region = 'north', label = 'back' where id = 1");
    carry(&hq, &branch, "changes");
    assert_eq!(items(&branch), "1:north:back:7");
    hq.exec("begin; update item set region = 'x' where id = 1; delete from item where id = 1; end");
    carry(&hq, &branch, "changes");
    assert_eq!(items(&branch), "");
    assert_quiet(&[&hq, &branch]);
}

#[test]
fn a_slice_that_keeps_lets_rows_stay_that_leave_it() {
    let (hq, branch) = north();
    hq.exec("select syncjournal.alter_slice('north', on_leave => 'keep')");
    hq.exec("insert into item values (1, 'north', 'a', 1), (2, 'north', 'b', 2)");
    carry(&hq, &branch, "full");
    hq.exec("update item set region = 'south', price = 100 where id = 1");
    hq.exec("delete from item where id = 2");
    carry(&hq, &branch, "changes");
    assert_eq!(items(&branch), "1:north:a:1", "deletes always arrive");
    hq.exec("update item set region = 'north' where id = 1");
    carry(&hq, &branch, "changes");
    assert_eq!(items(&branch), "1:north:a:100");
    assert_quiet(&[&hq, &branch]);
}

#[test]
fn a_subscriber_edits_its_rows_and_moves_one_out() {
    let (hq, branch, office) = two_subscribers();
    hq.exec(
        "insert into item select n, case when n % 2 = 0 then 'north' else 'south' end, 'r', n \
        from generate_series(1, 10) n",
    );
    carry(&hq, &branch, "full");
    carry(&hq, &office, "full");
    branch.exec("update item set label = 'edited' where id = 2");
    branch.exec("update item set region = 'south' where id = 4");
    branch.exec("update item set region = 'west' where id = 6");
    branch.exec("delete from item where id = 8");
    branch.exec("insert into item values (20, 'north', 'new', 20)");
    carry(&branch, &hq, "changes");
    carry(&hq, &branch, "changes");
    carry(&hq, &office, "changes");
    assert_eq!(items(&branch), "2:north:edited:2 10:north:r:10 20:north:new:20");
    assert_same_slice(&hq, &branch, "region = 'north'");
    assert_same_slice(&hq, &office, "region in ('north', 'south')");
    let out: i64 = office.query_one("select count(*) from item where region = 'west'");
    assert_eq!(out, 0);
    // What office changes goes to branch by the slice that both have.
    office.exec("update item set label = 'from office' where id in (2, 4)");
    office.exec("update item set region = 'north' where id = 1");
    carry(&office, &hq, "changes");
    carry(&hq, &branch, "changes");
    assert_same_slice(&hq, &branch, "region = 'north'");
    assert_eq!(items(&branch), "1:north:r:1 2:north:from office:2 10:north:r:10 20:north:new:20");
    assert_eq!(carry(&hq, &branch, "changes").entries, 0);
    assert_eq!(carry(&hq, &office, "changes").entries, 0);
    assert_quiet(&[&hq, &branch, &office]);
}

#[test]
fn two_subscribers_change_one_row_at_once() {
    let (hq, branch, office) = two_subscribers();
    hq.exec("insert into item values (1, 'north', 'a', 1), (2, 'north', 'b', 2)");
    for db in [&hq, &branch, &office] {
        db.exec("select syncjournal.alter_tracking('item', conflict_policy => 'merge_columns')");
    }
    carry(&hq, &branch, "full");
    carry(&hq, &office, "full");
    branch.exec("update item set label = 'branch' where id = 1");
    office.exec("update item set price = 99 where id = 1");
    branch.exec("update item set region = 'west' where id = 2");
    office.exec("update item set label = 'late' where id = 2");
    for _ in 0..2 {
        carry(&branch, &hq, "changes");
        carry(&office, &hq, "changes");
        carry(&hq, &branch, "changes");
        carry(&hq, &office, "changes");
    }
    assert_eq!(items(&hq), "1:north:branch:99 2:west:late:2");
    assert_same_slice(&hq, &branch, "region = 'north'");
    assert_same_slice(&hq, &office, "region in ('north', 'south')");
    assert_eq!(items(&branch), "1:north:branch:99");
    assert_eq!(items(&office), "1:north:branch:99");
}

#[test]
fn partitions_savepoints_and_bulk_are_sliced_alike() {
    let (hq, branch) = syncjournal_tests::pair();
    syncjournal_tests::introduce(&[(&hq, "hq"), (&branch, "branch")]);
    for db in [&hq, &branch] {
        db.exec(
            "create table item (id int primary key, region text, label text, price int) \
                partition by range (id); \
            create table item_low (price int, id int not null, region text, label text); \
            alter table item attach partition item_low for values from (0) to (1000); \
            create table item_high partition of item for values from (1000) to (1000000); \
            select syncjournal.track('item')",
        );
    }
    hq.exec("select syncjournal.create_slice('north', 'item', $$region = 'north'$$)");
    hq.exec("select syncjournal.alter_peer('branch', slices => '{north}')");
    carry(&hq, &branch, "full");
    hq.exec(
        "insert into item select n, case when n % 3 = 0 then 'north' else 'south' end, 'r', n \
        from generate_series(1, 3000) n",
    );
    hq.exec(
        "begin; update item set region = 'north' where id <= 50; savepoint s; \
        update item set region = 'south'; rollback to s; \
        update item set id = id + 10000 where id between 60 and 70; \
        update item set id = id + 10000, region = 'north' where id between 71 and 80; \
        update item set id = id + 10000, region = 'west' where id between 81 and 90; commit",
    );
    carry(&hq, &branch, "changes");
    let rows = "select string_agg(concat_ws(':', id, region, label, price), ' ' order by id) \
        from item where region = 'north'";
    assert_eq!(hq.text(rows), branch.text(rows));
    let others: i64 = branch.query_one("select count(*) from item where region <> 'north'");
    assert_eq!(others, 0);
    hq.exec("truncate item");
    carry(&hq, &branch, "changes");
    assert_eq!(branch.query_one::<i64>("select count(*) from item"), 0);
    assert_quiet(&[&hq, &branch]);
}

#[test]
fn digests_of_a_slice_are_equal_where_its_rows_are() {
    let (hq, branch) = north();
    branch.exec("select syncjournal.create_slice('north', 'item', $$region = 'north'$$)");
    let digest = "select format('%s %s', row_count, hash) from syncjournal.slice_digest('north')";
    assert_eq!(hq.text(digest), format!("0 {:032}", 0));
    hq.exec("insert into item select n, 'north', 'r', n from generate_series(1, 100) n");
    carry(&hq, &branch, "full");
    let equal = hq.text(digest);
    assert!(equal.starts_with("100 "), "{equal}");
    assert_eq!(branch.text(digest), equal);
    // Where the rows lie does not matter; which rows, and at which version, does.
    branch.exec(
        "begin; set syncjournal.capture = off; create table copy as table item; \
        delete from item; insert into item select * from copy order by id desc; commit",
    );
    assert_eq!(branch.text(digest), equal);
    assert_eq!(carry(&hq, &branch, "changes").entries, 0, "equal digests move nothing");
    hq.exec("insert into item values (101, 'south')");
    assert_eq!(hq.text(digest), equal);
    let mut seen = vec![equal];
    for change in [
        "update item set price = 0 where id = 1",
        "insert into item values (102, 'north')",
        "update item set region = 'south' where id = 2",
        "delete from item where id = 3",
    ] {
        hq.exec(change);
        let now = hq.text(digest);
        assert!(!seen.contains(&now), "{change}");
        seen.push(now);
    }
    carry(&hq, &branch, "changes");
    assert_eq!(branch.text(digest), hq.text(digest));
}
