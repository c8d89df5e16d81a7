//! Which rows of a table were deleted here, and when.

use std::cell::Cell;
use std::collections::HashMap;
use std::ops::ControlFlow;

use syncjournal_core::{RowId, Version};

use crate::error::not_installed;
use crate::journal::tombstone::Moment;
use crate::pg::catalog;
use crate::pg::query::{self, Arg};
use crate::pg::table::{Key, Table};

/// The tombstones of one table; new ones are written in batches. The nil row's stands for a
/// truncation.
#[derive(Debug)]
pub struct Tombstones {
    relation_id: i32,
    table: Table,
    /// Whether the table has any: most have none, and then no row needs to be looked up.
    any: Cell<bool>,
    /// The moment before that was looked up.
    asked: Cell<Moment>,
    /// None: the row has come back.
    fresh: HashMap<RowId, Option<Version>>,
    /// Of these, rows that were not here to be locked.
    unheld: HashMap<RowId, Version>,
}

impl Tombstones {
    pub fn of(relation_id: i32) -> Self {
        let relid = catalog::own_relation(c"tombstone");
        let table = Table::read(relid.unwrap_or_else(|| not_installed().raise()));
        let asked = Cell::new(Moment::now());
        let (any, fresh, unheld) = (Cell::new(false), HashMap::new(), HashMap::new());
        let stones = Self { relation_id, table, any, asked, fresh, unheld };
        stones.any.set(stones.has_any());
        stones
    }

    fn has_any(&self) -> bool {
        let key = [(1, Key::Int4(self.relation_id))];
        let found = self.table.equal(self.table.primary_key(), &key, |_| ControlFlow::Break(()));
        found.is_some()
    }

    /// Whether no row has one. It is asked again only where one may have come since.
    fn has_none(&self) -> bool {
        let now = Moment::now();
        if !self.any.get() && self.asked.replace(now) != now {
            self.any.set(self.has_any());
        }
        !self.any.get()
    }

    /// The version that deleted the row, if one did.
    pub fn find(&self, row: RowId) -> Option<Version> {
        if let Some(version) = self.fresh.get(&row) {
            return *version;
        }
        if self.has_none() {
            return None;
        }
        let key = [(1, Key::Int4(self.relation_id)), (2, Key::Uuid(&row.0))];
        let found = self.table.equal(self.table.primary_key(), &key, |stone| {
            stone.uuid(3).map_or(ControlFlow::Continue(()), ControlFlow::Break)
        });
        found.map(Version::from_bytes)
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
        self.any.set(true);
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
        self.unheld.drain().collect()
    }
}
