//! Deletes against updates, and what comes after a delete, under each policy.

use syncjournal_tests::carry;

use super::{ROW, assert_all_same, conflicts, delete, row, set, spread, three, two};

#[test]
fn deletes_meet_updates_under_each_policy() {
    for (policy, delete_first, end) in [
        ("last_update_wins", true, "b 10 1"),
        ("last_update_wins", false, ""),
        ("first_update_wins", true, ""),
        ("first_update_wins", false, "b 10 1"),
        ("merge_columns", true, "b 10 1"),
        ("merge_columns", false, ""),
    ] {
        for b_first in [false, true] {
            let (a, b, c) = three(&format!("conflict_policy => '{policy}'"));
            if delete_first {
                delete(&a);
            }
            set(&b, "label = 'b'");
            if !delete_first {
                delete(&a);
            }
            let (from, to) = if b_first { (&b, &a) } else { (&a, &b) };
            carry(from, to, "changes");
            carry(from, &c, "changes");
            spread(&[&a, &b, &c]);
            assert_all_same(&[&a, &b, &c]);
            assert_eq!(row(&c), end, "{policy}, the delete first: {delete_first}");
        }
    }
}

#[test]
fn a_row_comes_back_under_its_identity() {
    for policy in ["last_update_wins", "first_update_wins", "merge_columns", "manual"] {
        let (a, b, c) = three(&format!("conflict_policy => '{policy}'"));
        delete(&a);
        a.exec(&format!("insert into item values ('{ROW}', 'again', 1, 1)"));
        spread(&[&a, &b, &c]);
        assert_all_same(&[&a, &b, &c]);
        delete(&b);
        spread(&[&a, &b, &c]);
        c.exec(&format!("insert into item values ('{ROW}', 'third life', 3, 3)"));
        spread(&[&a, &b, &c]);
        assert_all_same(&[&a, &b, &c]);
        assert_eq!(row(&a), "third life 3 3");
        assert!(conflicts(&a).is_empty() && conflicts(&c).is_empty(), "{policy}");
        let stones: i64 = a.query_one("select count(*) from syncjournal.tombstone");
        assert_eq!(stones, 0, "a row that is here has no tombstone");
    }
}

#[test]
fn a_tombstone_is_no_way_back_for_what_is_older() {
    let (a, b, c) = three("conflict_policy => 'last_update_wins'");
    set(&b, "label = 'older'");
    set(&a, "label = 'newer'");
    delete(&a);
    carry(&a, &c, "changes");
    assert_eq!(row(&c), "");
    carry(&b, &c, "changes");
    assert_eq!(row(&c), "", "the older update came later");
    spread(&[&a, &b, &c]);
    assert_all_same(&[&a, &b, &c]);
    assert_eq!(row(&b), "");
}

#[test]
fn both_delete_and_one_writes_on() {
    let (a, b) = two("conflict_policy => 'merge_columns'");
    set(&a, "label = 'a'");
    delete(&a);
    delete(&b);
    spread(&[&a, &b]);
    assert_eq!((row(&a), row(&b)), (String::new(), String::new()));
    b.exec(&format!("insert into item values ('{ROW}', 'b', 2, 2)"));
    spread(&[&a, &b]);
    assert_all_same(&[&a, &b]);
    assert_eq!(row(&a), "b 2 2");
}
