//! Finding frames: a version points to its frame, so this is a look-up by primary key.

use std::ops::ControlFlow;

use syncjournal_core::{Version, frame};

use crate::error::corrupted;
use crate::journal::append;
use crate::journal::segment::{self, Segment};
use crate::pg::arena::Home;
use crate::pg::probe::{Columns, Probe};
use crate::pg::table::{Found, Table};
use crate::pg::transaction;

/// Where the journal has a frame's place in the WAL, whence it came, its number of entries, its bytes,
/// and whom it is for.
const LSN: usize = 3;
const ORIGIN: usize = 6;
const ENTRIES: usize = 7;
const DATA: usize = 8;
const REACH: usize = 9;

/// A frame as the journal holds it.
#[derive(Clone, Debug)]
pub struct JournalFrame {
    pub id: Version,
    pub layout_id: i32,
    pub data: Vec<u8>,
}

/// A frame with what stands beside it.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Where the WAL ended before it was written.
    pub lsn: u64,
    /// The peer that it came from; 0: written here.
    pub origin: i16,
    pub data: Vec<u8>,
    /// Whom it is for, see `syncjournal_core::slice::Reach`.
    pub reach: Vec<u8>,
}

/// Whether the journal holds frames, and which, for who asks of many.
#[derive(Debug)]
pub struct FrameIds {
    segments: Vec<Segment>,
    probes: Vec<Probe>,
    home: Home,
    gap: Option<Gap>,
    /// Frames that were looked up and not found since the last gap; none: gaps do not count.
    missed: Option<usize>,
}

/// Between these two ids the journal held no frame, before the call has added any.
#[derive(Clone, Copy, Debug)]
struct Gap {
    above: Option<Version>,
    below: Option<Version>,
    /// Nobody has added any since, as long as no transaction has ended, and this one has not begun to
    /// write what is not of the call: merges can have the ids of frames that come.
    asked: [u64; 2],
}

impl Gap {
    fn has(&self, id: Version) -> bool {
        self.above.is_none_or(|above| above < id)
            && self.below.is_none_or(|below| id < below)
            && self.asked == Self::now()
    }

    fn now() -> [u64; 2] {
        [transaction::ended_so_far(), append::opened_so_far()]
    }
}

/// Frames that come one after the other mostly fall into one gap: looked for at the second that is
/// missing, and then not before so many more.
const SECOND: usize = 2;
const NOT_BEFORE: usize = 32;

impl FrameIds {
    /// Opens the look-up for the rest of the call.
    pub fn open() -> Self {
        let (segments, probes, home) = (Vec::new(), Vec::new(), Home::here());
        Self { segments, probes, home, gap: None, missed: Some(NOT_BEFORE - SECOND) }
    }

    fn find_gap(&mut self, id: Version) {
        let mut gap = Gap { above: None, below: None, asked: Gap::now() };
        for probe in &mut self.probes {
            let next = probe.neighbours(id.to_bytes());
            let [above, below] = next.map(|uuid| uuid.map(Version::from_bytes));
            gap.above = gap.above.max(above);
            gap.below = [gap.below, below].into_iter().flatten().min();
        }
        self.gap = Some(gap);
    }

    /// With how many entries the journal holds the frame of this id, if it does: of one that was cut,
    /// others may be missing. Of a frame that this call has added that may not be told.
    pub fn entries(&mut self, id: Version) -> Option<u64> {
        self.refresh();
        if self.gap.is_some_and(|gap| gap.has(id)) {
            return None;
        }
        let probes = self.probes.iter_mut();
        let held = probes.filter_map(|probe| probe.read(id.to_bytes(), |row| row.int4(ENTRIES)));
        let held = held.filter_map(|held| u64::try_from(held).ok()).max();
        if held.is_none() {
            self.miss(id);
        }
        held
    }

    /// From now on frames that the call has added are told of, too.
    pub fn look_for_all(&mut self) {
        (self.gap, self.missed) = (None, None);
    }

    fn miss(&mut self, id: Version) {
        let missed = self.missed.map(|missed| missed + 1);
        self.missed = missed;
        if missed.is_some_and(|missed| missed >= NOT_BEFORE) {
            self.missed = Some(0);
            self.find_gap(id);
        }
    }

    /// What the journal holds of the frame of this id.
    pub fn stored(&mut self, id: Version) -> Option<Stored> {
        self.refresh();
        let read = |row: &Columns| Stored {
            lsn: row.int8(LSN) as u64,
            origin: row.int2(ORIGIN),
            data: row.bytes(DATA),
            reach: row.bytes(REACH),
        };
        self.probes.iter_mut().find_map(|probe| probe.read(id.to_bytes(), read))
    }

    fn refresh(&mut self) {
        if !segment::are_all(&self.segments) {
            self.segments = segment::all();
            self.gap = None;
            let open = |segment: &Segment| Probe::open(segment.relid);
            self.probes = self.home.run(|| self.segments.iter().filter_map(open).collect());
        }
    }
}

/// Whether the journal holds the frame of this id.
pub fn exists(id: Version) -> bool {
    let key = id.to_bytes();
    in_segments(|table| {
        table
            .down_from(table.primary_key(), key, |row| ControlFlow::Break(row.uuid(1) == Some(key)))
            .filter(|is_there| *is_there)
    })
    .is_some()
}

/// The frame that holds the entry of this version; none where it was pruned, or never came.
///
/// Frames that were flushed early share a prefix: the one with the greatest id that is not above
/// the version holds it, or one before.
pub fn frame_of(version: Version) -> Option<JournalFrame> {
    in_segments(|table| {
        table
            .down_from(table.primary_key(), version.to_bytes(), |row| {
                let found = read(row);
                if found.id.prefix() != version.prefix() {
                    return ControlFlow::Break(None);
                }
                if holds(&found, version) {
                    return ControlFlow::Break(Some(found));
                }
                ControlFlow::Continue(())
            })
            .flatten()
    })
}

/// Whether the journal holds any frame with entries of the same prefix.
pub fn is_begun(prefix: Version) -> bool {
    let last = prefix.with_index(u16::MAX).to_bytes();
    in_segments(|table| {
        let is_same = |row: &Found| {
            let id = row.uuid(1).map(Version::from_bytes);
            ControlFlow::Break(id.is_some_and(|id| id.prefix() == prefix.prefix()))
        };
        table.down_from(table.primary_key(), last, is_same).filter(|is_there| *is_there)
    })
    .is_some()
}

fn in_segments<R>(mut look: impl FnMut(&Table) -> Option<R>) -> Option<R> {
    segment::all()
        .into_iter()
        .find_map(|segment| Table::read_if_exists(segment.relid).and_then(|table| look(&table)))
}

fn read(row: &Found) -> JournalFrame {
    match (row.uuid(1), row.int4(5), row.bytes(DATA)) {
        (Some(id), Some(layout_id), Some(data)) => {
            JournalFrame { id: Version::from_bytes(id), layout_id, data }
        }
        _ => corrupted("a journal row has nulls").raise(),
    }
}

fn holds(found: &JournalFrame, version: Version) -> bool {
    for entry in frame::entries(found.id, &found.data) {
        match entry {
            Ok(entry) if entry.index == version.index() => return true,
            Ok(entry) if entry.index > version.index() => return false,
            Ok(_) => {}
            Err(error) => corrupted(format_args!("frame {}: {error}", found.id)).raise(),
        }
    }
    false
}
