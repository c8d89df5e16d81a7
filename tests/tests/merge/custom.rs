//! Merges by a function of the users'.

use syncjournal_tests::Db;

use super::{ROW, assert_all_same, conflicts, delete, row, set, spread, track};

fn function(nodes: &[&Db], body: &str) {
    for db in nodes {
        db.exec(&format!(
            "create function settle(base jsonb, local jsonb, remote jsonb) returns jsonb
             language plpgsql as $$ begin {body} end $$"
        ));
    }
    track(nodes, "conflict_policy => 'custom', merge_function => 'settle'");
}

fn named() -> (Db, Db, Db) {
    let (a, b, c) = syncjournal_tests::triple();
    syncjournal_tests::introduce(&[(&a, "a"), (&b, "b"), (&c, "c")]);
    (a, b, c)
}

#[test]
fn the_function_sees_base_local_and_remote() {
    let (a, b, _c) = named();
    function(
        &[&a, &b],
        "if base ? 'sync_version' then raise 'our own column is shown'; end if;
         return local || jsonb_build_object('label', concat_ws('+', base ->> 'label',
             least(local ->> 'label', remote ->> 'label'),
             greatest(local ->> 'label', remote ->> 'label')));",
    );
    set(&a, "label = 'a'");
    set(&b, "label = 'b'");
    spread(&[&a, &b]);
    assert_all_same(&[&a, &b]);
    assert_eq!(row(&a), "both+a+b 10 1");
    assert_eq!(conflicts(&b), ["update_origin_differs merged resolved"]);
}

#[test]
fn numbers_that_a_function_gives_keep_all_their_digits() {
    let (a, b, _c) = named();
    function(
        &[&a, &b],
        "return case when (local ->> 'price')::numeric > (remote ->> 'price')::numeric
             then local else remote end;",
    );
    set(&a, "price = 1");
    set(&b, "price = 12345678901234567890.123456789000");
    spread(&[&a, &b]);
    for db in [&a, &b] {
        let price = db.text("select price::text from item");
        assert_eq!(price, "12345678901234567890.123456789000");
    }
}

#[test]
fn a_function_that_answers_otherwise_on_every_node_ends_all_the_same() {
    let (a, b, c) = named();
    let nodes = [&a, &b, &c];
    function(
        &nodes,
        "return local || jsonb_build_object('label', left(concat(local ->> 'label', remote ->> 'label',
             (select node_id from syncjournal.node where is_local)), 100));",
    );
    for round in 0..3 {
        for (db, name) in [(&a, 'a'), (&b, 'b'), (&c, 'c')] {
            set(db, &format!("label = '{name}{round}'"));
        }
        // Both merge the same two heads, each in its own way, before they hear of each other.
        let (from_a, from_b) = (
            syncjournal_tests::prepare_set(&a, &b, "changes"),
            syncjournal_tests::prepare_set(&b, &a, "changes"),
        );
        syncjournal_tests::apply_set(&b, &from_a);
        syncjournal_tests::apply_set(&a, &from_b);
        spread(&nodes);
        assert_all_same(&nodes);
    }
    let merges: i64 = a.query_one(&format!(
        "select count(*) from syncjournal.change where op = 'MERGE' and row_id = '{ROW}'"
    ));
    assert!((3..=18).contains(&merges), "{merges} merges");
}

#[test]
fn null_deletes_the_row_and_a_side_that_is_gone_is_null() {
    let (a, b, _c) = named();
    function(
        &[&a, &b],
        "if local is null or remote is null then return null; end if; return local;",
    );
    set(&a, "label = 'a'");
    delete(&b);
    spread(&[&a, &b]);
    assert_all_same(&[&a, &b]);
    assert_eq!(row(&a), "");
}

#[test]
fn columns_that_the_function_leaves_out_stay() {
    let (a, b, _c) = named();
    function(&[&a, &b], "return jsonb_build_object('n', 77);");
    set(&a, "label = 'a'");
    set(&b, "price = 5");
    spread(&[&a, &b]);
    assert_all_same(&[&a, &b]);
    assert!(row(&a).contains("77"), "{}", row(&a));
}
