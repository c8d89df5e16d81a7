//! TRUNCATE from elsewhere: for every row of which its node had seen a version, the delete of that
//! version. Rows that it had not seen stay, and what others had written on top of what it saw is
//! measured against the delete by the table's policy, as any other entry.
//!
//! Most rows stand at a version that it had seen: they go at once, and leave no tombstone, for the
//! TRUNCATE itself stays on record: an entry that comes later is measured against it then. The delete
//! of a row becomes an entry of its own only where another entry has to name it as a parent.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use pgrx::pg_sys::Oid;
use syncjournal_core::merge::{Change, MergeError, TruncateSummary, Write, state_at};
use syncjournal_core::{Entry, RowId, Version, frame};

use super::entry::{Table, settled};
use super::host::RowHost;
use super::outcome::Applied;
use super::settle::Unsettled;
use super::target::until_settled;
use crate::error::not_installed;
use crate::journal;
use crate::pg::catalog;
use crate::pg::open_table::OpenTable;
use crate::pg::query::{self, Arg, Cursor, Row};
use crate::pg::snapshot::NewestSnapshot;
use crate::pg::table::{Key, Table as Reader};
use crate::pg::table_scan::{RowAddress, TableScan};
use crate::pg::transaction;

/// Rows taken in hand at a time.
const STRIDE: usize = 10_000;

/// Frames of the journal, likewise.
const FRAMES: i64 = 100;

/// The TRUNCATEs of one table that are on record.
#[derive(Debug)]
pub struct Truncations {
    relation_id: i32,
    versions: Vec<Version>,
    /// What they had seen: read when an entry comes that is older than one of them, since a list can
    /// be as long as the table was.
    all: OnceCell<Vec<TruncateSummary>>,
    /// The versions in the journal of rows that are gone without a tombstone, by the rows that
    /// were asked for.
    known: HashMap<RowId, Vec<Version>>,
}

impl Truncations {
    pub fn of(relation_id: i32) -> Self {
        let relid = catalog::own_relation(c"truncation");
        let reader = Reader::read(relid.unwrap_or_else(|| not_installed().raise()));
        let mut versions = Vec::new();
        let key = [(1, Key::Int4(relation_id))];
        reader.equal(reader.primary_key(), &key, |found| {
            versions.extend(found.uuid(2).map(Version::from_bytes));
            ControlFlow::<()>::Continue(())
        });
        Self { relation_id, versions, all: OnceCell::new(), known: HashMap::new() }
    }

    fn all(&self) -> &[TruncateSummary] {
        self.all.get_or_init(|| self.versions.iter().copied().filter_map(recorded).collect())
    }

    fn latest(&self) -> Version {
        self.versions.iter().max().copied().unwrap_or_default()
    }

    /// Whether a row that comes may have had a life that was truncated: what is later than all
    /// TRUNCATEs is later than whatever they took, too.
    pub fn may_concern(&self, version: Version) -> bool {
        self.versions.iter().any(|truncate| version < *truncate)
    }

    /// Looks up in one pass what the journal knows of some rows.
    fn ask(&mut self, rows: &[RowId]) {
        self.known = rows.iter().map(|row| (*row, Vec::new())).collect();
        let sql = "select j.frame, j.data from syncjournal.journal_frame j \
            where j.layout in (select y.layout_id from syncjournal.relation_layout y \
                where y.relation_id = $1) and j.frame <= $2";
        let args = [Arg::Int4(self.relation_id), Arg::Uuid(self.latest().to_bytes())];
        // What has come by this very call is to be seen, too.
        transaction::next_command();
        let _newest = NewestSnapshot::enter();
        let mut cursor = Cursor::open(sql, &args);
        let known = &mut self.known;
        let mut read = |found: &Row| {
            let id = Version::from_bytes(found.uuid(1).unwrap_or_default());
            found.bytes(2, |data| {
                for entry in frame::entries(id, data).flatten() {
                    if let Some(versions) = known.get_mut(&entry.row) {
                        versions.push(entry.version);
                    }
                }
            });
        };
        while cursor.fetch(FRAMES, &mut read) == FRAMES as u64 {
            pgrx::check_for_interrupts!();
        }
        cursor.close();
    }

    pub fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    /// Whether a TRUNCATE had seen this version of the row.
    pub fn cover(&self, row: RowId, version: Version) -> bool {
        self.may_concern(version) && self.all().iter().any(|summary| summary.contains(row, version))
    }

    fn add(&mut self, version: Version, summary: TruncateSummary) {
        self.versions.push(version);
        if let Some(all) = self.all.get_mut() {
            all.push(summary);
        }
        query::execute(
            "insert into syncjournal.truncation (relation_id, version) values ($1, $2) \
            on conflict do nothing",
            &[Arg::Int4(self.relation_id), Arg::Uuid(version.to_bytes())],
        );
    }
}

/// What the TRUNCATE of this version had seen; none where the journal holds it no longer.
fn recorded(version: Version) -> Option<TruncateSummary> {
    let found = journal::frame_of(version)?;
    let entry = frame::entries(found.id, &found.data)
        .flatten()
        .find(|entry| entry.index == version.index())?;
    Some(summary_of(&entry))
}

/// An entry that says nothing is of a node that had seen what it wrote itself.
fn summary_of(entry: &Entry<'_>) -> TruncateSummary {
    if entry.values().is_empty() {
        return TruncateSummary::of_node(entry.version);
    }
    TruncateSummary::of_entry(entry).unwrap_or_else(|error| super::set_error::raise(&error.into()))
}

