//! TRUNCATE from elsewhere: all rows go that are older than it.
//!
//! A row that was written here later, or concurrently with a later version, stays: by the rule
//! that the last update wins. The mark it leaves tells of rows that are gone without a tombstone.

use pgrx::pg_sys::Oid;
use syncjournal_core::{RowId, Version};

use super::entry::{Table, settled};
use super::outcome::Applied;
use super::target::until_settled;
use crate::pg::open_table::OpenTable;
use crate::pg::snapshot::NewestSnapshot;
use crate::pg::table_scan::{RowAddress, TableScan};

/// Rows taken in hand at a time.
const STRIDE: usize = 10_000;

impl Table {
    /// Deletes what the truncation covers.
    pub fn truncate(&mut self, version: Version) -> Applied {
        if self.tombstones.truncated().is_some_and(|known| known >= version) {
            return Applied::Skipped;
        }
        for (table, identity, version_column) in self.target.tables() {
            let mut from = RowAddress::first();
            loop {
                pgrx::check_for_interrupts!();
                let (rows, next) = older(table, from, (identity, version_column), version);
                for row in &rows {
                    self.truncate_row(*row, version);
                }
                match next {
                    Some(next) => from = next,
                    None => break,
                }
            }
        }
        self.tombstones.set_truncated(version);
        Applied::Deleted
    }

    fn truncate_row(&mut self, row: RowId, version: Version) {
        until_settled(|| match self.target.find(row) {
            Some(current) if current < version => settled(self.target.delete(), Applied::Deleted),
            Some(_) | None => Some(Applied::Skipped),
        });
    }
}

/// Some rows older than the truncation, and where the next ones may be.
fn older(
    table: Oid,
    from: RowAddress,
    (identity, version_column): (usize, usize),
    version: Version,
) -> (Vec<RowId>, Option<RowAddress>) {
    let _newest = NewestSnapshot::enter();
    let mut scan = TableScan::open(OpenTable::for_reading(table), from);
    let mut rows = Vec::new();
    let mut next = None;
    while let Some(row) = scan.next_row() {
        let at = row.uuid(version_column).map_or(Version::NIL, Version::from_bytes);
        let found = row.uuid(identity).filter(|_| at < version);
        rows.extend(found.map(RowId));
        if rows.len() >= STRIDE {
            next = Some(scan.behind());
            break;
        }
    }
    scan.close();
    (rows, next)
}
