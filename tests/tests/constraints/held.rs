//! What breaks a constraint waits in quarantine, the rest goes on, and it flows when it can.

use syncjournal_tests::{Db, assert_same_rows, carry, introduce, pair};

/// Two nodes with these tables; the second has the constraints `more`, and enforces them.
fn nodes(tables: &str, more: &str) -> (Db, Db) {
    let (hq, branch) = pair();
    introduce(&[(&hq, "hq"), (&branch, "branch")]);
    for db in [&hq, &branch] {
        db.exec(tables);
    }
    branch.exec(more);
    for db in [&hq, &branch] {
        db.exec("select syncjournal.track_all()");
    }
    branch.exec("select syncjournal.alter_peer('hq', constraints => 'enforce')");
    (hq, branch)
}

const FAMILY: &str = "create table parent (id int primary key, label text);
    create table child (id int primary key, parent_id int, label text)";
const KEY: &str = "alter table child add constraint of_parent
    foreign key (parent_id) references parent";

fn waiting(db: &Db) -> Vec<String> {
    db.column(
        "select concat_ws(' ', sqlstate, relation, op, new ->> 'id') from syncjournal.quarantine
         order by version",
    )
}

fn ids(db: &Db, table: &str) -> Vec<i32> {
    db.column(&format!("select id from {table} order by id"))
}

#[track_caller]
fn all_same(hq: &Db, branch: &Db) {
    assert_eq!(waiting(branch), Vec::<String>::new());
    let tables: Vec<String> = hq.column("select relation::text from syncjournal.tracked_table");
    for table in tables {
        assert_same_rows(hq, branch, &table);
    }
}

#[test]
fn a_child_waits_for_its_parent_and_the_rest_goes_on() {
    let (hq, branch) = nodes(FAMILY, KEY);
    hq.exec("insert into parent values (1); insert into child values (1, 1), (2, 7), (3, null)");
    carry(&hq, &branch, "changes");
    assert_eq!(ids(&branch, "child"), [1, 3]);
    assert_eq!(waiting(&branch), ["23503 public.child INSERT 2"]);
    let error = branch.text("select error from syncjournal.quarantine");
    assert_eq!(
        error,
        "insert or update on table \"child\" violates foreign key constraint \"of_parent\": \
         Key (parent_id)=(7) is not present in table \"parent\"."
    );
    // What follows of the row waits with it.
    hq.exec("update child set label = 'later' where id = 2; insert into child values (4, 1)");
    carry(&hq, &branch, "changes");
    assert_eq!(ids(&branch, "child"), [1, 3, 4]);
    assert_eq!(waiting(&branch).len(), 2);
    hq.exec("insert into parent values (7)");
    carry(&hq, &branch, "changes");
    all_same(&hq, &branch);
}

#[test]
fn a_tree_without_its_root_waits_as_a_whole() {
    let (hq, branch) = nodes(
        "create table item (id int primary key, above int)",
        "alter table item add constraint above foreign key (above) references item",
    );
    hq.exec("insert into item select n, n - 1 from generate_series(2, 13) n");
    hq.exec("insert into item values (20, 20), (21, 20)");
    carry(&hq, &branch, "changes");
    assert_eq!(ids(&branch, "item"), [20, 21]);
    assert_eq!(waiting(&branch).len(), 12);
    hq.exec("insert into item values (1, null)");
    carry(&hq, &branch, "changes");
    all_same(&hq, &branch);
}

#[test]
fn a_parents_delete_waits_until_the_last_child_has_gone() {
    let (hq, branch) = nodes(FAMILY, &format!("{KEY} on delete cascade"));
    hq.exec("insert into parent values (1), (2), (3)");
    carry(&hq, &branch, "changes");
    branch.exec("insert into child values (10, 1), (11, 1), (20, 2)");
    hq.exec("delete from parent where id < 3; insert into parent values (4)");
    carry(&hq, &branch, "changes");
    assert_eq!(ids(&branch, "parent"), [1, 2, 3, 4]);
    assert_eq!(ids(&branch, "child"), [10, 11, 20], "nothing is deleted for the parent's sake");
    assert_eq!(waiting(&branch), ["23503 public.parent DELETE", "23503 public.parent DELETE"]);

    // The children go by what arrives, or by hand.
    carry(&branch, &hq, "changes");
    hq.exec("delete from child where parent_id = 1");
    carry(&hq, &branch, "changes");
    assert_eq!(ids(&branch, "parent"), [2, 3, 4]);
    branch.exec("update child set parent_id = 3 where id = 20");
    assert_eq!(branch.query_one::<i64>("select syncjournal.retry_quarantine()"), 1);
    carry(&branch, &hq, "changes");
    all_same(&hq, &branch);
}

