//! Each policy, two ways and three ways, in every order of arrival.

use syncjournal_tests::{Db, carry, introduce, triple};

use super::{assert_all_same, conflicts, delete, row, set, spread, three, track, two};

/// What becomes of a row that a, then b, then a again have changed, b and a apart.
fn outcome(rules: &str, b_first: bool) -> String {
    let (a, b) = two(rules);
    set(&a, "label = 'a1'");
    set(&b, "n = 20");
    set(&a, "price = 3");
    let (first, second) = if b_first { (&b, &a) } else { (&a, &b) };
    carry(first, second, "changes");
    carry(second, first, "changes");
    spread(&[&a, &b]);
    assert_all_same(&[&a, &b]);
    let merges: i64 = a.query_one("select count(*) from syncjournal.change where op = 'MERGE'");
    assert!(merges <= 1, "{merges} merges of one fork");
    row(&a)
}

#[test]
fn two_nodes_agree_under_every_policy_whichever_set_comes_first() {
    for b_first in [false, true] {
        let told = |rules: &str| outcome(rules, b_first);
        assert_eq!(told("conflict_policy => 'last_update_wins'"), "a1 10 3");
        assert_eq!(told("conflict_policy => 'first_update_wins'"), "a1 10 3");
        assert_eq!(told("conflict_policy => 'merge_columns'"), "a1 20 3");
        assert_eq!(told("conflict_policy => 'last_write_wins'"), "a1 10 3");
    }
}

#[test]
fn the_first_branch_wins_where_that_is_the_policy() {
    let (a, b) = two("conflict_policy => 'first_update_wins'");
    set(&b, "label = 'b first'");
    set(&a, "label = 'a later'");
    set(&b, "n = 11");
    spread(&[&a, &b]);
    assert_all_same(&[&a, &b]);
    assert_eq!(row(&a), "b first 11 1");
    assert_eq!(conflicts(&a), ["update_origin_differs remote resolved"]);
}

#[test]
fn the_preferred_node_wins() {
    let (a, b, c) = triple();
    let nodes = [&a, &b, &c];
    introduce(&[(&a, "a"), (&b, "b"), (&c, "c")]);
    let ids: Vec<String> = nodes
        .iter()
        .map(|db| db.text("select node_id from syncjournal.node where is_local"))
        .collect();
    for db in nodes {
        db.exec(&format!(
            "select syncjournal.set_node_priority(array['{}', '{}'])",
            ids[1], ids[2]
        ));
    }
    track(&nodes, "conflict_policy => 'node_priority'");
    set(&b, "label = 'b'");
    set(&c, "label = 'c'");
    set(&a, "label = 'a'");
    spread(&nodes);
    assert_all_same(&nodes);
    assert_eq!(row(&a), "b 10 1", "the node named first");
    set(&c, "label = 'c again'");
    set(&a, "label = 'a again'");
    spread(&nodes);
    assert_all_same(&nodes);
    assert_eq!(row(&a), "c again 10 1", "a node that is named, before one that is not");
}

/// Carries changes along the given arrows, and then to and fro until all is there.
fn by_way(nodes: [&Db; 3], arrows: &[(usize, usize)]) -> String {
    for (from, to) in arrows {
        carry(nodes[*from], nodes[*to], "changes");
    }
    spread(&nodes);
    assert_all_same(&nodes);
    row(nodes[0])
}

#[test]
fn three_nodes_agree_in_every_order_of_arrival() {
    let ways: [&[(usize, usize)]; 4] = [
        &[(0, 1), (1, 2), (2, 0)],
        &[(2, 1), (1, 0), (0, 2), (0, 1)],
        &[(1, 0), (2, 0), (0, 1), (0, 2)],
        &[(0, 2), (2, 1)],
    ];
    for (policy, end) in [
        ("last_update_wins", "both 30 1"),
        ("first_update_wins", "a 10 1"),
        ("merge_columns", "a 30 5"),
    ] {
        for arrows in ways {
            let (a, b, c) = three(&format!("conflict_policy => '{policy}'"));
            set(&a, "label = 'a'");
            set(&b, "n = 20, price = 5");
            set(&c, "n = 30");
            assert_eq!(by_way([&a, &b, &c], arrows), end, "{policy}");
        }
    }
}

#[test]
fn one_way_policies_keep_or_follow() {
    for (policy, end) in [("keep_local", "b 10 1"), ("apply_remote", "a 10 1")] {
        let (a, b) = syncjournal_tests::pair();
        a.exec("select syncjournal.create_node('a'); select syncjournal.add_peer('b')");
        b.exec("select syncjournal.create_node('b')");
        b.exec("select syncjournal.add_peer('a', direction => 'receive')");
        a.exec("select syncjournal.alter_peer('b', direction => 'send')");
        for db in [&a, &b] {
            db.exec("create table item (id uuid primary key, label text, n int, price numeric)");
            db.exec(&format!("select syncjournal.track('item', conflict_policy => '{policy}')"));
        }
        a.exec(&format!("insert into item values ('{}', 'both', 10, 1)", super::ROW));
        carry(&a, &b, "changes");
        set(&a, "label = 'a'");
        set(&b, "label = 'b'");
        carry(&a, &b, "changes");
        assert_eq!(row(&b), end, "{policy}");
        let winner = if policy == "keep_local" { "local" } else { "remote" };
        assert_eq!(conflicts(&b), [format!("update_origin_differs {winner} resolved")]);
    }
}

#[test]
fn equal_changes_are_no_conflict() {
    for policy in ["last_update_wins", "first_update_wins", "merge_columns", "manual"] {
        let (a, b) = two(&format!("conflict_policy => '{policy}'"));
        set(&a, "label = 'same'");
        set(&b, "label = 'same'");
        spread(&[&a, &b]);
        assert_eq!((conflicts(&a).len(), conflicts(&b).len()), (0, 0), "{policy}");
        assert_eq!(row(&a), row(&b));
        delete(&a);
        delete(&b);
        spread(&[&a, &b]);
        assert_eq!((conflicts(&a).len(), conflicts(&b).len()), (0, 0), "{policy}, deleted");
    }
}

#[test]
fn columns_merge_without_a_conflict_unless_both_changed_the_same() {
    let (a, b) = two("conflict_policy => 'merge_columns'");
    set(&a, "label = 'a'");
    set(&b, "n = 20");
    spread(&[&a, &b]);
    assert_eq!(row(&a), "a 20 1");
    assert!(conflicts(&a).is_empty() && conflicts(&b).is_empty());
    set(&a, "label = 'a2', n = 21");
    set(&b, "label = 'b2', price = 7");
    spread(&[&a, &b]);
    assert_all_same(&[&a, &b]);
    assert_eq!(row(&b), "b2 21 7");
    // Where the two met; the other was given the merge.
    assert_eq!(conflicts(&b), ["update_origin_differs merged resolved"]);
}
