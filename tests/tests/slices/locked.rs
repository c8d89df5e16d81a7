//! Slices that are locked, and what they bring when they are opened.

use syncjournal_tests::{Db, apply_set, carry, confirm_set, prepare_set};

use super::{assert_quiet, assert_same_slice, items, north, two_subscribers};

/// Three slices of one table, all of them branch's; three rows in each, and one in none.
fn three_slices() -> (Db, Db) {
    let (hq, branch) = north();
    hq.exec("select syncjournal.create_slice('south', 'item', $$region = 'south'$$)");
    hq.exec("select syncjournal.create_slice('west', 'item', $$region = 'west'$$)");
    hq.exec("select syncjournal.alter_peer('branch', slices => '{north,south,west}')");
    hq.exec(
        "insert into item select n, (array['north', 'south', 'west'])[n % 3 + 1], 'r', n \
        from generate_series(1, 9) n; insert into item values (10, 'east', 'r', 10)",
    );
    carry(&hq, &branch, "full");
    (hq, branch)
}

fn lock(db: &Db, slice: &str) -> bool {
    db.query_one(&format!("select syncjournal.lock_slice('{slice}')"))
}

fn unlock(db: &Db, slice: &str) -> bool {
    db.query_one(&format!("select syncjournal.unlock_slice('{slice}')"))
}

/// Ids of the rows that are labelled so.
fn labelled(db: &Db, label: &str) -> String {
    db.text(&format!(
        "select coalesce(string_agg(id::text, ' ' order by id), '') from item \
        where label = '{label}'"
    ))
}

const ALL: &str = "region in ('north', 'south', 'west')";

#[test]
fn seed_67_a_locked_slice_is_not_synced_and_the_others_go_on() {
    let (hq, branch) = three_slices();
    assert!(lock(&hq, "south"));
    let state = "select string_agg(name || allow_sync, ' ' order by name) from syncjournal.slices";
    assert_eq!(hq.text(state), "northtrue southfalse westtrue");
    hq.exec("update item set label = 'new'; delete from item where id = 4");
    hq.exec("insert into item values (11, 'south', 'new', 11), (12, 'west', 'new', 12)");
    for _ in 0..2 {
        carry(&hq, &branch, "changes");
        assert_eq!(labelled(&branch, "new"), "2 3 5 6 8 9 12");
        assert_eq!(labelled(&branch, "r"), "1 4 7");
    }
    // Nothing of it is in the set itself, either.
    hq.exec("update item set label = 'newer' where region = 'south'");
    assert_eq!(carry(&hq, &branch, "changes").entries, 0);
    // Opened while the set that leaves it out is still on its way.
    hq.exec("update item set label = 'newest' where id in (3, 7)");
    let on_its_way = prepare_set(&hq, &branch, "changes");
    assert!(unlock(&hq, "south"));
    apply_set(&branch, &on_its_way);
    confirm_set(&hq, &on_its_way);
    assert_eq!((labelled(&branch, "newest"), labelled(&branch, "r")), ("3".into(), "1 4 7".into()));
    let brought = carry(&hq, &branch, "changes");
    let counts = (brought.entries, brought.inserted, brought.updated, brought.deleted);
    assert_eq!(counts, (4, 1, 2, 1), "what has changed, and nothing else: {brought:?}");
    assert_same_slice(&hq, &branch, ALL);
    assert_eq!(carry(&hq, &branch, "changes").entries, 0);
    assert_quiet(&[&hq, &branch]);
    hq.exec("update item set label = 'after' where region = 'south'");
    branch.exec("update item set price = 100 where region = 'south'");
    carry(&hq, &branch, "changes");
    carry(&branch, &hq, "changes");
    carry(&hq, &branch, "changes");
    assert_same_slice(&hq, &branch, ALL);
}

