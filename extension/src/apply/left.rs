//! Rows that left the slices by which they came. Nothing of a leave is told to others, and the row
//! has no tombstone, for it is where it was elsewhere: that it is not missing here is noted apart.
//!
//! Who still has the row may go on to change it. Such a change is passed over: whether it brings the
//! row back is the source's to say, which then sends the row as it was when that came about. What had
//! been passed over until then, and is later, follows from the journal.

use syncjournal_core::{RowId, Version};

use super::entry::Table;
use super::quarantine::release_left;
use crate::pg::query::{self, Arg, View};

/// Rows of a relation have left by these versions, and are not here.
pub fn note(relation_id: i32, rows: &[(RowId, Version)]) {
    if rows.is_empty() {
        return;
    }
    let list = |items: Vec<String>| format!("{{{}}}", items.join(","));
    let versions = list(rows.iter().map(|(_, version)| version.to_string()).collect());
    let ids = list(rows.iter().map(|(row, _)| row.to_string()).collect());
    query::execute(
        "insert into syncjournal.left_row as l (relation_id, row_id, version) \
        select $1, r, max(v::text)::uuid from rows from (pg_catalog.unnest($2::uuid[]), \
            pg_catalog.unnest($3::uuid[])) as d (r, v) group by r \
        on conflict (relation_id, row_id) do update set version = excluded.version, \
            passed_over = array(select v from pg_catalog.unnest(l.passed_over) v \
                where v > excluded.version) \
        where excluded.version > l.version",
        &[Arg::Int4(relation_id), Arg::Text(&ids), Arg::Text(&versions)],
    );
    release_left(relation_id, &ids, &versions);
}

impl Table {
    /// Passes over a change of a row that is not here, if the row has left and nothing waits that
    /// would bring it back. What the change builds on comes with it, and need not be kept.
    pub fn pass_over(&mut self, row: RowId, version: Version) -> bool {
        let parents: Vec<String> =
            self.past.parents(row, version).map(|parent| parent.to_string()).collect();
        let changed = query::execute(
            "update syncjournal.left_row set passed_over = $3::uuid || array(\
                select v from pg_catalog.unnest(passed_over) v \
                where v <> all ($4::uuid[]) and v <> $3::uuid) \
            where relation_id = $1 and row_id = $2::uuid and not exists (\
                select from syncjournal.quarantined_entry q where q.row_id = $2::uuid)",
            &[
                Arg::Int4(self.target.relation_id),
                Arg::Text(&row.to_string()),
                Arg::Text(&version.to_string()),
                Arg::Text(&format!("{{{}}}", parents.join(","))),
            ],
        );
        changed > 0
    }

    /// Rows that had left and are here again: what was passed over meanwhile is to be settled.
    pub fn recall_left(&mut self) {
        if !std::mem::take(&mut self.brings_states) {
            return;
        }
        let relation_id = self.target.relation_id;
        let sql = "select l.row_id, v from syncjournal.left_row l, \
                pg_catalog.unnest(l.passed_over) v \
            where l.relation_id = $1 and l.passed_over <> '{}'";
        let mut passed_over: Vec<(RowId, Version)> = Vec::new();
        query::run(View::Newest, sql, &[Arg::Int4(relation_id)], |found| {
            let of = |column| found.uuid(column);
            passed_over.extend(of(1).map(RowId).zip(of(2).map(Version::from_bytes)));
        });
        passed_over.retain(|(row, _)| self.target.find(*row).is_some());
        for (row, _) in &passed_over {
            query::execute(
                "delete from syncjournal.left_row where relation_id = $1 and row_id = $2::uuid",
                &[Arg::Int4(relation_id), Arg::Text(&row.to_string())],
            );
        }
        self.postponed.extend(passed_over);
    }
}
