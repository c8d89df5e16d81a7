//! `constraints => 'enforce'`: what breaks a foreign key here, and what does not.
//!
//! The source has no foreign keys, so that it can send whatever it likes; `stop_on` makes a
//! violation an error, which says what was found.

use std::thread;
use std::time::Duration;

use syncjournal_tests::{Db, SqlError, assert_same_rows, carry, introduce, pair, prepare_set};

/// Two nodes with these tables, tracked; the second enforces `keys`.
fn nodes(tables: &str, keys: &str) -> (Db, Db) {
    let (hq, branch) = pair();
    introduce(&[(&hq, "hq"), (&branch, "branch")]);
    for db in [&hq, &branch] {
        db.exec(tables);
    }
    branch.exec(keys);
    for db in [&hq, &branch] {
        db.exec("select syncjournal.track_all()");
    }
    branch.exec(
        "select syncjournal.alter_peer('hq', constraints => 'enforce', stop_on => '{23503}')",
    );
    (hq, branch)
}

const FAMILY: &str = "create table parent (id int primary key, label text);
    create table child (id int primary key, parent_id int, label text)";
const KEY: &str = "alter table child add constraint of_parent
    foreign key (parent_id) references parent";

/// Takes the changes of the first to the second.
fn try_carry(hq: &Db, branch: &Db) -> Result<(), SqlError> {
    let parts = prepare_set(hq, branch, "changes");
    let mut session = branch.session();
    for part in &parts {
        let done = session.client().query("select syncjournal.apply($1)", &[part]);
        done.map_err(|error| SqlError::from(&error))?;
    }
    Ok(())
}

#[track_caller]
fn refused(hq: &Db, branch: &Db, message: &str, detail: &str) {
    let error = try_carry(hq, branch).expect_err("it applies");
    assert_eq!((error.sqlstate.as_str(), error.message.as_str()), ("23503", message), "{error:#?}");
    assert_eq!(error.detail, detail);
}

/// Undoes at the source what the target refuses, and goes on.
#[track_caller]
fn mended(hq: &Db, branch: &Db, sql: &str) {
    hq.exec(sql);
    try_carry(hq, branch).unwrap_or_else(|error| panic!("{error:#?}"));
    let tables: Vec<String> = hq.column("select relation::text from syncjournal.tracked_table");
    for table in tables {
        assert_same_rows(hq, branch, &table);
    }
}

const INSERT_OF_CHILD: &str =
    "insert or update on table \"child\" violates foreign key constraint \"of_parent\"";
const DELETE_OF_PARENT: &str = "update or delete on table \"parent\" violates foreign key \
    constraint \"of_parent\" on table \"child\"";

#[test]
fn under_trust_orphans_are_kept_as_in_replication() {
    let (hq, branch) = nodes(FAMILY, KEY);
    branch.exec("select syncjournal.alter_peer('hq', constraints => 'trust')");
    hq.exec("insert into child values (1, 7); insert into parent values (1); delete from parent");
    carry(&hq, &branch, "changes");
    assert_same_rows(&hq, &branch, "child");
}

#[test]
fn a_child_needs_its_parent() {
    let (hq, branch) = nodes(FAMILY, KEY);
    hq.exec("insert into child values (1, null), (2, 7)");
    let detail = "Key (parent_id)=(7) is not present in table \"parent\".";
    refused(&hq, &branch, INSERT_OF_CHILD, detail);
    assert_eq!(branch.query_one::<i64>("select count(*) from child"), 0);
    // Whatever the order within a call.
    mended(&hq, &branch, "insert into parent values (7)");
    // Only a key that changes is looked at, and only where it changes.
    hq.exec("update child set parent_id = 8 where id = 1");
    refused(
        &hq,
        &branch,
        INSERT_OF_CHILD,
        "Key (parent_id)=(8) is not present in table \"parent\".",
    );
    mended(&hq, &branch, "update child set parent_id = 7 where id = 1");
    branch.exec(
        "begin; set session_replication_role = replica; set syncjournal.capture = off;
        delete from parent; commit",
    );
    hq.exec("update child set label = 'x'");
    try_carry(&hq, &branch).expect("no key has changed");
}

