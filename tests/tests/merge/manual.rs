//! Conflicts that a person settles.

use syncjournal_tests::{Db, carry};

use super::{ROW, assert_all_same, conflicts, delete, row, set, spread, three, two};

const MANUAL: &str = "conflict_policy => 'manual'";

fn pending(db: &Db) -> i64 {
    db.query_one("select count(*) from syncjournal.conflict where status = 'pending'")
}

fn resolve(db: &Db, choice: &str) {
    db.exec(&format!(
        "select syncjournal.resolve_conflict(conflict_id, {choice})
         from syncjournal.conflict where status = 'pending'"
    ));
}

/// Both have changed the row, and each has the other's change in its inbox.
fn forked() -> (Db, Db) {
    let (a, b) = two(MANUAL);
    set(&a, "label = 'a'");
    set(&b, "label = 'b'");
    spread(&[&a, &b]);
    assert_eq!((row(&a), row(&b)), ("a 10 1".to_owned(), "b 10 1".to_owned()));
    assert_eq!((pending(&a), pending(&b)), (1, 1));
    (a, b)
}

#[test]
fn the_row_stays_and_the_other_waits_with_its_base() {
    let (a, _b) = forked();
    let told = a.rows(
        "select conflict_type, base ->> 'label', local ->> 'label', remote ->> 'label', winner
         from syncjournal.conflict",
    );
    let text = |s: &str| Some(s.to_owned());
    let kind = text("update_origin_differs");
    assert_eq!(told, [vec![kind, text("both"), text("a"), text("b"), None]]);
}

#[test]
fn each_choice_travels_and_settles_the_others_inbox() {
    for (choice, end, here, there) in [
        ("'local'", "a 10 1", "local", "remote"),
        ("'remote'", "b 10 1", "remote", "local"),
        ("'row', '{\"label\": \"own\", \"n\": 7}'", "own 7 1", "merged", "merged"),
    ] {
        let (a, b) = forked();
        resolve(&a, choice);
        assert_eq!(row(&a), end);
        spread(&[&a, &b]);
        assert_all_same(&[&a, &b]);
        assert_eq!((pending(&a), pending(&b)), (0, 0));
        assert_eq!(conflicts(&a), [format!("update_origin_differs {here} resolved")]);
        assert_eq!(conflicts(&b), [format!("update_origin_differs {there} resolved")]);
        let op = a.text(&format!(
            "select string_agg(op, ' ' order by version)
             from syncjournal.history('item', '{ROW}')"
        ));
        assert_eq!(op, "INSERT UPDATE UPDATE MERGE");
        set(&b, "n = 99");
        spread(&[&a, &b]);
        assert_all_same(&[&a, &b]);
    }
}

#[test]
fn later_changes_move_the_waiting_head_along() {
    let (a, b) = forked();
    set(&b, "label = 'b2'");
    set(&b, "price = 5");
    spread(&[&a, &b]);
    assert_eq!((pending(&a), conflicts(&a).len()), (1, 1), "one conflict");
    assert_eq!(a.text("select remote ->> 'label' from syncjournal.conflict"), "b2");
    // The row is changed here meanwhile, too.
    set(&a, "n = 11");
    resolve(&a, "'remote'");
    assert_eq!(row(&a), "b2 10 5");
    spread(&[&a, &b]);
    assert_all_same(&[&a, &b]);
    assert_eq!((pending(&a), pending(&b)), (0, 0));
}

#[test]
fn a_row_changed_meanwhile_is_the_local_side() {
    let (a, b) = forked();
    set(&a, "label = 'a2'");
    resolve(&a, "'local'");
    spread(&[&a, &b]);
    assert_all_same(&[&a, &b]);
    assert_eq!(row(&b), "a2 10 1");
    assert_eq!((pending(&a), pending(&b)), (0, 0));
}

#[test]
fn a_deleted_side_can_be_chosen_and_a_deleted_row_kept() {
    for (choice, end) in [("'local'", ""), ("'remote'", "b 10 1")] {
        let (a, b) = two(MANUAL);
        delete(&a);
        set(&b, "label = 'b'");
        spread(&[&a, &b]);
        assert_eq!(conflicts(&a), ["update_deleted pending"]);
        assert_eq!(conflicts(&b), ["delete_origin_differs pending"]);
        resolve(&a, choice);
        spread(&[&a, &b]);
        assert_all_same(&[&a, &b]);
        assert_eq!((row(&a), pending(&a), pending(&b)), (end.to_owned(), 0, 0));
    }
}

#[test]
fn a_third_node_learns_of_conflict_and_decision() {
    let (a, b, c) = three(MANUAL);
    set(&a, "label = 'a'");
    set(&b, "label = 'b'");
    set(&c, "label = 'c'");
    spread(&[&a, &b, &c]);
    assert_eq!((pending(&a), pending(&b), pending(&c)), (2, 2, 2));
    resolve(&c, "'local'");
    assert_eq!(pending(&c), 0);
    spread(&[&a, &b, &c]);
    assert_all_same(&[&a, &b, &c]);
    assert_eq!((pending(&a), pending(&b)), (0, 0));
    assert_eq!(row(&a), "c 10 1");
}

#[test]
fn two_decisions_at_once_are_a_conflict_again() {
    let (a, b) = forked();
    resolve(&a, "'local'");
    resolve(&b, "'local'");
    spread(&[&a, &b]);
    assert_eq!((pending(&a), pending(&b)), (1, 1));
    resolve(&b, "'local'");
    spread(&[&a, &b]);
    assert_all_same(&[&a, &b]);
    assert_eq!((row(&a), pending(&a), pending(&b)), ("b 10 1".to_owned(), 0, 0));
}

#[test]
fn what_cannot_be_done_says_why() {
    let (a, b) = forked();
    let number = a.text("select conflict_id from syncjournal.conflict");
    let fails =
        |call: &str| a.expect_error(&format!("select syncjournal.resolve_conflict({call})"));
    assert_eq!(fails("0, 'local'").sqlstate, "42704");
    assert_eq!(fails("null, 'local'").sqlstate, "42704");
    for call in ["'mine'", "null", "'row'", "'local', '{}'"] {
        assert_eq!(fails(&format!("{number}, {call}")).sqlstate, "22023", "{call}");
    }
    assert_eq!(fails(&format!("{number}, 'row', '[1]'")).sqlstate, "22023");
    assert_eq!(fails(&format!("{number}, 'row', '{{\"lable\": 1}}'")).sqlstate, "42703");
    assert_eq!(fails(&format!("{number}, 'row', '{{\"n\": \"x\"}}'")).sqlstate, "22P02");
    resolve(&a, "'local'");
    let again = fails(&format!("{number}, 'local'"));
    assert_eq!(again.sqlstate, "55000", "{again:?}");
    drop(b);
}

#[test]
fn an_admin_needs_no_right_on_the_table() {
    let (a, b) = forked();
    let role = format!("admin_{}", a.name());
    a.exec(&format!("create role {role} login in role syncjournal_admin"));
    let mut admin = a.session_as(&role);
    let number: i64 = a.query_one("select conflict_id from syncjournal.conflict");
    admin.exec(&format!("select syncjournal.resolve_conflict({number}, 'remote')"));
    carry(&a, &b, "changes");
    assert_all_same(&[&a, &b]);
}
