//! Destinations that hold rows already.

use syncjournal_tests::{assert_same_rows, table_rows};

use super::{assert_clean, cloned, link, nodes, of_table, sync};

const ITEMS: &str = "
    create table item (id int primary key, label text unique);
    create table line (id int primary key, item int not null references item);";

#[test]
fn rows_of_both_sides_end_at_both() {
    let (hq, branch) = nodes(ITEMS);
    hq.exec(
        "insert into item select g, 'hq ' || g from generate_series(1, 300) g;
             insert into line select g, g from generate_series(1, 300) g",
    );
    branch.exec(
        "insert into item select g, 'branch ' || g from generate_series(1001, 1100) g;
                 insert into line select g, g from generate_series(1001, 1100) g",
    );
    let config = link(&hq, &branch, "direction = \"both\"");
    let report = cloned(&config);
    assert_eq!(of_table(&report, "public.item")["way"], "merge");
    assert_eq!(report.as_array().map(Vec::len), Some(2), "{report:#}");
    for table in ["item", "line"] {
        assert_same_rows(&hq, &branch, table);
        assert_eq!(table_rows(&hq, table).len(), 400);
    }
    assert_clean(&branch);
    assert_clean(&hq);
    hq.exec("update item set label = label || '!' where id > 1000");
    branch.exec("update item set label = label || '?' where id <= 1000");
    sync(&config);
    assert_same_rows(&hq, &branch, "item");
    let conflicts: i64 = branch.query_one("select count(*) from syncjournal.conflict");
    assert_eq!(conflicts, 0);
}

#[test]
fn a_row_that_does_not_fit_goes_to_quarantine_and_the_others_come() {
    let (hq, branch) = nodes(ITEMS);
    branch.exec("alter table item add check (label <> 'bad')");
    hq.exec(
        "insert into item select g, 'hq ' || g from generate_series(1, 50) g;
             insert into item values (51, 'bad')",
    );
    let finished = super::command(&link(&hq, &branch, "")).arg("--json").finish();
    assert_eq!(finished.code, Some(3), "{finished:#?}");
    let report = super::json(&finished);
    assert_eq!(of_table(&report, "public.item")["digest"], "different");
    assert_eq!(of_table(&report, "public.item")["quarantined"], 1);
    let there: i64 = branch.query_one("select count(*) from item");
    assert_eq!(there, 50);
    assert_eq!(branch.text("select sqlstate from syncjournal.quarantine"), "23514");
    assert_clean(&branch);
}

#[test]
fn a_constraint_that_only_the_destination_has_is_met_at_the_end() {
    let (hq, branch) = nodes("create table item (id int primary key, label text);");
    branch.exec("create unique index on item (label)");
    hq.exec(
        "insert into item select g, 'same' from generate_series(1, 3) g;
             insert into item select g, 'x' || g from generate_series(4, 40) g",
    );
    let finished = super::command(&link(&hq, &branch, "")).arg("--json").finish();
    assert_eq!(finished.code, Some(3), "{finished:#?}");
    let held: i64 = branch.query_one("select count(*) from syncjournal.quarantine");
    let there: i64 = branch.query_one("select count(*) from item");
    assert_eq!(held + there, 40);
    assert!(there >= 37 && held >= 2, "{there} there, {held} held");
}

#[test]
fn a_clone_of_what_is_there_already_changes_nothing() {
    let (hq, branch) = nodes(ITEMS);
    hq.exec("insert into item select g, 'hq ' || g from generate_series(1, 300) g");
    let config = link(&hq, &branch, "");
    cloned(&config);
    let before = table_rows(&branch, "item");
    let report = cloned(&config);
    assert_eq!(of_table(&report, "public.item")["skipped"], 300);
    assert_eq!(table_rows(&branch, "item"), before);
}

#[test]
fn enforced_foreign_keys_are_looked_at_row_by_row_with_parents_first() {
    let (hq, branch) = nodes(ITEMS);
    hq.exec(
        "insert into item select g, 'hq ' || g from generate_series(1, 100) g;
             insert into line select g, g from generate_series(1, 100) g",
    );
    let report = cloned(&link(&hq, &branch, "constraints = \"enforce\""));
    for table in ["item", "line"] {
        assert_same_rows(&hq, &branch, table);
        assert_eq!(of_table(&report, &format!("public.{table}"))["way"], "merge");
    }
}

#[test]
fn a_third_node_gets_what_was_cloned() {
    let (hq, branch) = nodes(ITEMS);
    branch.exec("select syncjournal.add_peer('third', direction => 'send')");
    hq.exec("insert into item values (1, 'one')");
    let report = cloned(&link(&hq, &branch, ""));
    assert_eq!(of_table(&report, "public.item")["way"], "merge");
    let passed: i64 = branch.query_one("select sum(entries)::int8 from syncjournal.journal_frame");
    assert_eq!(passed, 1);
}