#[test]
fn a_parent_stays_while_a_child_uses_it() {
    let (hq, branch) = nodes(FAMILY, KEY);
    mended(
        &hq,
        &branch,
        "insert into parent values (1), (2), (3); insert into child values (1, 1)",
    );
    hq.exec("delete from parent where id < 3");
    let detail = "Key (id)=(1) is still referenced from table \"child\".";
    refused(&hq, &branch, DELETE_OF_PARENT, detail);
    mended(&hq, &branch, "delete from child");
    mended(&hq, &branch, "insert into child values (2, 3)");
    hq.exec("update parent set id = 4 where id = 3");
    let detail = "Key (id)=(3) is still referenced from table \"child\".";
    refused(&hq, &branch, DELETE_OF_PARENT, detail);
    mended(&hq, &branch, "update child set parent_id = 4");
    mended(&hq, &branch, "update parent set label = 'x'");
    // Another row takes the key over: nothing is missing.
    mended(&hq, &branch, "delete from parent where id = 4; insert into parent values (4, 'new')");
}

#[test]
fn keys_of_several_columns_mixed_types_and_awkward_values() {
    let (hq, branch) = nodes(
        "create domain code as text check (value <> '');
         create table parent (a code, b bigint, c numeric(6, 2), d text[], primary key (a, b, c, d));
         create table child (id int primary key, w varchar(40), x int, y int, z text[])",
        "alter table child add constraint of_parent
            foreign key (w, x, y, z) references parent (a, b, c, d)",
    );
    let values = "('{\"quoted\", \\ and NULL}', 1, 1, array['x', null, '}']), ('null', 2, 2, '{}'),
        (' ', 3, 3, array['\u{e9}, \"'])";
    mended(
        &hq,
        &branch,
        &format!(
            "insert into parent values {values};
             insert into child select row_number() over (), a, b, c, d from parent"
        ),
    );
    hq.exec("delete from parent where a = 'null'");
    let detail = "Key (a, b, c, d)=(null, 2, 2.00, {}) is still referenced from table \"child\".";
    refused(&hq, &branch, DELETE_OF_PARENT, detail);
    // Null in part is no key, unless the constraint says MATCH FULL.
    mended(&hq, &branch, "update child set x = null where y = 2");
    hq.exec("insert into child values (9, ' ', 3, 4, array['\u{e9}, \"'])");
    let error = try_carry(&hq, &branch).expect_err("no such parent");
    assert!(error.detail.contains("Key (w, x, y, z)=( , 3, 4, {\"\u{e9}, \\\"\"})"), "{error:#?}");
}

#[test]
fn match_full_forbids_a_key_that_is_null_in_part() {
    let (hq, branch) = nodes(
        "create table parent (a int, b int, primary key (a, b));
         create table child (id int primary key, a int, b int)",
        "alter table child add constraint of_parent
            foreign key (a, b) references parent match full not valid",
    );
    mended(&hq, &branch, "insert into child values (1, null, null)");
    hq.exec("insert into child values (2, 1, null)");
    let detail = "MATCH FULL does not allow mixing of null and nonnull key values.";
    refused(&hq, &branch, INSERT_OF_CHILD, detail);
    mended(&hq, &branch, "update child set b = 1 where id = 2; insert into parent values (1, 1)");
}

