//! One entry and the row it meets.
//!
//! The row's own version decides nearly always: it stands at the entry's parent, or at the entry. An
//! entry whose row stands elsewhere is put off until all that came with it is journaled, and settled
//! then by the merge rules: see `settle`.

use syncjournal_core::merge::{Settled, Value, Winner};
use syncjournal_core::operations::Operations;
use syncjournal_core::{Entry, Operation, RowId, Version};

use super::conflicts::{self, Conflict, ConflictType, Side};
use super::gates::Refused;
use super::inbox::Inbox;
use super::outcome::{Applied, Outcome};
use super::past::{Past, owned};
use super::rules::TableRules;
use super::settle::Unsettled;
use super::slices::Leaving;
use super::target::{Assignment, Image, Target, until_settled};
use super::tombstones::Tombstones;
use super::truncate::Truncations;
use crate::pg::row_writer::Written;
use crate::slice::Passages;

/// So many entries are put off at most: settling earlier only makes more merges than need be.
const MOST_POSTPONED: usize = 100_000;

/// Everything about a table that entries are applied to.
///
/// `entry` lays an entry on its row or puts it off, `settle_postponed` settles what was put off: to
/// be called when all frames are journaled. What became of them is in `outcome`; entries that
/// could not be settled are in `unsettled`, and counted nowhere. `settle` is one entry that the
/// journal holds, at any time.
#[derive(Debug)]
pub struct Table {
    pub target: Target,
    pub tombstones: Tombstones,
    pub past: Past,
    pub rules: TableRules,
    pub peer_id: i16,
    /// For errors: the table and where its entries come from.
    pub place: String,
    pub truncations: Truncations,
    /// What waits for a person.
    pub inbox: Inbox,
    pub outcome: Outcome,
    pub unsettled: Vec<Unsettled>,
    pub postponed: Vec<(RowId, Version)>,
    /// What entries may do, and what came of others.
    pub permits: Operations,
    pub is_one_way: bool,
    pub refused: Refused,
    /// So many entries more are looked up before rows are expected to be new.
    pub careful: usize,
    /// Of a table with slices: what is to be told of rows that went in and out.
    pub passages: Passages,
    /// Rows that are to go at the end, since they left the slices that the source sends.
    pub leaving: Vec<Leaving>,
    /// Whether rows came as they are at the source: some may have left before.
    pub brings_states: bool,
}

/// An entry, and where its columns stand here.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    pub entry: &'a Entry<'a>,
    /// None where the column is not taken here.
    pub places: &'a [Option<usize>],
}

impl<'a> Incoming<'a> {
    /// The new values: of a whole row, or of the changed columns.
    pub fn assignments(self) -> impl Iterator<Item = Assignment<'a>> + Clone {
        let places = self.places;
        let whole = match self.entry.operation {
            Operation::Update => None,
            _ => Some(self.entry.values()),
        };
        let whole = whole.into_iter().flatten();
        let whole = whole.enumerate().filter_map(|(column, value)| Some((places[column]?, value)));
        let changes = self.entry.changes();
        whole.chain(changes.filter_map(|change| Some((places[change.column]?, change.new))))
    }

    /// What the entry alone says of the row.
    pub fn known_image(self, columns: usize) -> Image {
        let mut image = vec![None; columns];
        for (place, value) in self.assignments() {
            image[place] = owned(value);
        }
        image
    }
}

/// All columns of an image.
pub fn whole(image: &[Value]) -> impl Iterator<Item = Assignment<'_>> + Clone {
    image.iter().enumerate().map(|(place, value)| (place, value.as_deref()))
}

impl Table {
    pub fn open(target: Target, peer_id: i16, place: String) -> Self {
        Self {
            tombstones: Tombstones::of(target.relation_id),
            past: Past::of(&target),
            rules: TableRules::of(&target),
            truncations: Truncations::of(target.relation_id),
            inbox: Inbox::of(target.relation_id),
            target,
            peer_id,
            place,
            outcome: Outcome::default(),
            unsettled: Vec::new(),
            postponed: Vec::new(),
            permits: Operations::ALL,
            is_one_way: false,
            refused: Refused::default(),
            careful: 0,
            passages: Passages::default(),
            leaving: Vec::new(),
            brings_states: false,
        }
    }

    /// Whether the next entries can be laid, or put off, before they are in the journal: nothing that
    /// would make of them more than a row waits, and no code of the users' runs.
    pub fn needs_no_journal(&self) -> bool {
        self.postponed.is_empty()
            && self.truncations.is_empty()
            && self.inbox.is_empty()
            && !self.target.has_triggers()
    }

    /// Applies an entry, or puts it off; it is in the journal by the time that it is settled.
    pub fn entry(&mut self, incoming: Incoming<'_>) {
        let entry = incoming.entry;
        self.target.forget_parents();
        if entry.operation == Operation::Leave && self.permits.allow(Operation::Delete) {
            self.leaving.push(Leaving::of(entry));
            return;
        }
        let has_slices = self.target.has_slices();
        let before = if has_slices { self.target.slices_of(entry.row) } else { None };
        let applied = match entry.operation {
            operation if !self.permits.allow(operation) => self.refuse(operation, entry),
            // What it refers to mostly comes with the same call.
            Operation::Insert | Operation::Update
                if self.target.lacks_parents(entry.row, incoming.assignments()) =>
            {
                Applied::Postponed
            }
            Operation::Truncate => self.truncate(entry),
            Operation::State => {
                self.brings_states = true;
                self.state(incoming)
            }
            _ => self.change(incoming),
        };
        if has_slices {
            self.note_passage(entry, before, applied);
        }
        match applied {
            Applied::Postponed => self.postponed.push((entry.row, entry.version)),
            applied => {
                self.outcome.count(applied);
                self.moved(entry.row);
            }
        }
        // Of a table with slices the frame at hand is journaled after its entries are laid.
        if self.postponed.len() >= MOST_POSTPONED && !has_slices {
            self.settle_postponed();
        }
    }

