//! Counters: concurrent differences add up under any policy.

use syncjournal_tests::{Db, pair};

use super::{assert_all_same, conflicts, row, set, spread, three, two};

#[test]
fn concurrent_differences_are_added_each_once() {
    for policy in ["last_update_wins", "first_update_wins", "merge_columns", "manual"] {
        let (a, b, c) =
            three(&format!("conflict_policy => '{policy}', counters => '{{n, price}}'"));
        set(&a, "n = n + 1");
        set(&b, "n = n + 10, price = price + 0.5");
        set(&c, "n = n - 100");
        set(&a, "n = n + 1");
        spread(&[&a, &b, &c]);
        assert_all_same(&[&a, &b, &c]);
        assert_eq!(row(&a), "both -78 1.5", "{policy}");
        assert!(conflicts(&a).is_empty(), "counting is no conflict: {:?}", conflicts(&a));
        set(&b, "n = n + 1000");
        spread(&[&a, &b, &c]);
        assert_all_same(&[&a, &b, &c]);
        assert_eq!(row(&c), "both 922 1.5", "{policy}");
    }
}

#[test]
fn null_counts_as_zero_and_the_rest_of_the_row_has_its_policy() {
    let (a, b) = two("conflict_policy => 'last_update_wins', counters => '{n}'");
    set(&a, "n = null");
    spread(&[&a, &b]);
    set(&a, "n = 5, label = 'a'");
    set(&b, "n = 7, label = 'b'");
    spread(&[&a, &b]);
    assert_all_same(&[&a, &b]);
    assert_eq!(row(&a), "b 12 1");
}

#[test]
fn every_type_of_counter_counts() {
    let (a, b) = pair();
    syncjournal_tests::introduce(&[(&a, "a"), (&b, "b")]);
    let nodes: [&Db; 2] = [&a, &b];
    for db in nodes {
        db.exec(
            "create table tally (id uuid primary key, s int2, i int4, l int8, d numeric,
                 f float4, g float8);
             select syncjournal.track('tally', counters => '{s,i,l,d,f,g}')",
        );
    }
    a.exec("insert into tally values (gen_random_uuid(), 1, 1, 1, 1, 1, 1)");
    spread(&nodes);
    a.exec("update tally set s = s + 1, i = i + 1, l = l + 1, d = d + 1, f = f + 1, g = g + 1");
    b.exec("update tally set s = s + 2, i = i + 2, l = l + 2, d = d + 2, f = f + 2, g = g + 2");
    spread(&nodes);
    let sums = "select concat_ws(' ', s, i, l, d, f, g) from tally";
    assert_eq!((a.text(sums), b.text(sums)), ("4 4 4 4 4 4".to_owned(), "4 4 4 4 4 4".to_owned()));
}