#[test]
fn tables_may_refer_to_themselves_and_to_each_other() {
    let (hq, branch) = nodes(
        "create table item (id int primary key, above int);
         create table left_one (id int primary key, other int);
         create table right_one (id int primary key, other int)",
        "alter table item add constraint above foreign key (above) references item;
         alter table left_one add foreign key (other) references right_one;
         alter table right_one add foreign key (other) references left_one",
    );
    mended(
        &hq,
        &branch,
        "insert into item select n, n - 1 from generate_series(10, 2, -1) n;
        insert into item values (1, 1)",
    );
    mended(&hq, &branch, "insert into left_one values (1, 1); insert into right_one values (1, 1)");
    hq.exec("delete from item where id = 5");
    let message = "update or delete on table \"item\" violates foreign key constraint \"above\" \
        on table \"item\"";
    refused(&hq, &branch, message, "Key (id)=(5) is still referenced from table \"item\".");
    mended(&hq, &branch, "delete from item; delete from right_one; delete from left_one");
}

#[test]
fn partitioned_tables_on_both_sides() {
    let parts = |table: &str| {
        format!(
            "create table {table}_1 partition of {table} for values from (0) to (10);
             create table {table}_2 partition of {table} for values from (10) to (20);"
        )
    };
    let (hq, branch) = nodes(
        &format!(
            "create table parent (id int primary key, label text) partition by range (id);
             create table child (id int primary key, parent_id int) partition by range (id);
             create table single (id int primary key, parent_id int);
             create table to_leaf (id int primary key, parent_id int); {} {}",
            parts("parent"),
            parts("child")
        ),
        "alter table child add constraint of_parent foreign key (parent_id) references parent;
         alter table single add foreign key (parent_id) references parent;
         alter table to_leaf add constraint of_leaf foreign key (parent_id) references parent_2;
         alter table child_2 add constraint own foreign key (parent_id) references single",
    );
    mended(
        &hq,
        &branch,
        "insert into child values (1, 1), (11, 11); insert into single values (1, 11), (11, 1);
         insert into parent values (1), (11); insert into to_leaf values (1, 11)",
    );
    hq.exec("insert into child values (2, 12)");
    refused(
        &hq,
        &branch,
        INSERT_OF_CHILD,
        "Key (parent_id)=(12) is not present in table \"parent\".",
    );
    mended(&hq, &branch, "insert into parent values (12)");
    // The row moves, its key is another.
    hq.exec("update parent set id = 2 where id = 12");
    refused(
        &hq,
        &branch,
        DELETE_OF_PARENT,
        "Key (id)=(12) is still referenced from table \"child\".",
    );
    mended(&hq, &branch, "update child set parent_id = 2 where id = 2");
    // A row that moves into the partition has that one's keys.
    hq.exec("update child set id = 12 where id = 2");
    let message = "insert or update on table \"child_2\" violates foreign key constraint \"own\"";
    refused(&hq, &branch, message, "Key (parent_id)=(2) is not present in table \"single\".");
    mended(&hq, &branch, "update child set id = 2 where id = 12");
    hq.exec("delete from to_leaf; insert into to_leaf values (2, 1)");
    let message =
        "insert or update on table \"to_leaf\" violates foreign key constraint \"of_leaf\"";
    refused(&hq, &branch, message, "Key (parent_id)=(1) is not present in table \"parent_2\".");
    mended(&hq, &branch, "update to_leaf set parent_id = 11; update parent set label = 'x'");
    mended(&hq, &branch, "truncate to_leaf; truncate child; truncate single; truncate parent");
}

#[test]
fn a_key_whose_triggers_are_disabled_is_not_enforced() {
    let (hq, branch) = nodes(FAMILY, KEY);
    branch.exec("alter table child disable trigger all");
    hq.exec("insert into child values (2, 7)");
    try_carry(&hq, &branch).expect("nobody enforces the key");
}

