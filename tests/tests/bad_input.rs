//! Bad input gets a clear error with SQLSTATE and HINT, and changes nothing.

use syncjournal_tests::{
    Db, SqlError, apply_set, carry, confirm_set, introduce, pair, prepare_set, shared, table_rows,
    triple,
};

/// Runs a statement that must be refused for a reason that Postgres has a code for, with a hint.
#[track_caller]
fn refused(db: &Db, sql: &str) -> SqlError {
    hinted(db.expect_error(sql))
}

#[track_caller]
fn hinted(error: SqlError) -> SqlError {
    assert_ne!(error.sqlstate, "XX000", "an internal error is no answer: {error:#?}");
    assert!(!error.hint.is_empty(), "no hint: {error:#?}");
    let first = error.message.chars().next().unwrap_or_default();
    assert!(!first.is_uppercase(), "messages begin in lower case: {error:#?}");
    error
}

/// Applies bytes that must be refused.
#[track_caller]
fn refused_set(db: &Db, data: &[u8]) -> SqlError {
    let refused = db
        .own()
        .client()
        .query("select * from syncjournal.apply($1)", &[&data])
        .expect_err("the set should have been refused");
    hinted(SqlError::from(&refused))
}

/// Two nodes with a table of three rows, tracked at both ends; the branch has the first copy.
fn offices() -> (Db, Db) {
    let (hq, branch) = pair();
    introduce(&[(&hq, "hq"), (&branch, "branch")]);
    for db in [&hq, &branch] {
        db.exec("create table item (id int primary key, label text)");
    }
    hq.exec("insert into item values (1, 'one'), (2, 'two'), (3, 'three')");
    for db in [&hq, &branch] {
        db.exec("select syncjournal.track('item')");
    }
    carry(&hq, &branch, "full");
    (hq, branch)
}

#[test]
fn only_ordinary_and_partitioned_tables_can_be_tracked() {
    let db = Db::fresh(shared(0));
    db.exec(
        "select syncjournal.create_node('hq');
         create view a_view as select 1 as id;
         create materialized view a_matview as select 1 as id;
         create sequence a_sequence;
         create unlogged table an_unlogged (id int primary key);
         create temporary table a_temporary (id int primary key);
         create foreign data wrapper nothing;
         create server nowhere foreign data wrapper nothing;
         create foreign table a_foreign (id int) server nowhere;
         create table plain (id int primary key)",
    );
    for relation in [
        "a_view",
        "a_matview",
        "a_sequence",
        "an_unlogged",
        "a_temporary",
        "a_foreign",
        "pg_catalog.pg_class",
        "information_schema.sql_features",
        "syncjournal.node",
    ] {
        let error = refused(&db, &format!("select syncjournal.track('{relation}')"));
        let name = relation.rsplit('.').next().expect("a name");
        assert!(error.message.contains(name), "the message names the table: {error:#?}");
    }
    let tracked: i64 = db.query_one("select count(*) from syncjournal.tracked_table");
    assert_eq!(tracked, 0);
}

#[test]
fn a_table_is_tracked_once_and_untracked_once() {
    let db = Db::fresh(shared(0));
    db.exec("select syncjournal.create_node('hq'); create table item (id int primary key)");
    refused(&db, "select syncjournal.untrack('item')");
    db.exec("select syncjournal.track('item')");
    refused(&db, "select syncjournal.track('item')");
    db.exec("select syncjournal.untrack('item')");
    refused(&db, "select syncjournal.untrack('item')");
}

#[test]
fn unknown_options_of_track_are_refused() {
    let db = Db::fresh(shared(0));
    db.exec("select syncjournal.create_node('hq'); create table item (id int primary key, v int)");
    for options in [
        "keys => 'galactic'",
        "conflict_policy => 'whoever_shouts_loudest'",
        "exclude_columns => '{nothing}'",
        "counters => '{nothing}'",
        "natural_key => '{nothing}'",
    ] {
        refused(&db, &format!("select syncjournal.track('item', {options})"));
    }
    let columns: i64 = db.query_one(
        "select count(*) from pg_attribute where attrelid = 'item'::regclass and attnum > 0",
    );
    assert_eq!(columns, 2, "a refused track leaves the table as it was");
}

