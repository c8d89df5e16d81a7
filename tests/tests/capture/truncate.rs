//! TRUNCATE says what it took: this node's rows by its tag, other nodes' one by one.

use std::collections::BTreeSet;

use syncjournal_core::merge::TruncateSummary;
use syncjournal_core::{Operation, RowId, Version, frame};
use syncjournal_tests::Db;
use uuid::Uuid;

use super::{assert_replays, node, ops, steps, tracking};

/// The TRUNCATE entries of a table, decoded.
fn summaries(db: &Db, table: &str) -> Vec<(Version, TruncateSummary)> {
    let frames = db.rows(&format!(
        "select j.frame, encode(j.data, 'hex')
         from syncjournal.journal_frame j join syncjournal.relation_layout l on l.layout_id = j.layout
         where l.table_name = '{table}' order by j.frame"
    ));
    let mut found = Vec::new();
    for row in frames {
        let [id, data] = row.try_into().expect("two columns");
        let id: Uuid = id.expect("an id").parse().expect("a uuid");
        let hex = data.expect("data");
        let bytes: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal"))
            .collect();
        for entry in frame::entries(Version::from(id), &bytes) {
            let entry = entry.expect("well-formed");
            if entry.operation == Operation::Truncate {
                let summary = TruncateSummary::of_entry(&entry).expect("well-formed");
                found.push((entry.version, summary));
            }
        }
    }
    found
}

/// Rows by identity and version.
fn rows(db: &Db, table: &str) -> Vec<(RowId, Version)> {
    let sql = format!(
        "select coalesce(to_jsonb(t)->>'sync_id', to_jsonb(t)->>'id'), sync_version from {table} t"
    );
    let parse = |text: &str| text.parse::<Uuid>().expect("a uuid");
    let row = |row: Vec<Option<String>>| {
        let row_id = RowId::from(parse(row[0].as_deref().expect("an identity")));
        (row_id, row[1].as_deref().map_or(Version::NIL, |text| Version::from(parse(text))))
    };
    db.rows(&sql).into_iter().map(row).collect()
}

/// Gives rows versions of another node, as an apply would.
fn make_foreign(db: &Db, table: &str, condition: &str) {
    db.exec(&format!(
        "set syncjournal.capture = off; update {table} set sync_version =
             ('7000000000000000' || '00000007' || substr(md5(sync_id::text), 1, 8))::uuid
         where {condition}; reset syncjournal.capture"
    ));
}

#[test]
fn other_nodes_rows_are_listed_and_own_ones_are_not() {
    let db = tracking("t", "id int primary key, n int default 0");
    db.exec("insert into t select generate_series(1, 10)");
    make_foreign(&db, "t", "id <= 3");
    db.exec("set syncjournal.capture = off; update t set sync_version = null where id = 10");
    db.exec("reset syncjournal.capture");
    let before = rows(&db, "t");
    db.exec(
        "begin; update t set n = 1 where id = 5; savepoint a; truncate t; rollback to a; commit",
    );
    assert_eq!(summaries(&db, "t").len(), 0, "a savepoint took it back");
    db.exec("truncate t");
    let [(version, summary)] = &summaries(&db, "t")[..] else { panic!("one entry") };
    assert!(before.iter().all(|(row, at)| summary.contains(*row, *at)));
    assert_eq!(summary.encode()[1].len(), 3 * 32, "the rest goes without saying");
    let own =
        |time: u64| Version::new(syncjournal_core::HybridTime(time), version.node_tag(), 1, 0);
    assert!(summary.contains(RowId([9; 16]), own(version.time().0)));
    db.exec("insert into t values (1)");
    assert!(rows(&db, "t").iter().all(|(row, at)| !summary.contains(*row, *at)), "what came later");
    assert_replays(&db, "t");
}

#[test]
fn a_long_list_takes_several_entries() {
    let db = tracking("t", "id int primary key");
    db.exec("insert into t select generate_series(1, 60000)");
    make_foreign(&db, "t", "true");
    let before = rows(&db, "t");
    db.exec("truncate t");
    let found = summaries(&db, "t");
    assert_eq!(found.len(), 2);
    let versions: BTreeSet<_> = found.iter().map(|(version, _)| *version).collect();
    assert_eq!(versions.len(), 2);
    let in_one = |(row, at): &(RowId, Version)| {
        found.iter().filter(|(_, summary)| summary.contains(*row, *at)).count() == 1
    };
    assert!(before.iter().all(in_one));
    assert_eq!(ops(&db, "t").matches("TRUNCATE").count(), 2);
}

#[test]
fn a_partitioned_table_lists_the_rows_of_its_leaves() {
    let db = node();
    db.exec(
        "create table p (area text, id int generated always as identity, n int)
             partition by list (area);
         create table p_a partition of p for values in ('a');
         create table p_b partition of p for values in ('b') partition by range (n);
         create table p_b1 (n int, id int not null, area text);
         alter table p_b attach partition p_b1 for values from (0) to (100);
         create table p_rest partition of p default;
         create unique index on p (area, n);
         select syncjournal.track('p', natural_key => '{area,n}')",
    );
    db.exec(
        "insert into p (area, n) select a, g from unnest('{a,b,c}'::text[]) a,
        generate_series(1, 5) g",
    );
    make_foreign(&db, "p", "n < 3");
    let before = rows(&db, "p");
    db.exec("truncate p restart identity");
    let [(_, summary)] = &summaries(&db, "p")[..] else { panic!("one entry") };
    assert!(before.iter().all(|(row, at)| summary.contains(*row, *at)));
    assert_eq!(summary.encode()[1].len(), 6 * 32);
}

#[test]
fn each_table_of_a_statement_has_its_own_entry() {
    let db = tracking("t", "id int primary key");
    db.exec(
        "create table child (id int primary key references t); create table other (id int);
         create table untracked (id int references t);
         select syncjournal.track('child'); select syncjournal.track('other')",
    );
    db.exec("insert into t values (1), (2); insert into child values (1)");
    db.exec("insert into other values (1)");
    make_foreign(&db, "child", "true");
    db.exec("truncate other, t cascade");
    for (table, listed) in [("t", 0), ("child", 32), ("other", 0)] {
        let [(_, summary)] = &summaries(&db, table)[..] else { panic!("one entry for {table}") };
        assert_eq!(summary.encode()[1].len(), listed, "{table}");
    }
}

#[test]
fn a_lock_lost_with_a_savepoint_leaves_no_version_before_anothers_truncate() {
    let db = tracking("t", "id int primary key");
    let mut other = db.session();
    let mut early = 0;
    // What was opened before goes on for some fifty milliseconds: often enough it is within them.
    for _ in 0..5 {
        other.exec("begin; savepoint a; insert into t values (1); rollback to a");
        db.exec("truncate t");
        other.exec("insert into t values (1); commit");
        let (_, summary) = summaries(&db, "t").pop().expect("one entry");
        early += rows(&db, "t").iter().filter(|(row, at)| summary.contains(*row, *at)).count();
        steps(&db, &["delete from t"]);
    }
    assert_eq!(early, 0, "rows that the TRUNCATE would take at the peers");
}
