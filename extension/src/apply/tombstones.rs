//! Which rows of a table were deleted here, and when.

use std::collections::HashMap;

use syncjournal_core::{RowId, Version};

use crate::error::not_installed;
use crate::journal::stone_reader::{self, Pace, StoneReader};
use crate::journal::tombstone::{self, Moment};
use crate::pg::catalog;
use crate::pg::probe::Probe;
use crate::pg::query::{self, Arg};

/// So many are kept back at most.
const MOST_FRESH: usize = 500;

/// The tombstones of one table; new ones are written in batches. The nil row's stands for a
/// truncation.
#[derive(Debug)]
pub struct Tombstones {
    relation_id: i32,
    probe: Probe,
    /// Whether the table has any: most have none, and then no row needs to be looked up.
    any: bool,
    /// The moment before that was looked up; none: it was not yet.
    asked: Option<Moment>,
    /// Those of before: what it has read holds as long as nobody has ended a transaction.
    reader: StoneReader,
    /// None: the row has come back.
    fresh: HashMap<RowId, Option<Version>>,
    /// Of these, rows that were not here to be locked.
    unheld: HashMap<RowId, Version>,
}

impl Tombstones {
    pub fn of(relation_id: i32) -> Self {
        let relid = catalog::own_relation(c"tombstone");
        let probe = relid.and_then(Probe::numbered).unwrap_or_else(|| not_installed().raise());
        let (reader, any, asked) = (StoneReader::of(relation_id, Pace::APPLY), false, None);
        let (fresh, unheld) = Default::default();
        Self { relation_id, probe, any, asked, reader, fresh, unheld }
    }

    fn look_again(&mut self) {
        self.any = self.any || self.probe.has_from(self.relation_id, RowId::NIL.0);
        self.reader = StoneReader::of(self.relation_id, Pace::APPLY);
    }

    /// The version that deleted the row, if one did. Asked after the row was written, it also tells
    /// of whoever deleted it until then.
    pub fn find(&mut self, row: RowId) -> Option<Version> {
        if let Some(version) = self.fresh.get(&row) {
            return *version;
        }
        let now = Some(Moment::now());
        if self.asked != now {
            self.asked = now;
            self.look_again();
        }
        if !self.any {
            return None;
        }
        let version = match row {
            // A truncation's, of which the reader does not tell.
            RowId::NIL => stone_reader::find(self.relation_id, row, &mut self.probe),
            row => self.reader.find(row, &mut self.probe),
        };
        (!version.is_nil()).then_some(version)
    }

    /// Whether those that are new are to be written by now.
    pub fn are_many(&self) -> bool {
        self.fresh.len() >= MOST_FRESH
    }

    /// The row was deleted by this version. One whose own identity is the nil uuid leaves no stone.
    pub fn deleted(&mut self, row: RowId, version: Version) {
        if row != RowId::NIL {
            self.fresh.insert(row, Some(version));
        }
    }

    /// So was one that was not here: nothing but its stone holds off who is about to insert it.
    pub fn deleted_absent(&mut self, row: RowId, version: Version) {
        self.deleted(row, version);
        self.unheld.insert(row, version);
    }

    /// The row is here again.
    pub fn came_back(&mut self, row: RowId) {
        self.fresh.insert(row, None);
        self.unheld.remove(&row);
    }

    /// The table was truncated by this version.
    pub fn set_truncated(&mut self, version: Version) {
        self.fresh.insert(RowId::NIL, Some(version));
    }

    /// Writes what is new, waiting for whoever brings such a row back at this moment. Gives the rows
    /// that were not here, each with what deleted it: it may be now.
    #[must_use]
    pub fn flush(&mut self) -> Vec<(RowId, Version)> {
        if self.fresh.is_empty() {
            return Vec::new();
        }
        let (mut back, mut rows, mut versions) = (Vec::new(), Vec::new(), Vec::new());
        for (row, version) in self.fresh.drain() {
            match version {
                Some(version) => {
                    rows.push(row.to_string());
                    versions.push(version.to_string());
                }
                None => back.push(row.to_string()),
            }
        }
        let list = |items: &[String]| format!("{{{}}}", items.join(","));
        if !back.is_empty() {
            query::execute(
                "delete from syncjournal.tombstone \
                where relation_id = $1 and row_id = any ($2::uuid[])",
                &[Arg::Int4(self.relation_id), Arg::Text(&list(&back))],
            );
        }
        query::execute(
            "insert into syncjournal.tombstone as t (relation_id, row_id, version) \
            select $1, r, v from rows from (pg_catalog.unnest($2::uuid[]), \
                pg_catalog.unnest($3::uuid[])) as d (r, v) \
            on conflict (relation_id, row_id) do update set version = excluded.version \
            where t.row_id <> '00000000-0000-0000-0000-000000000000' \
                or excluded.version > t.version",
            &[Arg::Int4(self.relation_id), Arg::Text(&list(&rows)), Arg::Text(&list(&versions))],
        );
        self.any = true;
        tombstone::buried();
        self.unheld.drain().collect()
    }
}
