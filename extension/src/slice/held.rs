//! What a locked slice has held back, brought over when it is opened: the rows that have changed
//! meanwhile as they are now, and leaves for those that are gone or out of it.
//!
//! The journal says which rows these are. Their entries themselves were left out of sets that the
//! peers have, and cannot follow: rows may have gone on from the slice to others, which are not held.

use std::collections::HashMap;
use std::fmt::Display;

use pgrx::prelude::*;
use syncjournal_core::frame::{self, FrameWriter, Head};
use syncjournal_core::merge::TruncateSummary;
use syncjournal_core::slice::{Passage, Reach, SliceId};
use syncjournal_core::{Entry, HybridTime, Operation, RowId, Version};

use super::passage::{self, Known, Leave, PassageWriter};
use super::scan::each_row;
use super::transition::Filters;
use crate::capture;
use crate::error::corrupted;
use crate::journal::tombstone;
use crate::layout::{self, Tracked};
use crate::node;
use crate::pg::query::{Arg, Cursor, Row};
use crate::pg::snapshot::NewestSnapshot;
use crate::pg::transaction;
use crate::value::PortableSettings;

/// Frames of the journal that are read at a time.
const FRAMES: i64 = 100;

/// What the journal tells of the time that a slice was locked.
#[derive(Debug)]
struct Held {
    slice: SliceId,
    rows: HashMap<RowId, HeldRow>,
    /// Of TRUNCATEs, where they came from, and what they had seen.
    truncates: Vec<(i16, [Vec<u8>; 2])>,
}

/// What became of a row, as far as it is told.
#[derive(Clone, Copy, Debug, Default)]
struct HeldRow {
    /// It was in the slice before an entry, or after one.
    is_concerned: bool,
    was_in: bool,
    /// The first version that was held back, and what the row was before it.
    first: Option<(Version, Version)>,
    /// The same of the last by which it came into the slice: from another, it may have gone out till then.
    entered: Option<(Version, Version)>,
    foreign: Version,
    last: Version,
}

/// Journals what a slice has held back since the transaction `since`: for all peers that have it, or
/// for one that is to lose it. That one gets no rows, and leaves only where `stays` does not hold. The
/// caller keeps writers away. Returns how many rows.
#[pg_extern(volatile)]
fn journal_held(
    relation: pgrx::PgRelation,
    slice_id: i32,
    since: &str,
    peer_id: Option<i16>,
    stays: Option<&str>,
) -> i64 {
    let Some(tracked) = layout::tracked(relation.oid()) else { return 0 };
    capture::flush_now();
    let slice = slice_id as SliceId;
    let mut held = Held { slice, rows: HashMap::new(), truncates: Vec::new() };
    held.read(tracked.relation_id, since);
    let mut told = held.write_truncates(tracked.layout_id, peer_id);
    held.rows.retain(|_, row| row.is_concerned);
    if !held.rows.is_empty() {
        told += held.write_rows(&tracked, peer_id, stays);
    }
    told
}

/// Journals a frame for nobody: who follows the journal reads anew what peers may have.
#[pg_extern(volatile, strict)]
fn journal_notice(relation: pgrx::PgRelation) {
    let Some(tracked) = layout::tracked(relation.oid()) else { return };
    capture::flush_now();
    let mut frame = FrameWriter::default();
    let head = Head {
        state: Some(Version::NIL),
        ..Head::new(0, Operation::Leave, RowId::NIL, Version::NIL)
    };
    frame.row(&head, 0);
    passage::write(&mut frame, (tracked.layout_id, 0, HybridTime(0)), Reach::Notice);
}

impl Held {
    fn read(&mut self, relation_id: i32, since: &str) {
        let sql = "select j.frame, j.data, j.reach, j.origin from syncjournal.journal_frame j \
            where j.xid >= $1::xid8 \
                and j.layout in (select y.layout_id from syncjournal.relation_layout y \
                    where y.relation_id = $2)";
        // What this transaction has written is to be seen, too.
        transaction::next_command();
        let _newest = NewestSnapshot::enter();
        let mut cursor = Cursor::open(sql, &[Arg::Text(since), Arg::Int4(relation_id)]);
        loop {
            pgrx::check_for_interrupts!();
            if cursor.fetch(FRAMES, |row| self.frame(row)) < FRAMES as u64 {
                break;
            }
        }
        cursor.close();
    }

    fn frame(&mut self, row: &Row) {
        let id = Version::from_bytes(row.uuid(1).unwrap_or_default());
        let reach = row.bytes(3, Reach::decode).unwrap_or(Ok(Reach::Table));
        let passages = match reach.unwrap_or_else(|error| damaged(id, &error)) {
            Reach::Passages(passages) | Reach::SlicesOnly(passages) => passages,
            Reach::Table => Vec::new(),
            Reach::Peer(_) | Reach::Notice => return,
        };
        let origin = row.int2(4).unwrap_or_default();
        row.bytes(2, |data| {
            for (place, entry) in frame::entries(id, data).enumerate() {
                let entry = entry.unwrap_or_else(|error| damaged(id, &error));
                if entry.operation == Operation::Truncate {
                    self.truncates.push((origin, seen_by(&entry)));
                } else {
                    self.entry(&entry, passages.get(place));
                }
            }
        });
    }

