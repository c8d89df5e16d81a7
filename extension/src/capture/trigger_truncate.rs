//! BEFORE TRUNCATE: one entry for the whole relation, or for a partition alone one for each row.
//!
//! The entry says what the node had seen (`TruncateSummary` in the core), so that rows which others
//! insert or change meanwhile survive: the rows are read once. A long list takes several entries.
//!
//! The trigger fires before the rows are gone, on the tracked table and on each partition. A
//! partition is emptied together with its root when the root's trigger has just fired: then there
//! is nothing more to say. Where it is emptied alone, its rows are journaled as deletes: a
//! TRUNCATE of the relation would take the other partitions' rows at the target.

use std::convert::Infallible;

use pgrx::pg_sys::Oid;
use pgrx::prelude::*;
use syncjournal_core::frame::ValueWriter;
use syncjournal_core::merge::TruncateSummary;
use syncjournal_core::{Operation, RowId, Version};

use crate::capture::state;
use crate::capture::trigger_capture::deleted;
use crate::capture::trigger_version::{misplaced, tracked};
use crate::guc;
use crate::layout::{self, Tracked};
use crate::pg::open_table::OpenTable;
use crate::pg::routing;
use crate::pg::snapshot::NewestSnapshot;
use crate::pg::table_scan::{RowAddress, TableScan};
use crate::pg::trigger::{Event, Firing};

/// Rows listed in one entry: 1.6 MB.
const ENTRY_ROWS: usize = 50_000;

#[pg_trigger]
fn trigger_truncate<'a>(
    trigger: &'a PgTrigger<'a>,
) -> Result<Option<PgHeapTuple<'a, AllocatedByPostgres>>, Infallible> {
    let firing = Firing::of(trigger);
    if firing.event() != Event::Truncate || !firing.is_before() {
        misplaced("trigger_truncate", "before truncate, for each statement");
    }
    if guc::capture() {
        let tracked = tracked(&firing);
        if tracked.relid == tracked.root {
            truncated(&tracked);
        } else if !state::with(|state| state.emptied.contains(&tracked.relation_id)) {
            firing.each_row(|row| deleted(&tracked, row));
        }
    }
    Ok(None)
}

fn truncated(tracked: &Tracked) {
    // What was written before goes to frames before, what comes after to frames after.
    state::with(|state| state.allocator.close_frame(tracked.relation_id));
    let mut listing = Listing::begin(tracked);
    let _newest = NewestSnapshot::enter();
    for leaf in leaves(tracked.root) {
        // The statement holds the strongest lock on every partition by now.
        let Some(place) = layout::tracked(leaf) else { continue };
        let mut scan = TableScan::open(OpenTable::for_reading(leaf), RowAddress::first());
        while let Some(row) = scan.next_row() {
            pgrx::check_for_interrupts!();
            let version = row.uuid(place.version).map_or(Version::NIL, Version::from_bytes);
            if let Some(id) = row.uuid(place.identity) {
                listing.add(RowId(id), version);
            }
        }
        scan.close();
    }
    listing.write();
    state::with(|state| {
        state.allocator.close_frame(tracked.relation_id);
        state.emptied.push(tracked.relation_id);
    });
}

fn leaves(root: Oid) -> Vec<Oid> {
    let table = OpenTable::for_reading(root);
    let leaves = if table.is_partitioned() { routing::leaves(&table) } else { vec![table.oid()] };
    table.close();
    leaves
}

/// The rows that are truncated, in entries of bounded length. Only those that stand at another
/// node's version are many words: all of this node's go by its tag and the time.
struct Listing<'a> {
    tracked: &'a Tracked,
    version: Version,
    summary: TruncateSummary,
    rows: usize,
}

impl<'a> Listing<'a> {
    fn begin(tracked: &'a Tracked) -> Self {
        let version = state::allocate(tracked, Version::NIL);
        Self { tracked, version, summary: TruncateSummary::of_node(version), rows: 0 }
    }

    fn add(&mut self, row: RowId, version: Version) {
        if self.summary.contains(row, version) {
            return;
        }
        if self.rows == ENTRY_ROWS {
            let next = Self::begin(self.tracked);
            std::mem::replace(self, next).write();
        }
        self.summary.add(row, version);
        self.rows += 1;
    }

    fn write(self) {
        let mut bytes = Vec::new();
        let mut writer = ValueWriter::new(&mut bytes);
        let values = self.summary.encode();
        values.iter().for_each(|value| writer.value(Some(value)));
        let head = (Operation::Truncate, RowId::NIL, Version::NIL);
        let values = (values.len(), bytes.as_slice());
        state::add(self.tracked, self.version, head, values, &[]);
    }
}
