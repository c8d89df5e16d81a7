//! Filters and lists that change while peers have rows by them.

use std::thread;
use std::time::Duration;

use syncjournal_tests::{apply_set, carry, confirm_set, prepare_set};

use super::{assert_quiet, assert_same_slice, items, north};

#[test]
fn a_filter_that_changes_brings_rows_and_takes_rows() {
    let (hq, branch) = north();
    hq.exec(
        "insert into item select n, (array['north', 'east', 'south'])[n % 3 + 1], 'r', n \
        from generate_series(1, 9) n",
    );
    carry(&hq, &branch, "full");
    assert_eq!(items(&branch), "3:north:r:3 6:north:r:6 9:north:r:9");
    // Not yet brought when the filter changes: judged by the filter of their time.
    hq.exec("update item set label = 'before' where id in (3, 6, 1)");
    hq.exec("select syncjournal.alter_slice('north', $$region in ('north', 'east') and id > 3$$)");
    hq.exec("update item set label = 'after' where id in (4, 9, 3)");
    let brought = carry(&hq, &branch, "changes");
    assert!(brought.entries <= 8, "no full copy: {brought:?}");
    assert_eq!(items(&branch), "4:east:after:4 6:north:before:6 7:east:r:7 9:north:after:9");
    assert_same_slice(&hq, &branch, "region in ('north', 'east') and id > 3");
    assert_eq!(carry(&hq, &branch, "changes").entries, 0);
    assert_quiet(&[&hq, &branch]);
}

#[test]
fn a_peer_that_gets_another_slice_gets_its_rows_alone() {
    let (hq, branch) = north();
    hq.exec("select syncjournal.create_slice('south', 'item', $$region = 'south'$$)");
    hq.exec(
        "insert into item select n, (array['north', 'east', 'south'])[n % 3 + 1], 'r', n \
        from generate_series(1, 9) n",
    );
    carry(&hq, &branch, "full");
    // What was written before goes by the lists of its time, and is not lost.
    hq.exec("update item set label = 'before'; delete from item where id in (9, 8)");
    hq.exec("select syncjournal.alter_peer('branch', slices => '{south}')");
    hq.exec("update item set label = 'after' where id in (2, 3)");
    let brought = carry(&hq, &branch, "changes");
    assert_eq!(items(&branch), "2:south:after:2 5:south:before:5");
    assert_eq!(brought.deleted, 3, "{brought:?}");
    hq.exec("select syncjournal.alter_peer('branch', slices => '{north,south}')");
    let brought = carry(&hq, &branch, "changes");
    assert_eq!((brought.entries, brought.inserted), (2, 2), "no full copy");
    assert_same_slice(&hq, &branch, "region in ('north', 'south')");
    hq.exec("select syncjournal.alter_slice('south', on_leave => 'keep')");
    hq.exec("select syncjournal.alter_peer('branch', slices => '{north}')");
    hq.exec("update item set label = 'unseen' where region = 'south'");
    carry(&hq, &branch, "changes");
    assert_eq!(
        items(&branch),
        "2:south:after:2 3:north:after:3 5:south:before:5 6:north:before:6",
        "the slice of the south lets its rows stay"
    );
    // The whole table, and nothing that is there already.
    hq.exec("select syncjournal.alter_peer('branch', slices => '{}')");
    let brought = carry(&hq, &branch, "changes");
    assert_eq!((brought.inserted, brought.updated), (3, 2), "{brought:?}");
    assert_same_slice(&hq, &branch, "true");
    hq.exec("select syncjournal.drop_slice('south'), syncjournal.drop_slice('north')");
    hq.exec("update item set label = 'all'");
    carry(&hq, &branch, "changes");
    assert_same_slice(&hq, &branch, "true");
    assert_quiet(&[&hq, &branch]);
}

#[test]
fn a_first_set_that_is_on_its_way_when_the_lists_change_is_made_up_for() {
    let (hq, branch) = north();
    hq.exec("select syncjournal.create_slice('south', 'item', $$region = 'south'$$)");
    hq.exec("insert into item values (1, 'north', 'n', 1), (2, 'south', 's', 2)");
    let first = prepare_set(&hq, &branch, "full");
    hq.exec("select syncjournal.alter_peer('branch', slices => '{north,south}')");
    apply_set(&branch, &first);
    confirm_set(&hq, &first);
    assert_eq!(items(&branch), "1:north:n:1");
    carry(&hq, &branch, "changes");
    assert_eq!(items(&branch), "1:north:n:1 2:south:s:2");
    assert_quiet(&[&hq, &branch]);
}

#[test]
fn a_table_that_is_included_later_comes_with_its_rows() {
    let (hq, branch) = north();
    for db in [&hq, &branch] {
        db.exec("create table note (id int primary key, body text)");
        db.exec("select syncjournal.track('note')");
    }
    hq.exec("select syncjournal.alter_peer('branch', exclude => '{public.note}')");
    hq.exec("insert into item values (1, 'north', 'a', 1); insert into note values (1, 'a')");
    carry(&hq, &branch, "full");
    hq.exec("insert into note values (2, 'b'); update note set body = 'aa' where id = 1");
    assert_eq!(carry(&hq, &branch, "changes").entries, 0);
    hq.exec("update note set body = 'aaa' where id = 1; delete from note where id = 2");
    hq.exec("insert into note values (3, 'c')");
    hq.exec("select syncjournal.alter_peer('branch', exclude => '{}')");
    hq.exec("insert into note values (4, 'd')");
    let brought = carry(&hq, &branch, "changes");
    assert_eq!((brought.entries, brought.inserted), (3, 3), "{brought:?}");
    let notes =
        "select string_agg(concat_ws(':', id, body, sync_version), ' ' order by id) from note";
    assert_eq!(hq.text(notes), branch.text(notes));
    // Hidden again: a table that was had whole stays as it is there.
    hq.exec("update note set body = 'seen' where id = 3");
    hq.exec("select syncjournal.alter_peer('branch', exclude => '{public.note}')");
    hq.exec("update note set body = 'unseen' where id = 4");
    carry(&hq, &branch, "changes");
    assert_eq!(branch.text("select string_agg(body, ' ' order by id) from note"), "aaa seen d");
    assert_quiet(&[&hq, &branch]);
}

#[test]
fn who_changes_lists_waits_for_tables_and_keeps_no_peer_meanwhile() {
    let (hq, branch) = north();
    hq.exec("insert into item values (1, 'north', 'a', 1), (2, 'south', 'b', 2)");
    carry(&hq, &branch, "full");
    hq.exec("select syncjournal.create_slice('south', 'item', $$region = 'south'$$)");
    let position = hq.text("select confirmed::text from syncjournal.registered_peer");
    let mut writer = hq.session();
    // As `apply` does: the table first, and the peer at the end.
    writer.exec("begin; update item set price = 3 where id = 2");
    let mut admin = hq.session();
    thread::scope(|scope| {
        let changing = scope.spawn(move || {
            admin.exec("select syncjournal.alter_peer('branch', slices => '{north,south}')");
        });
        let waiting = "select count(*) from pg_locks where not granted \
            and relation = 'item'::regclass";
        while hq.query_one::<i64>(waiting) == 0 {
            thread::sleep(Duration::from_millis(20));
        }
        writer.exec("update syncjournal.registered_peer set active = active; commit");
        changing.join().expect("no deadlock");
    });
    assert_eq!(hq.text("select confirmed::text from syncjournal.registered_peer"), position);
    carry(&hq, &branch, "changes");
    assert_same_slice(&hq, &branch, "true");
}
