//! Lays entries on rows: the tables that are open for it, and what came of it. Nothing of a layer
//! is left where the subtransaction that it was opened in is rolled back.

use std::rc::Rc;

use syncjournal_core::{Entry, Operation, RowId, Version};

use super::entry::{Incoming, Table};
use super::foreign_keys::{ForeignKeys, Touched};
use super::outcome::{Applied, Outcome};
use super::references::Pending;
use super::route::Fit;
use super::run::Run;
use super::settle::Unsettled;
use super::source::Source;
use super::target::Target;
use crate::error::corrupted;
use crate::layout;
use crate::pg::arena::Arena;
use crate::pg::postponed::Suspect;
use crate::pg::role::ReplicaRole;
use crate::slice::Passages;

/// Open tables.
#[derive(Debug)]
pub struct Layer {
    peer_id: i16,
    /// Where foreign keys are enforced.
    keys: Option<Rc<ForeignKeys>>,
    tables: Vec<(Rc<Fit>, Table)>,
    /// Whether tombstones are written after each frame, since others than the tables themselves ask
    /// for them: triggers, look-ups of what a row refers to, slices.
    tells_at_once: bool,
    arena: Arena,
    /// From the first table on that has triggers which may fire.
    replica: Option<ReplicaRole>,
}

/// What a layer has done.
#[derive(Debug, Default)]
pub struct Laid {
    pub outcome: Outcome,
    /// Rows whose unique and exclusion constraints are to be checked at the end of the call.
    pub suspects: Vec<Suspect>,
    /// And what foreign keys are.
    pub touched: Touched,
    /// Entries to be settled then, and those that cannot be.
    pub postponed: Vec<(Rc<Fit>, RowId, Version)>,
    pub unsettled: Vec<Unsettled>,
    /// References whose rows have not come.
    pub pending: Vec<Pending>,
}

impl Laid {
    pub fn add(&mut self, other: Self) {
        self.outcome.add(other.outcome);
        self.suspects.extend(other.suspects);
        self.touched.add(other.touched);
        self.postponed.extend(other.postponed);
        self.unsettled.extend(other.unsettled);
        self.pending.extend(other.pending);
    }
}

impl Layer {
    pub fn new(source: &Source) -> Self {
        let Source { peer_id, keys, .. } = source;
        let (tables, arena) = (Vec::new(), Arena::new());
        let (keys, tells_at_once, replica) = (keys.clone(), false, None);
        Self { peer_id: *peer_id, keys, tables, tells_at_once, arena, replica }
    }

    /// Lays one entry, or puts it off.
    pub fn entry(&mut self, fit: &Rc<Fit>, entry: &Entry<'_>) {
        let place = self.place_of(fit);
        let (_, table) = &mut self.tables[place];
        self.arena.run(|| table.entry(Incoming { entry, places: &fit.places }));
    }

    /// Lays entries that bring rows, or puts them off.
    pub fn run(&mut self, fit: &Rc<Fit>, entries: &[Entry<'_>]) {
        if entries.is_empty() {
            return;
        }
        let place = self.place_of(fit);
        let (_, table) = &mut self.tables[place];
        table.brings_states |= entries.iter().any(|entry| entry.operation == Operation::State);
        for run in (Run { entries, places: &fit.places }).parts() {
            for place in self.arena.run(|| table.insert_run(run)) {
                self.arena.run(|| table.one_of(run, place));
            }
        }
    }

    /// Settles one entry that the journal holds.
    pub fn settle(
        &mut self,
        fit: &Rc<Fit>,
        row: RowId,
        version: Version,
    ) -> Result<Applied, Unsettled> {
        let place = self.place_of(fit);
        let (_, table) = &mut self.tables[place];
        let settled = self.arena.run(|| table.settle(row, version))?;
        table.outcome.count(settled);
        Ok(settled)
    }

    /// Settles what was put off; of tables first that were tracked first, as parents mostly are.
    pub fn settle_postponed(&mut self) {
        self.flush();
        self.tables.sort_by_key(|(fit, _)| fit.relation_id);
        for (_, table) in &mut self.tables {
            self.arena.run(|| table.settle_postponed());
            self.arena.run(|| table.take_leave());
        }
    }

    /// Whether entries of this table are laid without a look into the journal.
    pub fn needs_no_journal(&mut self, fit: &Rc<Fit>) -> bool {
        let place = self.place_of(fit);
        self.tables[place].1.needs_no_journal()
    }

    fn place_of(&mut self, fit: &Rc<Fit>) -> usize {
        let known = self.tables.iter().position(|(_, table)| table.target.root == fit.root);
        known.unwrap_or_else(|| {
            let tracked = layout::tracked(fit.root)
                .unwrap_or_else(|| corrupted("a table is tracked no longer").raise());
            let target = Target::enforcing(&tracked, self.keys.as_ref());
            if target.has_triggers() {
                self.replica.get_or_insert_with(ReplicaRole::enter);
            }
            if target.has_triggers() || tracked.has_references || fit.has_slices {
                self.flush();
                self.tells_at_once = true;
            }
            let mut table = Table::open(target, self.peer_id, fit.told.clone());
            table.permits = fit.permits;
            table.is_one_way = fit.is_one_way;
            self.tables.push((Rc::clone(fit), table));
            self.tables.len() - 1
        })
    }

    /// After a frame of this table: of what is kept back not too much is.
    pub fn end_frame(&mut self, fit: &Fit) {
        if self.tells_at_once {
            return self.flush();
        }
        let mut tables = self.tables.iter_mut();
        if let Some((_, table)) = tables.find(|(_, table)| table.target.root == fit.root) {
            if table.tombstones.are_many() {
                table.bury();
            }
            table.target.thin_out();
        }
    }

    /// Writes what is kept back.
    fn flush(&mut self) {
        for (_, table) in &mut self.tables {
            table.bury();
            table.target.thin_out();
        }
    }

    /// What is to be told of rows of the table that go in and out of slices.
    pub fn passages(&mut self, fit: &Rc<Fit>) -> &mut Passages {
        let place = self.place_of(fit);
        &mut self.tables[place].1.passages
    }

    /// Closes the tables and says what was done.
    pub fn close(mut self) -> Laid {
        self.flush();
        for (_, table) in &mut self.tables {
            self.arena.run(|| {
                table.recall_left();
                table.take_leave();
                table.journal_passages();
            });
        }
        let mut laid = Laid::default();
        for (fit, mut table) in self.tables {
            table.refused.record(self.peer_id, table.target.relation_id);
            laid.outcome.add(table.outcome);
            let postponed = table.postponed.into_iter();
            laid.postponed.extend(postponed.map(|(row, at)| (Rc::clone(&fit), row, at)));
            laid.unsettled.extend(table.unsettled);
            laid.pending.extend(table.target.take_pending());
            laid.touched.add(table.target.touched());
            laid.suspects.extend(table.target.close());
        }
        laid
    }
}
