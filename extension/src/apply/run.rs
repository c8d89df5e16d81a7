//! Rows that come together. Of a row that comes new nothing is here to be compared with, so a run of
//! them is written without looking for any: the index of the identity tells of one that is here after
//! all, and its entry is then applied as any other.

use syncjournal_core::{Entry, Operation};

use super::entry::{Incoming, Table};
use super::outcome::Applied;
use crate::pg::context;
use crate::pg::row_writer::MOST_ROWS;

/// After a row was here, so many entries are looked up before rows are again expected to be new.
const CAREFUL_FOR: usize = 2_000;

/// Whether the entry brings a row that may not have been here.
pub fn brings_row(entry: &Entry<'_>) -> bool {
    matches!(entry.operation, Operation::Insert | Operation::State)
}

/// Entries that bring rows of one table, and where their columns stand here.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    pub entries: &'a [Entry<'a>],
    pub places: &'a [Option<usize>],
}

impl<'a> Run<'a> {
    /// Parts of the size in which rows are written together.
    pub fn parts(self) -> impl Iterator<Item = Self> {
        self.entries.chunks(MOST_ROWS).map(move |entries| Self { entries, ..self })
    }

    pub fn incoming(self, place: usize) -> Incoming<'a> {
        Incoming { entry: &self.entries[place], places: self.places }
    }
}

impl Table {
    /// Inserts what can be, without a look. Gives the places of what is left to be applied one by
    /// one, in order.
    pub fn insert_run(&mut self, run: Run<'_>) -> Vec<usize> {
        if self.careful > 0 || !self.target.takes_runs(run.places) {
            self.careful = self.careful.saturating_sub(run.entries.len());
            return (0..run.entries.len()).collect();
        }
        let (new, mut left): (Vec<usize>, Vec<usize>) =
            (0..run.entries.len()).partition(|place| self.is_new(run, *place));
        let Self { target, tombstones, .. } = self;
        let back = target.insert_run(run, &new, |row| tombstones.find(row).is_some());
        if !back.is_empty() {
            self.careful = CAREFUL_FOR;
        }
        let is_in = |place: &&usize| back.binary_search(place).is_err();
        for place in new.iter().filter(is_in) {
            self.outcome.count(Applied::Inserted);
            self.moved(run.entries[*place].row);
        }
        left.extend(back);
        left.sort_unstable();
        left
    }

    /// Whether the entry brings its row, if that is not here, and nothing truncated stands behind it.
    fn is_new(&self, run: Run<'_>, place: usize) -> bool {
        let entry = &run.entries[place];
        self.permits.allow(entry.operation)
            && self.permits.allow(Operation::Insert)
            && entry.values().len() == run.places.len()
            && !self.truncations.may_concern(entry.version)
    }

    /// Applies the entry as any other.
    pub fn one_of(&mut self, run: Run<'_>, place: usize) {
        context::set_row(Some(run.entries[place].row.0));
        self.entry(run.incoming(place));
    }
}
