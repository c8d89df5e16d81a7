//! What a change of lists or of a filter shows and hides: the rows themselves, as frames of this node
//! among all others, so that they travel in their place like everything else.

use pgrx::pg_sys::Oid;
use pgrx::prelude::*;
use syncjournal_core::slice::{Passage, SliceId};
use syncjournal_core::{RowId, Version};

use super::passage::{Known, Leave, PassageWriter};
use super::scan::{ScannedRow, each_row};
use crate::apply::references::Stored;
use crate::capture;
use crate::layout::{self, Tracked};
use crate::pg::catalog;
use crate::pg::filter::RowFilter;
use crate::pg::memory::OwnedContext;
use crate::pg::open_table::OpenTable;
use crate::pg::role::RunAs;
use crate::pg::snapshot::NewestSnapshot;
use crate::value::PortableSettings;

/// Journals the rows that come into sight (`shows`) and those that go out of it (`hides`, none where
/// they are to stay), for the peers of one slice whose filter has changed, or for one peer. The
/// caller keeps writers away, so that no row is between the two. Returns how many rows.
#[pg_extern(volatile)]
fn journal_transition(
    relation: pgrx::PgRelation,
    shows: &str,
    hides: Option<&str>,
    slice_id: Option<i32>,
    peer_id: Option<i16>,
) -> i64 {
    let relid = relation.oid();
    let Some(tracked) = layout::tracked(relid) else { return 0 };
    capture::flush_now();
    let _settings = PortableSettings::enter();
    let _newest = NewestSnapshot::enter();
    let mut writer = PassageWriter::new(tracked.layout_id, peer_id, 0);
    let mut filters: Option<Filters> = None;
    let mut rows = 0;
    each_row(relid, |row| {
        let leaf = row.tracked.relid;
        if filters.as_ref().is_none_or(|known| known.relid != leaf) {
            filters = Some(Filters::of(row.tracked, shows, hides));
        }
        let Some(filters) = &filters else { return };
        let (shown, hidden) = filters.of_row(&row);
        let slice = slice_id.map(|slice| slice as SliceId);
        if shown {
            let mut passage = passage(&row);
            passage.old.retain(|known| Some(*known) != slice);
            let columns = &row.tracked.columns;
            writer.state(
                (row.id, row.version, Known::default()),
                passage,
                columns.len(),
                |place, out| {
                    row.view.encode(&columns[place], out)
                        || filters.waiting.append(row.id, &columns[place], out)
                },
            );
        } else if hidden {
            let mut passage = passage(&row);
            passage.old.extend(slice);
            let leave = Leave { passage, is_gone: false };
            let known = Known { before: row.version, ..Known::default() };
            writer.leave((row.id, row.version, known), leave);
        }
        rows += i64::from(shown || hidden);
    });
    if rows == 0 && peer_id.is_some() {
        // Who follows the journal is to know that from here on other lists hold.
        let leave = Leave { passage: Passage::default(), is_gone: false };
        writer.leave((RowId::NIL, Version::NIL, Known::default()), leave);
    }
    writer.finish();
    rows
}

/// The row is in the slices that it was in, but for the one that changes.
fn passage(row: &ScannedRow<'_>) -> Passage {
    let slices = row.tracked.slices.as_ref();
    let new = slices.map_or_else(Vec::new, |slices| slices.of_row(row.view.columns()));
    Passage { old: new.clone(), new }
}

/// Both conditions, compiled for one table.
pub struct Filters {
    pub relid: Oid,
    shows: RowFilter,
    hides: Option<RowFilter>,
    owner: Oid,
    /// What rows refer to that is not there yet.
    pub waiting: Stored,
    _memory: OwnedContext,
}

impl Filters {
    pub fn of(tracked: &Tracked, shows: &str, hides: Option<&str>) -> Self {
        let relid = tracked.relid;
        let memory = OwnedContext::new();
        let owner = catalog::owner(relid);
        let _owner = RunAs::restricted(owner);
        let table = OpenTable::for_reading(relid);
        let compile = |text: &str| {
            crate::pg::type_io::utf8_to_server(text.as_bytes(), |text| {
                RowFilter::compile(&table, text, memory.raw())
            })
        };
        let (shows, hides) = (compile(shows), hides.map(compile));
        table.close();
        Self { relid, shows, hides, owner, waiting: Stored::of(tracked), _memory: memory }
    }

    /// Whether the conditions hold for a row.
    pub fn of_row(&self, row: &ScannedRow<'_>) -> (bool, bool) {
        let _owner = RunAs::restricted(self.owner);
        let (values, nulls) = row.view.columns();
        let hides = self.hides.as_ref();
        (self.shows.holds(values, nulls), hides.is_some_and(|filter| filter.holds(values, nulls)))
    }
}