    fn entry(&mut self, entry: &Entry<'_>, passage: Option<&Passage>) {
        let row = self.rows.entry(entry.row).or_default();
        let is_in = |slices: &Vec<SliceId>| slices.contains(&self.slice);
        let (was, is) = passage.map_or((false, false), |at| (is_in(&at.old), is_in(&at.new)));
        row.is_concerned |= was || is;
        row.was_in |= was;
        row.last = row.last.max(entry.version);
        if entry.version.node_tag() != node::tag() {
            row.foreign = row.foreign.max(entry.version);
        }
        if !(was || is) || entry.operation.names_version() {
            return;
        }
        let here = Some((entry.version, entry.prev));
        if row.first.is_none() || here < row.first {
            row.first = here;
        }
        if !was && here > row.entered {
            row.entered = here;
        }
    }

    /// Rows that come later are told from those that it took by their versions, whenever it comes.
    fn write_truncates(&self, layout_id: i32, peer: Option<i16>) -> i64 {
        for (origin, seen) in &self.truncates {
            let mut frame = FrameWriter::default();
            let head = Head::new(0, Operation::Truncate, RowId::NIL, Version::NIL);
            let mut values = frame.row(&head, seen.len());
            seen.iter().for_each(|value| values.value(Some(value)));
            let for_slices = || Reach::SlicesOnly(vec![Passage::default()]);
            let reach = peer.map_or_else(for_slices, Reach::Peer);
            passage::write(&mut frame, (layout_id, *origin, HybridTime(0)), reach);
        }
        self.truncates.len() as i64
    }

    fn write_rows(&mut self, tracked: &Tracked, peer: Option<i16>, stays: Option<&str>) -> i64 {
        let _settings = PortableSettings::enter();
        let _newest = NewestSnapshot::enter();
        let mut writer = PassageWriter::new(tracked.layout_id, peer, 0);
        let mut filters: Option<Filters> = None;
        let mut told = 0;
        let slice = self.slice;
        each_row(tracked.relid, |row| {
            let Some(held) = self.rows.remove(&row.id) else { return };
            let leaf = row.tracked;
            if filters.as_ref().is_none_or(|known| known.relid != leaf.relid) {
                filters = Some(Filters::of(leaf, stays.unwrap_or("false"), None));
            }
            let Some(filters) = &filters else { return };
            let here = leaf.slices.as_ref();
            let here = here.map_or_else(Vec::new, |here| here.of_row(row.view.columns()));
            let at = (row.id, row.version, held.known(row.version));
            if here.contains(&slice) {
                if peer.is_none() {
                    let passage = Passage { old: Vec::new(), new: here };
                    writer.state(at, passage, leaf.columns.len(), |place, out| {
                        let column = &leaf.columns[place];
                        row.view.encode(column, out) || filters.waiting.append(row.id, column, out)
                    });
                    told += 1;
                }
            } else if held.was_in && !filters.of_row(&row).0 {
                let passage = Passage { old: vec![slice], new: here };
                writer.leave(at, Leave { passage, is_gone: false });
                told += 1;
            }
        });
        let mut gone: Vec<_> = self.rows.drain().filter(|(_, row)| row.was_in).collect();
        gone.sort_unstable_by_key(|(id, _)| *id);
        for (id, held) in gone {
            let version = tombstone::of(tracked.relation_id, id).max(held.last);
            let passage = Passage { old: vec![slice], new: Vec::new() };
            writer.leave((id, version, held.known(version)), Leave { passage, is_gone: true });
            told += 1;
        }
        writer.finish();
        told
    }
}

impl HeldRow {
    /// At which versions peers have the row that it stands at `now` here.
    fn known(&self, now: Version) -> Known {
        let older = |version: Version| if version < now { version } else { Version::NIL };
        let first = self.first.map_or(Version::NIL, |(_, before)| before);
        let before = self.entered.map_or(first, |(_, before)| before);
        let foreign = if self.foreign.is_nil() { first } else { self.foreign };
        Known { before: older(before), foreign: older(foreign) }
    }
}

fn seen_by(entry: &Entry<'_>) -> [Vec<u8>; 2] {
    let summary = match entry.values().is_empty() {
        true => Ok(TruncateSummary::of_node(entry.version)),
        false => TruncateSummary::of_entry(entry),
    };
    summary.unwrap_or_else(|error| damaged(entry.version, &error)).encode()
}

fn damaged(at: Version, error: &dyn Display) -> ! {
    corrupted(format_args!("frame {at}: {error}")).raise()
}
