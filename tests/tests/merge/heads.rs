//! Merges as entries: the same on every node that makes them, and readable.

use syncjournal_tests::{Db, apply_set, prepare_set};

use super::{ROW, assert_all_same, row, set, spread, three, two};

fn merges(db: &Db) -> Vec<String> {
    db.column(
        "select concat_ws(' ', version, prev, merged, new) from syncjournal.change
         where op = 'MERGE' order by version",
    )
}

/// Both apply what the other had before either heard of the other's merge.
fn cross(a: &Db, b: &Db) {
    let (to_b, to_a) = (prepare_set(a, b, "changes"), prepare_set(b, a, "changes"));
    apply_set(b, &to_b);
    apply_set(a, &to_a);
}

#[test]
fn two_nodes_that_merge_the_same_heads_make_the_same_entry() {
    for rules in [
        "conflict_policy => 'merge_columns'",
        "conflict_policy => 'last_update_wins', counters => '{n}'",
    ] {
        let (a, b) = two(rules);
        set(&a, "label = 'a', n = n + 1");
        set(&b, "price = 7, n = n + 2");
        cross(&a, &b);
        assert_eq!(merges(&a).len(), 1);
        assert_eq!(merges(&a), merges(&b));
        assert_all_same(&[&a, &b]);
        spread(&[&a, &b]);
        assert_eq!(merges(&a).len(), 1, "none is made of a merge and itself");
    }
}

#[test]
fn where_one_side_wins_whole_no_entry_is_made() {
    let (a, b, c) = three("conflict_policy => 'last_update_wins'");
    set(&a, "label = 'a'");
    set(&b, "label = 'b'");
    set(&c, "label = 'c'");
    spread(&[&a, &b, &c]);
    assert_eq!(row(&b), "c 10 1");
    let all: i64 = c.query_one("select count(*) from syncjournal.change");
    assert_eq!(all, 4, "the insert and three updates");
    for db in [&a, &b, &c] {
        let told: Vec<String> = db.column(&format!(
            "select coalesce(new ->> 'label', '-') from syncjournal.history('item', '{ROW}')"
        ));
        assert_eq!(told, ["both", "a", "b", "c"], "what was set aside can be read");
    }
}

#[test]
fn history_tells_of_forks_and_merges_oldest_first() {
    let (a, b) = two("conflict_policy => 'merge_columns'");
    set(&a, "label = 'a'");
    set(&b, "n = 20");
    spread(&[&a, &b]);
    set(&a, "price = 3");
    spread(&[&a, &b]);
    let told = b.rows(&format!(
        "with h as (select row_number() over (order by version) as place, *
             from syncjournal.history('item', '{ROW}'))
         select h.op, h.node, p.place, m.place from h
             left join h p on p.version = h.prev left join h m on m.version = h.merged
         order by h.place"
    ));
    let told: Vec<String> = told
        .into_iter()
        .map(|fields| {
            let texts: Vec<String> = fields.into_iter().map(|f| f.unwrap_or_default()).collect();
            texts.join(" ").trim_end().to_owned()
        })
        .collect();
    assert_eq!(
        told,
        ["INSERT a", "UPDATE a 1", "UPDATE b 1", "MERGE  3 2", "UPDATE a 4"],
        "a merge is nobody's: whoever merges the same makes the same"
    );
    let versions: Vec<String> =
        a.column(&format!("select version::text from syncjournal.history('item', '{ROW}')"));
    let there: Vec<String> =
        b.column(&format!("select version::text from syncjournal.history('item', '{ROW}')"));
    assert_eq!(versions, there, "the same past on both");
}

#[test]
fn a_merge_reaches_a_node_that_lacks_one_of_its_branches() {
    // c has the row from a full set and was never told its past.
    let (a, b, c) = syncjournal_tests::triple();
    syncjournal_tests::introduce(&[(&a, "a"), (&b, "b"), (&c, "c")]);
    super::track(&[&a, &b], "conflict_policy => 'merge_columns'");
    set(&a, "label = 'a'");
    set(&b, "n = 20");
    spread(&[&a, &b]);
    c.exec("create table item (id uuid primary key, label text, n int default 0, price numeric)");
    c.exec("select syncjournal.track('item', conflict_policy => 'merge_columns')");
    syncjournal_tests::carry(&a, &c, "full");
    set(&c, "price = 3");
    set(&a, "label = 'a2'");
    set(&b, "n = 21");
    spread(&[&a, &b, &c]);
    assert_all_same(&[&a, &b, &c]);
    assert_eq!(row(&c), "a2 21 3");
}
