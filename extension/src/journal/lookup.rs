//! Finding frames: a version points to its frame, so this is a look-up by primary key. A frame that
//! stands in another's row is found behind it: under the same prefix, with a lower id.

use std::ops::ControlFlow;

use syncjournal_core::bundle::{self, Member};
use syncjournal_core::{DecodeError, Version, frame};

use crate::error::corrupted;
use crate::journal::append;
use crate::journal::segment::{self, Segment};
use crate::pg::arena::Home;
use crate::pg::probe::{Columns, Probe};
use crate::pg::table::{Found, Table};
use crate::pg::transaction;

/// Where the journal has a frame's id and place in the WAL, its layout, whence it came, the number of
/// entries of its row, its bytes, whom it is for, and the further frames of its row.
const FRAME: usize = 1;
const LSN: usize = 3;
const LAYOUT: usize = 5;
const ORIGIN: usize = 6;
const ENTRIES: usize = 7;
const DATA: usize = 8;
const REACH: usize = 9;
const BUNDLED: usize = 10;

/// A frame as the journal holds it.
#[derive(Clone, Debug)]
pub struct JournalFrame {
    /// The first frame of its row.
    pub row: Version,
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
    /// The last row of several frames that was read.
    shared: Option<(Version, Stored, Vec<u8>)>,
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
        // A row may hold further frames of its first one's prefix.
        self.above.is_none_or(|above| above < id && above.prefix() != id.prefix())
            && self.below.is_none_or(|below| id < below)
            && self.asked == Self::now()
    }

    fn now() -> [u64; 2] {
        [transaction::ended_so_far(), append::opened_so_far()]
    }
}

/// Frames that come one after the other mostly fall into one gap: looked for at the first that is
/// missing, and then not before so many more.
const NOT_BEFORE: usize = 32;

impl FrameIds {
    /// Opens the look-up for the rest of the call.
    pub fn open() -> Self {
        let (segments, probes, home) = (Vec::new(), Vec::new(), Home::here());
        let missed = Some(NOT_BEFORE - 1);
        Self { segments, probes, home, gap: None, shared: None, missed }
    }

