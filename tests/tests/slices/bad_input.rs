//! What is no slice is refused, with a reason and a remedy, and leaves nothing behind.

use syncjournal_tests::{Db, carry, pair};

use super::{items, north};

#[track_caller]
fn refused(db: &Db, call: &str, code: &str, says: &str) {
    let error = db.expect_error(&format!("select syncjournal.{call}"));
    assert_eq!(error.sqlstate, code, "{call}: {error:?}");
    assert!(error.message.contains(says), "{call}: {error:?}");
    assert!(!error.hint.is_empty(), "{call}: {error:?}");
}

#[test]
fn a_filter_hangs_on_the_row_alone() {
    let (hq, _) = north();
    hq.exec("create function here() returns text language sql stable as $$ select 'north' $$");
    for (filter, code, says) in [
        ("regoin = 'north'", "42703", "column \"regoin\" does not exist"),
        ("region = here()", "42P17", "immutable"),
        ("price > random()", "42P17", "immutable"),
        ("label < now()::text", "42P17", "immutable"),
        ("price in (select id from item)", "0A000", "subquery"),
        ("max(price) = price", "42803", "aggregate"),
        ("row_number() over () = 1", "42P20", "window"),
        ("generate_series(1, price) = 1", "0A000", "set-returning"),
        ("xmin is not null", "42P10", "system column"),
        ("price", "42804", "boolean"),
        ("true from item", "42601", "not one condition"),
        ("true, false", "42601", "not one condition"),
        ("true; drop table item", "42601", "syntax error"),
        ("", "42601", ""),
        ("nothing(region)", "42883", "does not exist"),
        ("1 / 0 = price", "22012", "division by zero"),
    ] {
        refused(&hq, &format!("create_slice('bad', 'item', $f${filter}$f$)"), code, says);
    }
    assert_eq!(hq.text("select string_agg(name, ' ') from syncjournal.slices"), "north");
    hq.exec("insert into item values (1, 'north', 'a', 1)");
    assert_eq!(items(&hq), "1:north:a:1");
}

#[test]
fn a_filter_reads_columns_that_travel() {
    let (hq, _) = pair();
    hq.exec("select syncjournal.create_node('hq')");
    hq.exec("create table item (id uuid primary key, region text, note text)");
    hq.exec("select syncjournal.track('item', exclude_columns => '{note}')");
    for filter in ["note = 'x'", "item.sync_version is not null", "item is not null"] {
        refused(&hq, &format!("create_slice('s', 'item', $f${filter}$f$)"), "42P10", "travel");
    }
    hq.exec("select syncjournal.create_slice('s', 'item', 'region is null or id is null')");
}

#[test]
fn names_and_tables_must_fit() {
    let (hq, _) = north();
    hq.exec("create table loose (id int primary key)");
    refused(&hq, "create_slice('s', 'loose', 'id > 1')", "42704", "is not tracked");
    refused(&hq, "create_slice('north', 'item', 'true')", "42710", "exists already");
    refused(&hq, "create_slice('', 'item', 'true')", "22023", "needs a name");
    refused(&hq, "create_slice(null, 'item', 'true')", "22023", "needs a name");
    refused(&hq, "create_slice('s', 'item', null)", "22023", "needs a name");
    refused(&hq, "create_slice('s', 'item', 'true', 'hide')", "22023", "hide");
    refused(&hq, "drop_slice('none')", "42704", "no slice \"none\"");
    refused(&hq, "drop_slice('north')", "2BP01", "peer \"branch\"");
    refused(&hq, "slice_digest('none')", "42704", "no slice \"none\"");
    refused(&hq, "alter_slice('none', 'true')", "42704", "no slice \"none\"");
    refused(&hq, "lock_slice('none')", "42704", "no slice \"none\"");
    refused(&hq, "unlock_slice('none')", "42704", "no slice \"none\"");
    refused(&hq, "alter_slice('north', 'regoin = 1')", "42703", "regoin");
    refused(&hq, "alter_peer('branch', slices => '{nowhere}')", "42704", "no slice \"nowhere\"");
    refused(&hq, "alter_peer('branch', slices => array[null])", "22004", "null");
    refused(&hq, "add_peer('other', slices => '{nowhere}')", "42704", "no slice \"nowhere\"");
    refused(&hq, "untrack('item')", "2BP01", "slices");
    let peers = "select string_agg(name || slices::text, ' ') from syncjournal.peer";
    assert_eq!(hq.text(peers), "branch{north}");
    hq.exec("select syncjournal.alter_peer('branch', slices => '{}')");
    hq.exec("select syncjournal.drop_slice('north'), syncjournal.untrack('item')");
}

#[test]
fn a_table_has_a_thousand_slices_at_most() {
    let (hq, branch) = north();
    hq.exec(
        "insert into syncjournal.slice (slice_name, relation_id, row_filter, on_leave)
         select 's' || n, t.relation_id, 'true', 'delete'
         from syncjournal.tracked_relation t, generate_series(1, 999) n",
    );
    hq.exec("select syncjournal.refresh_layout('item')");
    refused(&hq, "create_slice('more', 'item', 'true')", "54000", "has 1000 slices");
    // A row that is in all of them, moves out of one, and goes.
    hq.exec("insert into item values (1, 'north', 'a', 1); update item set region = 'south'");
    carry(&hq, &branch, "full");
    hq.exec("update item set region = 'north'");
    carry(&hq, &branch, "changes");
    assert_eq!(items(&branch), "1:north:a:1");
    hq.exec("delete from item");
    carry(&hq, &branch, "changes");
    assert_eq!(items(&branch), "");
}

#[test]
fn ddl_may_not_break_a_filter() {
    let (hq, _) = north();
    hq.exec(
        "create function shout(t text) returns text language sql immutable as 'select upper(t)'",
    );
    hq.exec("select syncjournal.create_slice('loud', 'item', $$shout(label) = 'A'$$)");
    for ddl in [
        "alter table item drop column region",
        "alter table item rename column region to area",
        "drop function shout(text)",
    ] {
        let error = hq.expect_error(ddl);
        assert_eq!(error.sqlstate, "2BP01", "{ddl}: {error:?}");
        assert!(error.message.contains("slice"), "{ddl}: {error:?}");
    }
    hq.exec("alter table item add column extra int, alter column price type bigint");
    hq.exec("alter table item rename to thing; insert into thing values (1, 'north', 'a', 1)");
    let found = "select row_count::text from syncjournal.slice_digest('loud')";
    assert_eq!(hq.text(found), "1");
}