#[test]
fn a_parents_new_key_waits_like_a_delete() {
    let (hq, branch) = nodes(FAMILY, KEY);
    hq.exec("insert into parent values (1); insert into child values (1, 1)");
    carry(&hq, &branch, "changes");
    hq.exec("update parent set id = 2");
    carry(&hq, &branch, "changes");
    assert_eq!(ids(&branch, "parent"), [1]);
    assert_eq!(waiting(&branch).len(), 1);
    hq.exec("update child set parent_id = 2");
    carry(&hq, &branch, "changes");
    all_same(&hq, &branch);
}

#[test]
fn a_truncate_waits_too() {
    let (hq, branch) = nodes(FAMILY, KEY);
    hq.exec("insert into parent values (1), (2); insert into child values (1, 1), (2, 2)");
    carry(&hq, &branch, "changes");
    hq.exec("truncate parent; insert into parent values (3)");
    carry(&hq, &branch, "changes");
    assert_eq!(ids(&branch, "parent"), [1, 2, 3]);
    assert_eq!(waiting(&branch), ["23503 public.parent TRUNCATE"]);
    hq.exec("truncate child");
    carry(&hq, &branch, "changes");
    all_same(&hq, &branch);
}

#[test]
fn children_of_a_row_that_waits_wait_with_it() {
    let (hq, branch) = nodes(FAMILY, &format!("{KEY}; create unique index on parent (label)"));
    branch.exec("insert into parent values (50, 'taken')");
    hq.exec("insert into parent values (1, 'taken'), (2, 'free')");
    hq.exec("insert into child values (1, 1), (2, 2)");
    carry(&hq, &branch, "changes");
    assert_eq!(ids(&branch, "child"), [2]);
    assert_eq!(waiting(&branch), ["23505 public.parent INSERT 1", "23503 public.child INSERT 1"]);
    branch.exec("update parent set label = 'given up' where id = 50");
    branch.exec("select syncjournal.retry_quarantine()");
    carry(&branch, &hq, "changes");
    all_same(&hq, &branch);
}

#[test]
fn checks_hold_whatever_is_said_of_the_peer() {
    for constraints in ["trust", "enforce"] {
        let check = "alter table parent add constraint positive check (id > 0);
            alter table parent alter label set not null";
        let (hq, branch) = nodes(FAMILY, check);
        branch
            .exec(&format!("select syncjournal.alter_peer('hq', constraints => '{constraints}')"));
        hq.exec("insert into parent values (1, 'a'), (-2, 'b'), (3, null), (4, 'd')");
        carry(&hq, &branch, "changes");
        assert_eq!(ids(&branch, "parent"), [1, 4]);
        assert_eq!(
            waiting(&branch),
            ["23514 public.parent INSERT -2", "23502 public.parent INSERT 3"]
        );
        hq.exec(
            "update parent set id = 2 where id < 0; update parent set label = 'c' where id = 3",
        );
        carry(&hq, &branch, "changes");
        all_same(&hq, &branch);
    }
}

#[test]
fn a_full_set_is_verified_as_well() {
    let (hq, branch) = nodes(FAMILY, KEY);
    hq.exec("insert into child values (1, 1), (2, 7); insert into parent values (1)");
    carry(&hq, &branch, "full");
    assert_eq!(ids(&branch, "child"), [1]);
    assert_eq!(waiting(&branch).len(), 1);
    hq.exec("insert into parent values (7)");
    carry(&hq, &branch, "full");
    carry(&hq, &branch, "changes");
    all_same(&hq, &branch);
}
