//! Tables of which a peer has a part.

use syncjournal_tests::Db;

use super::resume::kill_after;
use super::{assert_clean, cloned, command, json, link, nodes, of_table, sync};

const ITEM: &str = "
    create table item (id int8 primary key, region text, amount int default 0, filler text);
    create table \"Whole One\" (id int primary key, label text);";

/// Every other row is of the north.
fn sliced() -> (Db, Db) {
    let (hq, branch) = nodes(ITEM);
    hq.exec(
        "insert into item
             select g, case g % 2 when 0 then 'north' else 'south' end, g, repeat(md5(g::text), 6)
             from generate_series(1, 20000) g;
         insert into \"Whole One\" select g, 'y' from generate_series(1, 10) g;
         select syncjournal.create_slice('north', 'item', $$region = 'north'$$);
         select syncjournal.create_slice('south', 'item', $$region = 'south'$$)",
    );
    (hq, branch)
}

#[track_caller]
fn assert_part(hq: &Db, branch: &Db, condition: &str) {
    let state = |condition: &str| {
        format!(
            "select count(*) || ' ' || coalesce(sum(hashtextextended(i::text, 0)), 0) from item i
             where {condition}"
        )
    };
    assert_eq!(hq.text(&state(condition)), branch.text(&state("true")));
    let quiet: i64 = branch.query_one(
        "select (select count(*) from syncjournal.conflict)
              + (select count(*) from syncjournal.quarantine)",
    );
    assert_eq!(quiet, 0);
    assert_clean(branch);
}

#[test]
fn a_part_of_a_table_comes_and_is_compared_with_that_part() {
    let (hq, branch) = sliced();
    let config = link(&hq, &branch, "slices = [\"north\"]");
    let report = cloned(&config);
    assert_eq!(of_table(&report, "public.item")["way"], "fill");
    assert_eq!(of_table(&report, "public.item")["digest"], "equal");
    assert_eq!(of_table(&report, "public.item")["inserted"], 10_000);
    assert_eq!(of_table(&report, "public.Whole One")["inserted"], 10);
    assert_part(&hq, &branch, "region = 'north'");
    // Then it goes on by the journal.
    hq.exec(
        "update item set region = 'south' where id = 2; update item set region = 'north' where id = 3;
         update item set amount = 0 where id < 100; delete from item where id = 4",
    );
    sync(&config);
    assert_part(&hq, &branch, "region = 'north'");
}

/// Rows go out and come in, with others in their places.
fn moves(hq: &Db) {
    hq.exec(
        "update item set region = 'south' where id % 6 = 0;
         update item set region = 'north' where id % 9 = 1;
         delete from item where id % 10 = 2",
    );
    hq.exec("vacuum item");
    hq.exec(
        "insert into item select g, 'north', 0, repeat('z', 150) from generate_series(30001, 31000) g;
         update item set amount = amount + 1 where id % 7 = 0",
    );
}

#[test]
fn a_row_that_left_its_slice_between_two_runs_is_gone() {
    let (hq, branch) = sliced();
    let config = link(&hq, &branch, "slices = [\"north\"]");
    kill_after(&config, &branch, 2);
    moves(&hq);
    let report = cloned(&config);
    assert_eq!(of_table(&report, "public.item")["way"], "fill");
    assert_eq!(of_table(&report, "public.item")["digest"], "equal");
    assert_part(&hq, &branch, "region = 'north'");
}

#[test]
fn a_row_that_left_its_slice_while_a_clone_merges_is_gone() {
    let (hq, branch) = sliced();
    branch.exec("insert into item values (-1, 'north', 0, 'own')");
    let config = link(&hq, &branch, "slices = [\"north\"]\ndirection = \"both\"");
    kill_after(&config, &branch, 2);
    moves(&hq);
    let finished = command(&config).arg("--json").finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    assert_eq!(of_table(&json(&finished), "public.item")["digest"], "by slices");
    assert_part(&hq, &branch, "region = 'north'");
}

#[test]
fn slices_that_change_between_two_runs_are_those_that_count() {
    let (hq, branch) = sliced();
    kill_after(&link(&hq, &branch, "slices = [\"north\"]"), &branch, 2);
    let report = cloned(&link(&hq, &branch, "slices = [\"south\"]"));
    assert_eq!(of_table(&report, "public.item")["digest"], "equal");
    assert_part(&hq, &branch, "region = 'south'");
    hq.exec("update item set amount = amount + 1 where id < 50");
    sync(&link(&hq, &branch, "slices = [\"south\"]"));
    assert_part(&hq, &branch, "region = 'south'");
}