#[test]
fn a_pattern_that_matches_nothing_is_refused() {
    let db = Db::fresh(shared(0));
    db.exec("select syncjournal.create_node('hq'); create table item (id int primary key)");
    let error = refused(&db, "select syncjournal.track_all(include => '{nowhere.*}')");
    assert!(error.message.contains("nowhere.*"), "{error:#?}");
}

#[test]
fn a_node_is_created_once_and_before_tables_are_tracked() {
    let db = Db::fresh(shared(0));
    db.exec("create table item (id int primary key)");
    refused(&db, "select syncjournal.track('item')");
    db.exec("select syncjournal.create_node('hq')");
    refused(&db, "select syncjournal.create_node('hq')");
}

#[test]
fn peers_are_known_by_name_and_named_once() {
    let db = Db::fresh(shared(0));
    db.exec("select syncjournal.create_node('hq'); select syncjournal.add_peer('branch')");
    refused(&db, "select syncjournal.add_peer('branch')");
    let own = db.text("select node_id from syncjournal.node where is_local");
    refused(&db, &format!("select syncjournal.add_peer('myself', node_id => '{own}')"));
    refused(&db, "select syncjournal.add_peer('other', direction => 'sideways')");
    for call in ["drop_peer('nobody')", "alter_peer('nobody', active => false)"] {
        refused(&db, &format!("select syncjournal.{call}"));
    }
    let error = refused(&db, "select * from syncjournal.prep_sync('nobody')");
    assert!(error.message.contains("nobody"), "{error:#?}");
    refused(&db, "select * from syncjournal.prep_sync('branch', mode => 'half')");
}

#[test]
fn a_set_for_another_node_is_refused() {
    let (hq, branch, other) = triple();
    introduce(&[(&hq, "hq"), (&branch, "branch"), (&other, "other")]);
    for db in [&hq, &branch, &other] {
        db.exec("create table item (id int primary key); select syncjournal.track('item')");
    }
    hq.exec("insert into item values (1)");
    // So that the peers know each other's identity and not only the name.
    carry(&hq, &branch, "full");
    carry(&branch, &hq, "full");
    hq.exec("insert into item values (2)");
    let parts = prepare_set(&hq, &branch, "changes");
    refused_set(&other, &parts[0]);
    assert_eq!(other.query_one::<i64>("select count(*) from item"), 0);
}

#[test]
fn what_is_not_a_set_or_is_damaged_is_refused() {
    let (hq, branch) = offices();
    hq.exec("insert into item select n, repeat('x', n) from generate_series(10, 200) n");
    let part = prepare_set(&hq, &branch, "changes").remove(0);
    let before = table_rows(&branch, "item");

    for garbage in [&b""[..], b"\0", b"SYNCJRNL", b"PK\x03\x04 something quite different"] {
        refused_set(&branch, garbage);
    }
    for cut in [1, 9, part.len() / 2, part.len() - 1] {
        refused_set(&branch, &part[..cut]);
    }
    for position in (0..part.len()).step_by(part.len() / 40 + 1) {
        let mut damaged = part.clone();
        damaged[position] ^= 0x40;
        refused_set(&branch, &damaged);
    }
    let mut longer = part.clone();
    longer.push(0);
    refused_set(&branch, &longer);
    assert_eq!(table_rows(&branch, "item"), before);
    // Undamaged it is still welcome.
    assert_eq!(apply_set(&branch, &[part]).inserted, 191);
}

#[test]
fn a_set_of_a_newer_format_says_so() {
    let (hq, branch) = offices();
    hq.exec("insert into item values (4, 'four')");
    let mut part = prepare_set(&hq, &branch, "changes").remove(0);
    // The format's version stands behind the eight letters of the magic, low byte first.
    part[8..10].copy_from_slice(&900_u16.to_le_bytes());
    let error = refused_set(&branch, &part);
    assert!(error.message.contains("900"), "{error:#?}");
    assert!(error.hint.contains("extension"), "{error:#?}");
}