    /// The entry may not do this here: the journal has it, and the row stays as it is.
    pub fn refuse(&mut self, operation: Operation, entry: &Entry<'_>) -> Applied {
        self.refused.add(operation, entry.row, entry.version);
        Applied::Skipped
    }

    /// Applies an insert, update or delete, unless it does not simply go on top.
    fn change(&mut self, incoming: Incoming<'_>) -> Applied {
        until_settled(|| match self.target.find(incoming.entry.row) {
            Some(current) => self.present(incoming, current),
            None => self.absent(incoming),
        })
    }

    fn present(&mut self, incoming: Incoming<'_>, current: Version) -> Option<Applied> {
        let Entry { version, prev, row, operation, .. } = *incoming.entry;
        if current == version {
            return Some(Applied::Skipped);
        }
        // A TRUNCATE that is here already had seen what comes now.
        if current != prev || self.truncations.cover(row, version) {
            return Some(Applied::Postponed);
        }
        match operation {
            Operation::Insert if current.is_nil() => self.insert_over_untracked(incoming),
            Operation::Delete => self.delete(incoming),
            _ => self.take_over(incoming),
        }
    }

    fn delete(&mut self, incoming: Incoming<'_>) -> Option<Applied> {
        let applied = settled(self.target.delete(), Applied::Deleted)?;
        self.tombstones.deleted(incoming.entry.row, incoming.entry.version);
        Some(applied)
    }

    pub fn take_over(&mut self, incoming: Incoming<'_>) -> Option<Applied> {
        let Entry { version, row, .. } = *incoming.entry;
        settled(self.target.update(row, version, incoming.assignments()), Applied::Updated)
    }

    /// The row was there when the table was tracked, and elsewhere it was made anew.
    fn insert_over_untracked(&mut self, incoming: Incoming<'_>) -> Option<Applied> {
        let local = self.target.image();
        let remote = incoming.known_image(local.len());
        let applied = self.take_over(incoming)?;
        if local != remote {
            self.conflict(&Conflict {
                kind: ConflictType::InsertExists,
                row: incoming.entry.row,
                base: Side::default(),
                local: Side { version: None, image: Some(local) },
                remote: Side { version: Some(incoming.entry.version), image: Some(remote) },
                settled: Settled::Winner(Winner::Remote),
            });
        }
        Some(applied)
    }

    fn absent(&mut self, incoming: Incoming<'_>) -> Option<Applied> {
        let Entry { version, prev, row, operation, .. } = *incoming.entry;
        let stone = self.tombstones.find(row);
        let is_truncated = stone.is_none() && self.truncations.cover(row, version);
        if is_truncated || stone == Some(version) {
            return Some(Applied::Skipped);
        }
        if stone.is_none()
            && operation == Operation::Insert
            && self.truncations.may_concern(version)
        {
            return Some(Applied::Postponed);
        }
        let is_next = stone.is_none_or(|stone| stone == prev);
        match operation {
            Operation::Insert if is_next => {
                let inserted = self.target.insert(row, version, incoming.assignments());
                let applied = settled(inserted, Applied::Inserted)?;
                if stone.is_some() {
                    self.tombstones.came_back(row);
                }
                Some(applied)
            }
            // Its insert waits for the row that it refers to.
            Operation::Delete if self.postponed.iter().any(|(waiting, _)| *waiting == row) => {
                Some(Applied::Postponed)
            }
            Operation::Delete if is_next => {
                self.delete_absent(incoming, stone);
                Some(Applied::Skipped)
            }
            _ => Some(Applied::Postponed),
        }
    }

    /// It was never here: it is gone as it should be. The tombstone tells entries that come late.
    fn delete_absent(&mut self, incoming: Incoming<'_>, stone: Option<Version>) {
        let Entry { version, row, .. } = *incoming.entry;
        self.tombstones.deleted_absent(row, version);
        if stone.is_none() && self.truncations.is_empty() {
            let columns = self.past.columns();
            self.conflict(&Conflict {
                kind: ConflictType::DeleteMissing,
                row,
                base: Side::default(),
                local: Side::default(),
                remote: Side { version: Some(version), image: Some(incoming.known_image(columns)) },
                settled: Settled::Winner(Winner::Remote),
            });
        }
    }

    /// Logs a conflict; gives its number unless it is on record already.
    pub fn conflict(&mut self, conflict: &Conflict) -> Option<i64> {
        let number = conflicts::record(self, conflict);
        self.outcome.conflicts += i64::from(number.is_some());
        number
    }
}

/// What a change came to; `None` where the row must be looked up again.
pub fn settled(written: Written, applied: Applied) -> Option<Applied> {
    match written {
        Written::Done => Some(applied),
        Written::Suppressed => Some(Applied::Skipped),
        Written::Moved => None,
    }
}