#[test]
fn seed_68_twice_locked_and_twice_opened_is_as_once() {
    let (hq, branch) = three_slices();
    assert!(!unlock(&hq, "south"), "it is open");
    assert!(lock(&hq, "south"));
    hq.exec("update item set label = 'new' where id = 1");
    carry(&hq, &branch, "changes");
    let locked_at = hq.text("select locked_at::text from syncjournal.slices where name = 'south'");
    assert!(!lock(&hq, "south"), "it is locked");
    let again = hq.text("select locked_at::text from syncjournal.slices where name = 'south'");
    assert_eq!(again, locked_at);
    // There is nothing to refresh: a digest is of the rows as they are, locked or not.
    let digest = |db: &Db| db.text("select hash from syncjournal.slice_digest('south')");
    let was = digest(&hq);
    hq.exec("update item set label = 'newer' where id = 1");
    assert_ne!(digest(&hq), was);
    assert!(unlock(&hq, "south"));
    assert!(!unlock(&hq, "south"), "it is open again");
    assert_eq!(carry(&hq, &branch, "changes").entries, 1);
    assert_same_slice(&hq, &branch, ALL);
    assert_quiet(&[&hq, &branch]);
}

#[test]
fn what_comes_and_goes_while_it_is_locked_is_brought_as_it_ends() {
    let (hq, branch) = three_slices();
    hq.exec("select syncjournal.alter_peer('branch', direction => 'send')");
    lock(&hq, "south");
    // Into another slice, out of all, deleted, from another, from outside, in and out, in and gone.
    hq.exec(
        "update item set region = 'west' where id = 1; \
        update item set label = 'twice' where id = 4; \
        update item set region = 'east' where id = 4; \
        delete from item where id = 7; \
        update item set region = 'south', label = 'came' where id = 2; \
        update item set region = 'south', label = 'came' where id = 10; \
        insert into item values (20, 'south', 'came', 1), (21, 'south', 'came', 1), \
            (22, 'south', 'came', 1); \
        update item set region = 'east' where id = 21; delete from item where id = 22",
    );
    carry(&hq, &branch, "changes");
    assert_eq!(labelled(&branch, "came"), "", "nothing of the locked slice");
    let stays = branch.text("select string_agg(id || region, ' ' order by id) from item");
    assert_eq!(stays, "1west 2west 3north 4south 5west 6north 7south 8west 9north");
    // Between two slices of which one is locked, and back.
    hq.exec("update item set region = 'west', label = 'went' where id = 20");
    hq.exec("update item set region = 'south' where id = 1");
    carry(&hq, &branch, "changes");
    assert_eq!(labelled(&branch, "went"), "20");
    unlock(&hq, "south");
    carry(&hq, &branch, "changes");
    assert_same_slice(&hq, &branch, ALL);
    let ids = branch.text("select string_agg(id::text, ' ' order by id) from item");
    assert_eq!(ids, "1 2 3 5 6 8 9 10 20");
    assert_quiet(&[&hq, &branch]);
}

#[test]
fn a_set_that_spans_the_lock_brings_what_was_before_and_what_it_came_to() {
    let (hq, branch) = three_slices();
    hq.exec("update item set label = 'before' where region = 'south'");
    lock(&hq, "south");
    hq.exec("update item set label = 'held'; update item set region = 'east' where id = 4");
    carry(&hq, &branch, "changes");
    assert_eq!(labelled(&branch, "before"), "1 4 7", "what was written before the lock may go");
    hq.exec("update item set label = 'held again' where id in (1, 4)");
    hq.exec(
        "begin; update item set label = 'held' where id = 1; \
        select syncjournal.unlock_slice('south'); \
        update item set label = 'after' where id = 1; commit",
    );
    lock(&hq, "south");
    hq.exec("update item set label = 'held' where id = 7; delete from item where id = 1");
    unlock(&hq, "south");
    carry(&hq, &branch, "changes");
    assert_same_slice(&hq, &branch, ALL);
    assert_eq!(labelled(&branch, "held"), "2 3 5 6 7 8 9");
    assert_eq!(carry(&hq, &branch, "changes").entries, 0);
    assert_quiet(&[&hq, &branch]);
}