#[test]
fn a_gap_between_sets_is_refused_and_named() {
    let (hq, branch) = offices();
    hq.exec("insert into item values (4, 'four')");
    let missing = prepare_set(&hq, &branch, "changes");
    confirm_set(&hq, &missing);
    hq.exec("insert into item values (5, 'five')");
    let later = prepare_set(&hq, &branch, "changes");
    refused_set(&branch, &later[0]);
    assert_eq!(branch.query_one::<i64>("select count(*) from item"), 3);
    apply_set(&branch, &missing);
    apply_set(&branch, &later);
    assert_eq!(branch.query_one::<i64>("select count(*) from item"), 5);
}

#[test]
fn the_first_set_must_be_a_full_one() {
    let (hq, branch) = pair();
    introduce(&[(&hq, "hq"), (&branch, "branch")]);
    for db in [&hq, &branch] {
        db.exec("create table item (id int primary key)");
    }
    // Rows from before the journal: only a full set carries them.
    hq.exec("insert into item values (1)");
    for db in [&hq, &branch] {
        db.exec("select syncjournal.track('item')");
    }
    hq.exec("insert into item values (2)");
    let full = prepare_set(&hq, &branch, "full");
    confirm_set(&hq, &full);
    hq.exec("insert into item values (3)");
    let changes = prepare_set(&hq, &branch, "changes");
    refused_set(&branch, &changes[0]);
    apply_set(&branch, &full);
    apply_set(&branch, &changes);
    assert_eq!(branch.query_one::<i64>("select count(*) from item"), 3);
}

#[test]
fn a_table_column_or_type_that_the_target_lacks_is_named() {
    let (hq, branch) = offices();
    branch.exec("select syncjournal.alter_peer('hq', stop_on => '{42}')");
    hq.exec(
        "alter table item add column colour text;
         insert into item (id, label, colour) values (4, 'four', 'red')",
    );
    let set = prepare_set(&hq, &branch, "changes");
    let error = refused_set(&branch, &set[0]);
    let said = format!("{} {}", error.message, error.detail);
    assert!(said.contains("colour") && said.contains("item"), "{error:#?}");
    branch.exec("alter table item add column colour text");
    apply_set(&branch, &set);

    hq.exec(
        "create type mood as enum ('good', 'bad'); alter table item add column mood mood;
         update item set mood = 'good' where id = 4",
    );
    branch.exec("alter table item add column mood text");
    let set = prepare_set(&hq, &branch, "changes");
    let error = refused_set(&branch, &set[0]);
    assert!(format!("{} {}", error.message, error.detail).contains("mood"), "{error:#?}");
    branch.exec(
        "create type mood as enum ('good', 'bad');
         alter table item alter column mood type mood using mood::mood",
    );
    apply_set(&branch, &set);
    assert_eq!(branch.text("select mood from item where id = 4"), "good");

    hq.exec("create table more (id int primary key); select syncjournal.track('more')");
    hq.exec("insert into more values (1)");
    let set = prepare_set(&hq, &branch, "changes");
    let error = refused_set(&branch, &set[0]);
    assert!(format!("{} {}", error.message, error.detail).contains("more"), "{error:#?}");
}

#[test]
fn a_row_keeps_its_identity() {
    let (hq, _) = offices();
    refused(&hq, "update item set sync_id = gen_random_uuid() where id = 1");
    assert_eq!(table_rows(&hq, "item").len(), 3);
}

#[test]
fn a_role_without_rights_gets_nowhere() {
    let (hq, _) = offices();
    hq.exec("create role nobody_special login; grant select, insert on item to nobody_special");
    let mut session = hq.session_as("nobody_special");
    for sql in [
        "select * from syncjournal.prep_sync('branch')",
        "select * from syncjournal.apply('\\x00')",
        "select syncjournal.track('item')",
        "select syncjournal.untrack('item')",
        "select syncjournal.create_node('mine')",
        "select syncjournal.add_peer('mine')",
        "select syncjournal.prune()",
        "select * from syncjournal.journal",
        "select * from syncjournal.change",
    ] {
        let error = session.expect_error(sql);
        assert_eq!(error.sqlstate, "42501", "{sql}: {error:#?}");
    }
    // And yet what it writes is journaled: writers need no rights in the schema.
    session.exec("insert into item values (9, 'nine')");
    let journaled: i64 =
        hq.query_one("select count(*) from syncjournal.change where new ->> 'label' = 'nine'");
    assert_eq!(journaled, 1);
}