    fn find_gap(&mut self, id: Version, above: Option<Version>, asked: [u64; 2]) {
        let mut gap = Gap { above, below: None, asked };
        for probe in &mut self.probes {
            let below = probe.least_from(id.to_bytes()).map(Version::from_bytes);
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
        let asked = Gap::now();
        let (mut held, mut above) = (None, None);
        for probe in &mut self.probes {
            match look_in(probe, id) {
                Ok(entries) => held = held.max(Some(entries)),
                Err(last) => above = above.max(last),
            }
        }
        if held.is_none() {
            self.miss(id, above, asked);
        }
        held
    }

    /// From now on frames that the call has added are told of, too.
    pub fn look_for_all(&mut self) {
        (self.gap, self.missed) = (None, None);
    }

    fn miss(&mut self, id: Version, above: Option<Version>, asked: [u64; 2]) {
        let missed = self.missed.map(|missed| missed + 1);
        self.missed = missed;
        if missed.is_some_and(|missed| missed >= NOT_BEFORE) {
            self.missed = Some(0);
            self.find_gap(id, above, asked);
        }
    }

    /// What the journal holds of the frame of this id, which stands in the row of that one.
    pub fn stored(&mut self, row: Version, id: Version) -> Option<Stored> {
        self.refresh();
        if self.shared.as_ref().is_none_or(|(shared, ..)| *shared != row) {
            let read = |row: &Columns| (Stored::read(row), row.bytes(BUNDLED));
            let mut probes = self.probes.iter_mut();
            let (stored, bundled) = probes.find_map(|probe| probe.read(row.to_bytes(), read))?;
            if bundled.is_empty() {
                return (row == id).then_some(stored);
            }
            self.shared = Some((row, stored, bundled));
        }
        let (_, stored, bundled) = self.shared.as_ref()?;
        let data = if row == id { &stored.data } else { member(row, bundled, id)?.data };
        let Stored { lsn, origin, ref reach, .. } = *stored;
        Some(Stored { lsn, origin, data: data.to_vec(), reach: reach.clone() })
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

impl Stored {
    fn read(row: &Columns) -> Self {
        Self {
            lsn: row.int8(LSN) as u64,
            origin: row.int2(ORIGIN),
            data: row.bytes(DATA),
            reach: row.bytes(REACH),
        }
    }
}

/// The number of entries of the frame of this id, where it is in the segment; else the segment's last
/// row that is not above it.
fn look_in(probe: &mut Probe, id: Version) -> Result<u64, Option<Version>> {
    let mut answer = Err(None);
    probe.down_from(id.to_bytes(), |row| {
        let first = Version::from_bytes(row.uuid(FRAME));
        if answer == Err(None) {
            answer = Err(Some(first));
        }
        if first.prefix() != id.prefix() {
            return ControlFlow::Break(());
        }
        let bundled = row.bytes(BUNDLED);
        let held = if first == id {
            let others = bundle::entries(id, &bundled);
            let others = others.unwrap_or_else(|error| damaged(id, &error));
            let all = u64::try_from(row.int4(ENTRIES)).unwrap_or_default();
            Some(all.saturating_sub(others))
        } else {
            member(first, &bundled, id).map(|member| u64::from(member.entries))
        };
        let Some(held) = held else { return ControlFlow::Continue(()) };
        answer = Ok(held);
        ControlFlow::Break(())
    });
    answer
}

/// The frame of this id among those that stand behind the first of a row.
fn member(first: Version, bundled: &[u8], id: Version) -> Option<Member<'_>> {
    bundle::members(first, bundled)
        .map(|member| member.unwrap_or_else(|error| damaged(first, &error)))
        .find(|member| member.id == id)
}

fn damaged(id: Version, error: &DecodeError) -> ! {
    corrupted(format_args!("the journal's row {id}: {error}")).raise()
}

/// Whether the journal holds the frame of this id.
pub fn exists(id: Version) -> bool {
    find(id, |found, _| found == id).is_some()
}

/// The frame that holds the entry of this version; none where it was pruned, or never came.
pub fn frame_of(version: Version) -> Option<JournalFrame> {
    find(version, |id, data| holds(id, data, version))
}

/// The frame of which that is true, among those with this version's prefix that are not above it.
fn find(version: Version, is_wanted: impl Fn(Version, &[u8]) -> bool) -> Option<JournalFrame> {
    in_segments(|table| {
        table
            .down_from(table.primary_key(), version.to_bytes(), |row| {
                let first = read(row);
                if first.id.prefix() != version.prefix() {
                    return ControlFlow::Break(None);
                }
                if is_wanted(first.id, &first.data) {
                    return ControlFlow::Break(Some(first));
                }
                let bundled = row.bytes(BUNDLED).unwrap_or_default();
                let found = bundle::members(first.id, &bundled)
                    .map(|member| member.unwrap_or_else(|error| damaged(first.id, &error)))
                    .take_while(|member| member.id <= version)
                    .find(|member| is_wanted(member.id, member.data));
                match found {
                    Some(member) => ControlFlow::Break(Some(JournalFrame {
                        row: first.row,
                        id: member.id,
                        layout_id: member.layout_id,
                        data: member.data.to_vec(),
                    })),
                    None => ControlFlow::Continue(()),
                }
            })
            .flatten()
    })
}

/// Whether the journal holds any frame with entries of the same prefix.
pub fn is_begun(prefix: Version) -> bool {
    let last = prefix.with_index(u16::MAX).to_bytes();
    in_segments(|table| {
        let is_same = |row: &Found| {
            let id = row.uuid(FRAME).map(Version::from_bytes);
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
    match (row.uuid(FRAME), row.int4(LAYOUT), row.bytes(DATA)) {
        (Some(id), Some(layout_id), Some(data)) => {
            let id = Version::from_bytes(id);
            JournalFrame { row: id, id, layout_id, data }
        }
        _ => corrupted("a journal row has nulls").raise(),
    }
}

fn holds(id: Version, data: &[u8], version: Version) -> bool {
    for entry in frame::entries(id, data) {
        match entry {
            Ok(entry) if entry.index == version.index() => return true,
            Ok(entry) if entry.index > version.index() => return false,
            Ok(_) => {}
            Err(error) => corrupted(format_args!("frame {id}: {error}")).raise(),
        }
    }
    false
}