#[test]
fn a_concurrent_delete_of_the_parent_waits_or_is_seen() {
    let (hq, branch) = nodes(FAMILY, KEY);
    mended(&hq, &branch, "insert into parent values (1), (2)");
    hq.exec("insert into child values (1, 1)");
    let parts = prepare_set(&hq, &branch, "changes");
    let mut applying = branch.session();
    applying.exec("begin");
    applying.client().query("select syncjournal.apply($1)", &[&parts[0]]).expect("it applies");
    let late = branch.expect_error("set lock_timeout = '100ms'; delete from parent where id = 1");
    assert_eq!(late.sqlstate, "55P03", "the parent is held fast");
    applying.exec("commit");
    let late = branch.expect_error("set lock_timeout = 0; delete from parent where id = 1");
    assert_eq!(late.sqlstate, "23503");

    hq.exec("insert into child values (2, 2)");
    let mut deleting = branch.session();
    deleting.exec("begin; delete from parent where id = 2");
    let parts = prepare_set(&hq, &branch, "changes");
    let mut session = branch.session();
    let applied = thread::spawn(move || {
        session.client().query("select syncjournal.apply($1)", &[&parts[0]]).map(|_| ())
    });
    thread::sleep(Duration::from_millis(300));
    assert!(!applied.is_finished(), "it waits for the delete");
    deleting.exec("commit");
    let error = applied.join().expect("it ends").expect_err("the parent has gone");
    assert_eq!(SqlError::from(&error).sqlstate, "23503");
}

#[test]
fn each_table_is_read_with_its_owners_rights() {
    let (hq, branch) = nodes(FAMILY, KEY);
    branch.exec(
        "create role fk_parent; create role fk_child;
         alter table parent owner to fk_parent; alter table child owner to fk_child;
         grant usage on schema public to fk_parent, fk_child;
         create table side (id int primary key); alter table side enable row level security;
         alter table side force row level security; alter table side owner to fk_parent;
         insert into side values (1); alter table child add foreign key (id) references side",
    );
    hq.exec("insert into child values (1, 1); insert into parent values (1)");
    try_carry(&hq, &branch).unwrap_or_else(|error| panic!("{error:#?}"));
    hq.exec("insert into child values (2, 1)");
    let error = try_carry(&hq, &branch).expect_err("no such row in side");
    assert!(error.detail.contains("Key (id)=(2) is not present in table \"side\""), "{error:#?}");
}

#[test]
fn many_rows_are_checked_in_batches() {
    let (hq, branch) = nodes(FAMILY, KEY);
    hq.exec(
        "insert into child select n, n % 1000 from generate_series(1, 60000) n;
         insert into parent select generate_series(0, 999)",
    );
    try_carry(&hq, &branch).unwrap_or_else(|error| panic!("{error:#?}"));
    hq.exec("delete from child; delete from parent");
    try_carry(&hq, &branch).unwrap_or_else(|error| panic!("{error:#?}"));
    assert_same_rows(&hq, &branch, "child");
}

#[test]
fn tables_that_are_not_tracked_count_as_well() {
    let (hq, branch) = nodes(
        FAMILY,
        "create schema elsewhere; create table elsewhere.note (about int, of int);
         create table elsewhere.kind (id int primary key)",
    );
    branch.exec(
        "select syncjournal.untrack('elsewhere.note') from syncjournal.tracked_table
         where relation = 'elsewhere.note'::regclass;
         alter table elsewhere.note add constraint of_parent foreign key (about) references parent;
         alter table parent add constraint of_kind foreign key (id) references elsewhere.kind;
         insert into elsewhere.kind values (1), (2)",
    );
    mended(&hq, &branch, "insert into parent values (1), (2)");
    branch.exec("insert into elsewhere.note values (1, 1)");
    hq.exec("delete from parent");
    let message = "update or delete on table \"parent\" violates foreign key constraint \
        \"of_parent\" on table \"note\"";
    refused(&hq, &branch, message, "Key (id)=(1) is still referenced from table \"note\".");
    branch.exec("truncate elsewhere.note");
    mended(&hq, &branch, "");
    hq.exec("insert into parent values (3)");
    let message =
        "insert or update on table \"parent\" violates foreign key constraint \"of_kind\"";
    refused(&hq, &branch, message, "Key (id)=(3) is not present in table \"kind\".");
}
