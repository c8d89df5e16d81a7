//! Giving out versions: places in the frames that a transaction has open, one for each relation.
//!
//! Frames of several relations share a prefix where they can, each with a span of indexes of its own, so
//! that they can share a row of the journal (`syncjournal_core::bundle`).

use std::time::{SystemTime, UNIX_EPOCH};

use syncjournal_core::{Clock, HybridTime, Version, limits};

use crate::journal::{self, tombstone};
use crate::layout::Tracked;
use crate::node;
use crate::pg::{random, transaction};

/// Versions of one frame share its time. This many are written in some ten milliseconds; more
/// would leave the rows of a bulk change visibly older than they are.
const FRAME_SPAN: u32 = 4096;

/// A frame is not let grow older than this, for the same reason.
const FRAME_MAX_AGE_MICROS: u64 = 50_000;

/// How far a time jumps, at random, when it must run ahead of the wall clock (because the version
/// it replaces does): about a quarter of a millisecond. A backend that takes over the number of
/// one that has just ended does not know its clock, and must not meet it there.
const JUMP_BITS: u32 = 20;

/// The part below a microsecond is random where the wall clock leads, for the same reason.
const FRACTION_BITS: u32 = 12;

/// The backend number of a version is below this one, which merges use.
const BACKENDS: i32 = syncjournal_core::version::MERGE_BACKEND as i32;

/// A prefix that has spans left.
#[derive(Clone, Copy, Debug)]
struct OpenPrefix {
    prefix: Version,
    /// Where the next span begins.
    next_index: u32,
    /// Wall clock, in microseconds.
    opened: u64,
}

#[derive(Debug)]
struct OpenFrame {
    relation_id: i32,
    layout_id: i32,
    prefix: Version,
    next_index: u32,
    /// Where its span ends.
    end: u32,
    /// Wall clock, in microseconds, when the prefix was opened.
    opened: u64,
    /// A savepoint was rolled back, and with it perhaps the lock that kept others from truncating.
    unguarded: bool,
}

/// Which frames the transaction has open.
#[derive(Debug, Default)]
pub struct Allocator {
    clock: Clock,
    frames: Vec<OpenFrame>,
    shared: Option<OpenPrefix>,
    /// Time of the transaction's first frame.
    first: Option<HybridTime>,
    /// The node's tag when the transaction first asked: it may get another meanwhile (rejoin).
    tag: Option<u32>,
}

impl Allocator {
    /// A version for an entry whose parent is `prev`: later than it.
    pub fn allocate(&mut self, tracked: &Tracked, prev: Version) -> Version {
        let wall = wall_clock();
        let now = wall.unix_micros();
        let known = self.frames.iter().position(|frame| frame.relation_id == tracked.relation_id);
        if let Some(place) = known {
            let frame = &mut self.frames[place];
            if frame.layout_id == tracked.layout_id
                && frame.next_index < frame.end
                && frame.prefix.time() > prev.time()
                && now.saturating_sub(frame.opened) < FRAME_MAX_AGE_MICROS
                && frame.is_later_than_truncate()
            {
                return frame.take();
            }
            self.frames.swap_remove(place);
        }
        // A row that is new must not seem to be older than the TRUNCATE that it comes after, which
        // may be from a node whose clock is ahead.
        // Nor older than a tombstone of its own that was pruned.
        let emptied = tombstone::of_relation(tracked.relation_id);
        let before = prev.max(emptied).time().max(journal::pruned_to());
        let OpenPrefix { prefix, next_index, opened } = self.span(wall, before);
        let mut frame = OpenFrame {
            relation_id: tracked.relation_id,
            layout_id: tracked.layout_id,
            prefix,
            next_index,
            end: next_index + FRAME_SPAN,
            opened,
            unguarded: false,
        };
        let version = frame.take();
        self.frames.push(frame);
        version
    }

    /// The next span of a prefix that is later than `before`: the one that other relations' frames have,
    /// or a new one.
    fn span(&mut self, wall: HybridTime, before: HybridTime) -> OpenPrefix {
        let now = wall.unix_micros();
        let known = self.shared.filter(|known| {
            known.next_index + FRAME_SPAN <= limits::FRAME_MAX_ENTRIES as u32
                && known.prefix.time() > before
                && now.saturating_sub(known.opened) < FRAME_MAX_AGE_MICROS
        });
        let span = known.unwrap_or_else(|| {
            let time = self.next_time(wall, before);
            OpenPrefix {
                prefix: Version::new(time, self.tag(), backend(), 0),
                next_index: 0,
                opened: now,
            }
        });
        self.shared = Some(OpenPrefix { next_index: span.next_index + FRAME_SPAN, ..span });
        span
    }

    /// A version of no frame, for a merge that a function of the users' made.
    pub fn merge_version(&mut self, after: Version) -> Version {
        let time = self.next_time(wall_clock(), after.time());
        Version::custom_merge(time, self.tag(), backend())
    }

    /// A version of no frame that others share, for an entry that is journaled at once.
    pub fn lone_version(&mut self, after: Version) -> Version {
        Version::new(self.next_time(wall_clock(), after.time()), self.tag(), backend(), 0)
    }

    fn tag(&mut self) -> u32 {
        *self.tag.get_or_insert_with(node::tag)
    }

    fn next_time(&mut self, wall: HybridTime, prev: HybridTime) -> HybridTime {
        let random = u64::from(u32::from_ne_bytes(random::bytes()));
        let wall = HybridTime(wall.0 | random & ((1 << FRACTION_BITS) - 1));
        let after = if prev < wall {
            prev
        } else {
            HybridTime(prev.0.saturating_add(random & ((1 << JUMP_BITS) - 1)))
        };
        let time = self.clock.next(wall, after);
        self.first.get_or_insert(time);
        time
    }

    /// Whether this transaction gave the version out.
    pub fn is_own(&self, version: Version) -> bool {
        self.first.is_some_and(|first| version.time() >= first)
            && self.tag == Some(version.node_tag())
            && version.backend() == backend()
    }

    /// What follows goes to a frame of its own, with a later time: after a TRUNCATE.
    pub fn close_frame(&mut self, relation_id: i32) {
        self.shared = None;
        self.frames.retain(|frame| frame.relation_id != relation_id);
    }

    /// Part of the transaction was rolled back, and took with it layouts that frames name.
    pub fn close_frames(&mut self) {
        self.frames.clear();
    }

    /// Part of the transaction was rolled back.
    pub fn lost_locks(&mut self) {
        self.frames.iter_mut().for_each(|frame| frame.unguarded = true);
    }

    pub fn end_transaction(&mut self) {
        self.frames.clear();
        (self.shared, self.first, self.tag) = (None, None, None);
    }
}

impl OpenFrame {
    fn is_later_than_truncate(&mut self) -> bool {
        if self.unguarded {
            let emptied = tombstone::of_relation(self.relation_id);
            self.unguarded = emptied.time() >= self.prefix.time();
        }
        !self.unguarded
    }

    fn take(&mut self) -> Version {
        let index = u16::try_from(self.next_index).expect("a frame's span fits its index");
        self.next_index += 1;
        self.prefix.with_index(index)
    }
}

fn backend() -> u16 {
    u16::try_from(transaction::backend_number().rem_euclid(BACKENDS)).unwrap_or_default()
}

pub fn wall_clock() -> HybridTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    HybridTime::from_unix_micros(u64::try_from(since.as_micros()).unwrap_or(0))
}