impl Table {
    /// Deletes what the truncation covers.
    pub fn truncate(&mut self, entry: &Entry<'_>) -> Applied {
        // Its node had seen what came before it.
        self.settle_postponed();
        let summary = summary_of(entry);
        self.target.blame(Some(entry.row));
        for (table, identity, version_column) in self.target.tables() {
            let mut from = RowAddress::first();
            loop {
                pgrx::check_for_interrupts!();
                let (rows, next) = stride(table, from, (identity, version_column));
                for (row, version) in rows {
                    self.truncate_row(row, version, &summary);
                }
                match next {
                    Some(next) => from = next,
                    None => break,
                }
            }
        }
        self.target.blame(None);
        self.truncations.add(entry.version, summary);
        self.tombstones.set_truncated(entry.version);
        Applied::Deleted
    }

    fn truncate_row(&mut self, row: RowId, version: Version, summary: &TruncateSummary) {
        let is_simple = summary.contains(row, version) && !self.inbox.concerns(row);
        let gone = is_simple
            && until_settled(|| match self.target.find(row) {
                Some(current) if summary.contains(row, current) => {
                    settled(self.target.delete(), Applied::Deleted)
                }
                _ => Some(Applied::Skipped),
            }) == Applied::Deleted;
        if !gone && let Err(unsettled) = self.measure(row, summary) {
            self.unsettled.push(unsettled);
        }
    }

    /// Of rows that are about to be settled, those that are gone without a tombstone may have gone by
    /// a TRUNCATE.
    pub fn ask_for_truncated(&mut self, rows: impl Iterator<Item = RowId>) {
        if self.truncations.is_empty() {
            return;
        }
        let mut gone: Vec<RowId> = rows.collect();
        gone.dedup();
        gone.retain(|row| self.target.find(*row).is_none() && self.tombstones.find(*row).is_none());
        if !gone.is_empty() {
            self.truncations.ask(&gone);
        }
    }

    /// A row that is gone by a TRUNCATE stands at the delete of what it was then.
    pub fn recall_truncated(&mut self, row: RowId) -> Result<(), Unsettled> {
        if self.truncations.is_empty() || self.standing(row).is_some() {
            return Ok(());
        }
        if !self.truncations.known.contains_key(&row) {
            self.truncations.ask(&[row]);
        }
        let known = self.truncations.known.remove(&row).unwrap_or_default();
        let heads: Vec<Version> =
            self.truncations.all().iter().filter_map(|all| all.head_of(row, &known)).collect();
        for head in heads {
            let rules = self.rules.for_row(row);
            let mut host = RowHost::new(row, &mut self.past, &mut self.target, &self.rules);
            // Where its history is not here, there is nothing to measure against.
            let Ok(state) = state_at(&rules, head, None, &mut host) else { continue };
            if state.alive {
                let version = Version::truncated(row, head);
                let change = Change::Delete(state.columns);
                let (prev, merged) = (head, Version::NIL);
                let delete = Arc::new(Write { version, prev, merged, change });
                until_settled(|| self.try_settle(row, version, Some(&delete)).transpose())?;
            }
        }
        Ok(())
    }

    /// Measures a row against the TRUNCATEs on record, after an entry of it was settled.
    pub fn measure_all(&mut self, row: RowId) -> Result<(), Unsettled> {
        for place in 0..self.truncations.all().len() {
            let summary = self.truncations.all()[place].clone();
            self.measure(row, &summary)?;
        }
        Ok(())
    }

    fn measure(&mut self, row: RowId, summary: &TruncateSummary) -> Result<(), Unsettled> {
        until_settled(|| {
            let delete = match self.delete_of(row, summary) {
                Ok(Some(delete)) => delete,
                Ok(None) => return Some(Ok(())),
                Err(unsettled) => return Some(Err(unsettled)),
            };
            let settled = self.try_settle(row, delete.version, Some(&delete)).transpose()?;
            Some(settled.map(|_| ()))
        })
    }

    fn delete_of(
        &mut self,
        row: RowId,
        summary: &TruncateSummary,
    ) -> Result<Option<Arc<Write>>, Unsettled> {
        let Some(state) = self.standing(row) else { return Ok(None) };
        let rules = self.rules.for_row(row);
        let mut host = RowHost::new(row, &mut self.past, &mut self.target, &self.rules);
        match summary.delete_of(&rules, &state, &mut host) {
            Ok(delete) => Ok(delete),
            Err(MergeError::Host(never)) => match never {},
            Err(MergeError::Missing(missing)) => {
                Err(Unsettled { row, version: state.version, missing, is_unknown: false })
            }
        }
    }
}

/// Some rows with their versions, and where the next ones may be.
fn stride(
    table: Oid,
    from: RowAddress,
    (identity, version_column): (usize, usize),
) -> (Vec<(RowId, Version)>, Option<RowAddress>) {
    let _newest = NewestSnapshot::enter();
    let mut scan = TableScan::open(OpenTable::for_reading(table), from);
    let mut rows = Vec::new();
    let mut next = None;
    while let Some(row) = scan.next_row() {
        let at = row.uuid(version_column).map_or(Version::NIL, Version::from_bytes);
        rows.extend(row.uuid(identity).map(|id| (RowId(id), at)));
        if rows.len() >= STRIDE {
            next = Some(scan.behind());
            break;
        }
    }
    scan.close();
    (rows, next)
}
