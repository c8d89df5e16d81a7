//! The entries that a transaction has made and not yet journaled, with a stack of savepoints.

use std::collections::{HashMap, HashSet};

use pgrx::pg_sys::Oid;
use syncjournal_core::frame::Head;
use syncjournal_core::slice::SliceId;
use syncjournal_core::{Operation, RowId, Version};

use crate::capture::encode::EncodedRow;
use crate::pg::reference::Hole;

/// Entries are written early when those of one savepoint level take this much: a bulk change needs
/// no more memory than this, and writes its frames in runs.
const FLUSH_BYTES: usize = 256 << 10;

/// An entry; its values lie in the batch's bytes.
#[derive(Debug)]
pub struct Pending {
    pub version: Version,
    pub relation_id: i32,
    pub layout_id: i32,
    pub head: Head,
    /// Number of values, or of changed columns.
    pub count: usize,
    start: usize,
    end: usize,
    /// Bytes at the end that are no values: the slices that the row was in and is in.
    passage: u16,
}

impl Pending {
    fn is_delete(&self) -> bool {
        self.head.operation == Operation::Delete
    }
}

/// A row that was deleted from one partition and is about to appear in another.
#[derive(Debug)]
pub struct Move {
    pub relation_id: i32,
    /// The tracked table.
    pub root: Oid,
    pub row: [u8; 16],
    pub prev: Version,
    pub old: EncodedRow,
    /// The slices that it was in, where the table has any.
    pub slices: Option<Vec<SliceId>>,
}

/// Where a savepoint began.
#[derive(Clone, Copy, Debug)]
struct Mark {
    level: i32,
    entries: usize,
    bytes: usize,
    moves: usize,
}

/// Entries that leave the buffer together.
#[derive(Debug, Default)]
pub struct Batch {
    pub entries: Vec<Pending>,
    bytes: Vec<u8>,
    /// What the entries' places count from.
    base: usize,
    holes: Vec<(Version, Hole)>,
}

impl Batch {
    /// Writes the identities of rows that were not there yet when something referred to them. Gives
    /// a reference whose row is still missing, if there is one.
    pub fn fill_holes(&mut self) -> Option<Hole> {
        let mut lost = None;
        for (version, hole) in std::mem::take(&mut self.holes) {
            let Some(identity) = hole.identity() else {
                lost = lost.or(hole.is_new.then_some(hole));
                continue;
            };
            if let Some(entry) = self.entries.iter().find(|entry| entry.version == version) {
                let at = entry.start - self.base + hole.at;
                self.bytes[at..at + identity.len()].copy_from_slice(&identity);
            }
        }
        lost
    }

    pub fn values(&self, entry: &Pending) -> &[u8] {
        &self.bytes[entry.start - self.base..entry.end - self.base - usize::from(entry.passage)]
    }

    /// The slices that the row was in and is in; empty where the table has none.
    pub fn passage(&self, entry: &Pending) -> &[u8] {
        let end = entry.end - self.base;
        &self.bytes[end - usize::from(entry.passage)..end]
    }
}

#[derive(Debug, Default)]
pub struct Buffer {
    entries: Vec<Pending>,
    bytes: Vec<u8>,
    moves: Vec<Move>,
    marks: Vec<Mark>,
    /// Whether there are deletes among the entries.
    has_deletes: bool,
    /// The last delete of each row; made when it is asked for.
    deletes: Option<HashMap<(i32, RowId), Version>>,
    /// What entries refer to and was not there yet.
    holes: Vec<(Version, Hole)>,
    /// How often more room was given, while entries wait for what they refer to.
    doublings: u32,
}

