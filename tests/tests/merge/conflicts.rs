//! Each type of conflict that a row has with its own past, by Postgres's names, with what the three
//! sides were.

use syncjournal_tests::{Db, apply_set, carry, confirm_set};

use super::{ROW, assert_all_same, delete, row, set, spread, three, two};

const LAST: &str = "conflict_policy => 'last_update_wins'";

/// The conflicts of a node: type, winner, labels of base, local and remote.
fn told(db: &Db) -> Vec<String> {
    let labels = ["base", "local", "remote"]
        .map(|side| format!("coalesce({side} ->> 'label', '-')"))
        .join(", ");
    db.column(&format!(
        "select concat_ws(' ', conflict_type, coalesce(winner, '?'), {labels})
         from syncjournal.conflict order by conflict_id"
    ))
}

#[test]
fn insert_exists() {
    let (a, b) = two(LAST);
    let other = "00000000-0000-4000-8000-000000000002";
    a.exec(&format!("insert into item values ('{other}', 'a', 1, 1)"));
    b.exec(&format!("insert into item values ('{other}', 'b', 1, 1)"));
    spread(&[&a, &b]);
    assert_all_same(&[&a, &b]);
    assert_eq!(told(&b), ["insert_exists local - b a"]);
    assert_eq!(told(&a), ["insert_exists remote - a b"]);
}

#[test]
fn update_origin_differs() {
    let (a, b) = two(LAST);
    set(&a, "label = 'a'");
    set(&b, "label = 'b'");
    spread(&[&a, &b]);
    assert_eq!(told(&b), ["update_origin_differs local both b a"]);
    assert_eq!(told(&a), ["update_origin_differs remote both a b"]);
}

#[test]
fn update_deleted_and_delete_origin_differs() {
    let (a, b) = two(LAST);
    set(&a, "label = 'a'");
    delete(&b);
    spread(&[&a, &b]);
    assert_all_same(&[&a, &b]);
    assert_eq!(row(&a), "");
    assert_eq!(told(&b), ["update_deleted local both - a"]);
    assert_eq!(told(&a), ["delete_origin_differs remote both a -"]);
}

#[test]
fn a_later_update_brings_a_deleted_row_back() {
    let (a, b) = two(LAST);
    delete(&b);
    set(&a, "label = 'a'");
    spread(&[&a, &b]);
    assert_all_same(&[&a, &b]);
    assert_eq!(row(&b), "a 10 1");
    assert_eq!(told(&b), ["update_deleted remote both - a"]);
    assert_eq!(told(&a), ["delete_origin_differs local both a -"]);
}

#[test]
fn delete_missing_leaves_a_tombstone() {
    let (a, b, c) = three(LAST);
    // Only the table's later life goes to c: it never heard of the row.
    let other = "00000000-0000-4000-8000-000000000002";
    a.exec(&format!("insert into item values ('{other}', 'a', 1, 1)"));
    let without = "syncjournal.prep_sync('c', exclude => '{public.item}')";
    let parts: Vec<Vec<u8>> = a.column(&format!("select data from {without} order by part"));
    apply_set(&c, &parts);
    confirm_set(&a, &parts);
    a.exec(&format!("delete from item where id = '{other}'"));
    let applied = carry(&a, &c, "changes");
    assert_eq!((applied.deleted, applied.conflicts), (0, 1));
    assert_eq!(told(&c), ["delete_missing remote - - a"]);
    let stones: i64 = c
        .query_one(&format!("select count(*) from syncjournal.tombstone where row_id = '{other}'"));
    assert_eq!(stones, 1);
    // The insert comes late by another way: it does not bring the row back.
    carry(&a, &b, "changes");
    carry(&b, &c, "changes");
    assert_eq!(c.query_one::<i64>("select count(*) from item"), 1);
    assert_all_same(&[&a, &b, &c]);
}

#[test]
fn one_pair_of_heads_is_told_once() {
    let (a, b) = two(LAST);
    set(&a, "label = 'a1'");
    set(&a, "label = 'a2'");
    set(&a, "label = 'a3'");
    set(&b, "label = 'b'");
    for _ in 0..3 {
        spread(&[&a, &b]);
    }
    assert_eq!(told(&b), ["update_origin_differs local both b a3"]);
    assert_eq!(told(&a), ["update_origin_differs remote both a3 b"]);
    let none = told(&a).len() + told(&b).len();
    set(&b, "label = 'on top'");
    spread(&[&a, &b]);
    assert_eq!(told(&a).len() + told(&b).len(), none, "what follows on is no conflict");
    assert_eq!(row(&a), "on top 10 1");
    let shown: i64 = a.query_one(&format!(
        "select count(*) from syncjournal.conflict where row_id = '{ROW}'
             and policy = 'last_update_wins' and relation = 'public.item' and peer = 'b'
             and local ? 'price' and not local ? 'sync_version'"
    ));
    assert_eq!(shown, 1);
}