#[test]
fn two_locks_at_once_hold_what_is_in_either() {
    let (hq, branch, office) = two_subscribers();
    hq.exec("insert into item select n, 'north', 'r', n from generate_series(1, 6) n");
    carry(&hq, &branch, "full");
    carry(&hq, &office, "full");
    hq.exec("select syncjournal.alter_slice('north', on_leave => 'keep')");
    lock(&hq, "north");
    lock(&hq, "south");
    hq.exec("update item set region = 'south', label = 'both' where id = 1");
    hq.exec("update item set region = 'east' where id = 2; delete from item where id = 3");
    carry(&hq, &office, "changes");
    assert_eq!(labelled(&office, "r"), "1 2 3 4 5 6");
    unlock(&hq, "north");
    carry(&hq, &branch, "changes");
    carry(&hq, &office, "changes");
    assert_eq!(labelled(&branch, "r"), "1 2 4 5 6", "on_leave is 'keep', and a delete arrives");
    assert_eq!(labelled(&office, "r"), "1 2 4 5 6", "row 1 is in the south, which is locked");
    unlock(&hq, "south");
    carry(&hq, &branch, "changes");
    carry(&hq, &office, "changes");
    assert_eq!(labelled(&branch, "r"), "1 2 4 5 6");
    assert_eq!((labelled(&office, "both"), labelled(&office, "r")), ("1".into(), "2 4 5 6".into()));
    assert_quiet(&[&hq, &branch, &office]);
}

#[test]
fn what_subscribers_write_in_a_locked_slice_comes_in_and_goes_on_later() {
    let (hq, branch, office) = two_subscribers();
    hq.exec("insert into item select n, 'north', 'r', n from generate_series(1, 6) n");
    carry(&hq, &branch, "full");
    carry(&hq, &office, "full");
    lock(&hq, "north");
    branch.exec("update item set label = 'branch' where id <= 3; delete from item where id = 6");
    branch.exec("insert into item values (7, 'north', 'branch', 7)");
    carry(&branch, &hq, "changes");
    assert_eq!(labelled(&hq, "branch"), "1 2 3 7");
    hq.exec("update item set price = 50 where id in (1, 4)");
    hq.exec("update item set region = 'west' where id = 2");
    carry(&hq, &branch, "changes");
    carry(&hq, &office, "changes");
    assert_eq!(labelled(&office, "r"), "1 2 3 4 5 6");
    assert_eq!(items(&branch).split(' ').count(), 6);
    unlock(&hq, "north");
    carry(&hq, &branch, "changes");
    carry(&hq, &office, "changes");
    let expected = "1:north:branch:50 3:north:branch:3 4:north:r:50 5:north:r:5 7:north:branch:7";
    for peer in [&branch, &office] {
        assert_eq!(items(peer), expected, "{}", peer.name());
        assert_same_slice(&hq, peer, "region = 'north'");
    }
    carry(&branch, &hq, "changes");
    assert_quiet(&[&hq, &branch, &office]);
}

#[test]
fn a_truncate_waits_for_the_locked_slices() {
    let (hq, branch) = three_slices();
    lock(&hq, "south");
    hq.exec("truncate item; insert into item values (30, 'south', 'new', 1)");
    carry(&hq, &branch, "changes");
    assert_eq!(labelled(&branch, "r"), "1 2 3 4 5 6 7 8 9");
    unlock(&hq, "south");
    hq.exec("insert into item values (1, 'south', 'new', 1)");
    carry(&hq, &branch, "changes");
    assert_eq!(items(&branch), "1:south:new:1 30:south:new:1");
    assert_same_slice(&hq, &branch, ALL);
    assert_quiet(&[&hq, &branch]);
}