impl Buffer {
    /// Adds an entry made at savepoint `level`.
    pub fn push(
        &mut self,
        level: i32,
        version: Version,
        relation: (i32, i32),
        head: Head,
        values: (usize, &[u8]),
        passage: &[u8],
    ) {
        self.mark(level);
        if head.operation == Operation::Delete {
            self.has_deletes = true;
            if let Some(deletes) = &mut self.deletes {
                deletes.insert((relation.0, head.row), version);
            }
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(values.1);
        self.bytes.extend_from_slice(passage);
        self.entries.push(Pending {
            version,
            relation_id: relation.0,
            layout_id: relation.1,
            head,
            count: values.0,
            start,
            end: self.bytes.len(),
            passage: u16::try_from(passage.len()).expect("create_slice limits them"),
        });
    }

    /// Notes what the entry refers to and cannot be found.
    pub fn leave_holes(&mut self, version: Version, holes: Vec<Hole>) {
        self.holes.extend(holes.into_iter().map(|hole| (version, hole)));
    }

    pub fn has_holes(&self) -> bool {
        !self.holes.is_empty()
    }

    /// Lends the holes: whoever looks for their rows may not do so while the buffer is borrowed.
    pub fn lend_holes(&mut self) -> Vec<(Version, Hole)> {
        std::mem::take(&mut self.holes)
    }

    /// Takes the holes back; where they are still open, more is buffered before the next attempt.
    pub fn return_holes(&mut self, holes: Vec<(Version, Hole)>, are_open: bool) {
        self.holes = holes;
        self.doublings = (self.doublings + u32::from(are_open)).min(20);
    }

    /// The version of the last delete of a row that is not journaled yet; nil where there is none.
    pub fn last_delete(&mut self, relation_id: i32, row: RowId) -> Version {
        if !self.has_deletes {
            return Version::NIL;
        }
        let entries = &self.entries;
        let deletes = self.deletes.get_or_insert_with(|| {
            let deletes = entries.iter().filter(|entry| entry.is_delete());
            deletes.map(|entry| ((entry.relation_id, entry.head.row), entry.version)).collect()
        });
        deletes.get(&(relation_id, row)).copied().unwrap_or_default()
    }

    /// Takes a delete back; returns the version that it would have replaced.
    pub fn take_delete(
        &mut self,
        relation_id: i32,
        row: RowId,
        version: Version,
    ) -> Option<Version> {
        let place = self.entries.iter().rposition(|entry| {
            entry.relation_id == relation_id && entry.version == version && entry.head.row == row
        })?;
        for mark in &mut self.marks {
            mark.entries -= usize::from(mark.entries > place);
        }
        if let Some(deletes) = &mut self.deletes {
            deletes.remove(&(relation_id, row));
        }
        Some(self.entries.remove(place).head.prev)
    }

    /// Entries have left: the index of the deletes is out of date.
    fn forget_deletes(&mut self) {
        self.deletes = None;
        self.has_deletes &= !self.entries.is_empty();
    }

    /// Remembers a row on its way to another partition.
    pub fn push_move(&mut self, level: i32, moved: Move) {
        self.mark(level);
        self.moves.push(moved);
    }

    /// The row's journey, if it is on one.
    pub fn take_move(&mut self, relation_id: i32, row: [u8; 16]) -> Option<Move> {
        let place = self
            .moves
            .iter()
            .rposition(|moved| moved.relation_id == relation_id && moved.row == row)?;
        for mark in &mut self.marks {
            mark.moves -= usize::from(mark.moves > place);
        }
        Some(self.moves.remove(place))
    }

    /// Rows that left a partition and never arrived.
    pub fn take_moves(&mut self) -> Vec<Move> {
        std::mem::take(&mut self.moves)
    }

    /// What lies below savepoint `level`, if anything was buffered since it began.
    fn mark(&mut self, level: i32) {
        if level > 1 && self.marks.last().is_none_or(|mark| mark.level < level) {
            self.marks.push(self.here(level));
        }
    }

    fn here(&self, level: i32) -> Mark {
        Mark {
            level,
            entries: self.entries.len(),
            bytes: self.bytes.len(),
            moves: self.moves.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.moves.is_empty()
    }

    /// Whether what `level` wrote is to be journaled now.
    pub fn is_full(&self, level: i32) -> bool {
        match self.floor(level) {
            Some((entries, bytes)) => self.weight(entries, bytes) > FLUSH_BYTES << self.doublings,
            None => false,
        }
    }

    /// Whether all that is buffered weighs too much to be handed to the level above.
    pub fn is_heavy(&self) -> bool {
        self.weight(0, 0) > FLUSH_BYTES << self.doublings
    }

    fn weight(&self, entries: usize, bytes: usize) -> usize {
        self.bytes.len() - bytes + (self.entries.len() - entries) * size_of::<Pending>()
    }

    /// Where the entries of `level` begin; none where it has written nothing.
    fn floor(&self, level: i32) -> Option<(usize, usize)> {
        if level <= 1 {
            return Some((0, 0));
        }
        let mark = self.marks.last().filter(|mark| mark.level == level)?;
        Some((mark.entries, mark.bytes))
    }

    /// Takes out what `level` wrote; at level 1 everything.
    pub fn take(&mut self, level: i32) -> Batch {
        let mut batch = match self.floor(level) {
            None => Batch::default(),
            Some((0, 0)) => Batch {
                entries: std::mem::take(&mut self.entries),
                bytes: std::mem::take(&mut self.bytes),
                base: 0,
                holes: Vec::new(),
            },
            Some((entries, bytes)) => Batch {
                entries: self.entries.split_off(entries),
                bytes: self.bytes.split_off(bytes),
                base: bytes,
                holes: Vec::new(),
            },
        };
        if !self.holes.is_empty() {
            let taken: HashSet<Version> = batch.entries.iter().map(|entry| entry.version).collect();
            let holes = std::mem::take(&mut self.holes);
            (batch.holes, self.holes) =
                holes.into_iter().partition(|(version, _)| taken.contains(version));
        }
        self.forget_deletes();
        batch
    }

    /// Savepoint `level` was rolled back.
    pub fn rolled_back(&mut self, level: i32) {
        while let Some(mark) = self.marks.pop_if(|mark| mark.level >= level) {
            self.entries.truncate(mark.entries);
            self.bytes.truncate(mark.bytes);
            self.moves.truncate(mark.moves);
        }
        self.forget_deletes();
    }

    /// Savepoint `level` was released: what it wrote is now its parent's.
    pub fn released(&mut self, level: i32) {
        let mut lowest = None;
        while let Some(mark) = self.marks.pop_if(|mark| mark.level >= level) {
            lowest = Some(mark);
        }
        let parent = level - 1;
        if let Some(mark) = lowest
            && parent > 1
            && self.marks.last().is_none_or(|last| last.level < parent)
        {
            self.marks.push(Mark { level: parent, ..mark });
        }
    }

    pub fn clear(&mut self) {
        self.entries.clear();
        self.bytes.clear();
        self.moves.clear();
        self.marks.clear();
        self.holes.clear();
        self.doublings = 0;
        self.forget_deletes();
    }
}