#[test]
fn who_gets_a_locked_slice_gets_it_when_it_is_opened() {
    let (hq, branch) = three_slices();
    hq.exec("select syncjournal.alter_peer('branch', slices => '{north}')");
    carry(&hq, &branch, "changes");
    assert_eq!(labelled(&branch, "r"), "3 6 9");
    lock(&hq, "south");
    hq.exec("select syncjournal.alter_peer('branch', slices => '{north,south}')");
    carry(&hq, &branch, "changes");
    assert_eq!(labelled(&branch, "r"), "3 6 9");
    // Its filter, too, may change meanwhile.
    hq.exec("select syncjournal.alter_slice('south', $$region in ('south', 'east')$$)");
    assert_eq!(carry(&hq, &branch, "changes").entries, 0);
    unlock(&hq, "south");
    assert_eq!(carry(&hq, &branch, "changes").inserted, 4);
    assert_eq!(labelled(&branch, "r"), "1 3 4 6 7 9 10");
    // A first set that was made meanwhile lacks it as well.
    lock(&hq, "south");
    branch.exec("begin; set syncjournal.capture = off; delete from item; commit");
    carry(&hq, &branch, "full");
    assert_eq!(labelled(&branch, "r"), "3 6 9");
    unlock(&hq, "south");
    carry(&hq, &branch, "changes");
    assert_same_slice(&hq, &branch, "region <> 'west'");
    assert_quiet(&[&hq, &branch]);
}

#[test]
fn who_loses_a_locked_slice_loses_what_has_gone_from_it() {
    let (hq, branch) = three_slices();
    lock(&hq, "south");
    hq.exec("delete from item where id = 1; update item set region = 'east' where id = 4");
    hq.exec("update item set region = 'north', label = 'came' where id = 7");
    carry(&hq, &branch, "changes");
    assert_eq!(labelled(&branch, "r"), "1 2 3 4 5 6 8 9");
    hq.exec("select syncjournal.alter_peer('branch', slices => '{north,west}')");
    carry(&hq, &branch, "changes");
    assert_eq!(
        (labelled(&branch, "r"), labelled(&branch, "came")),
        ("2 3 5 6 8 9".into(), "7".into())
    );
    unlock(&hq, "south");
    assert_eq!(carry(&hq, &branch, "changes").entries, 0);
    hq.exec("select syncjournal.alter_peer('branch', slices => '{}')");
    carry(&hq, &branch, "changes");
    assert_same_slice(&hq, &branch, "true");
    assert_quiet(&[&hq, &branch]);
}

#[test]
fn the_journal_keeps_what_a_locked_slice_holds_back() {
    let (hq, branch) = three_slices();
    lock(&hq, "south");
    hq.exec("delete from item where id = 1; update item set label = 'new' where id = 4");
    carry(&hq, &branch, "changes");
    // Past its time, and known to every peer.
    let prune = "select syncjournal.open_segment(); \
        update syncjournal.journal_segment set opened_at = opened_at - interval '30 days'; \
        select syncjournal.prune()";
    hq.exec(prune);
    let unhealthy = "select severity from syncjournal.health where check_name = 'locked_slices'";
    assert_eq!(hq.text(unhealthy), "ok");
    hq.exec(
        "update syncjournal.slice set locked_at = now() - interval '2 days' where not allow_sync",
    );
    assert_eq!(hq.text(unhealthy), "warning");
    unlock(&hq, "south");
    carry(&hq, &branch, "changes");
    assert_same_slice(&hq, &branch, ALL);
    hq.exec(prune);
    assert_eq!(hq.query_one::<i64>("select count(*) from syncjournal.tombstone"), 0, "pruned");
    assert_quiet(&[&hq, &branch]);
}

#[test]
fn a_row_of_a_clock_that_is_ahead_leaves_a_slice_by_lists() {
    let (hq, branch) = three_slices();
    // As if a node whose clock is a minute ahead had written it.
    hq.exec(
        "begin; set syncjournal.capture = off; update item set sync_version = ( \
            substr(ahead, 1, 16) || substr(sync_version::text, 20))::uuid \
            from (select rpad(to_hex(((extract(epoch from now()) + 60) * 1000000)::int8), 13, '0') \
                || '000' as ahead) a where id = 1; commit",
    );
    hq.exec("select syncjournal.alter_peer('branch', slices => '{north}')");
    carry(&hq, &branch, "changes");
    assert_eq!(labelled(&branch, "r"), "3 6 9");
}
