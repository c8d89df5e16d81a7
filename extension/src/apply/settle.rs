//! A row that stands elsewhere than its entry expects: the merge rules decide, here it is done.
//!
//! The rules are the core's, `merge::settle`; they read the row's past in the local journal, where the
//! entry stands already. A merge that makes content is journaled as this node's own, so that it goes
//! to every peer; its version is derived from its parents, and whoever has it skips it.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

use pgrx::PgSqlErrorCode;
use syncjournal_core::frame::{FrameWriter, Head};
use syncjournal_core::merge::{
    self, Change, Conflict as Found, MergeError, Outcome, RowState, Settled, Settlement, Value,
    Write, state_at,
};
use syncjournal_core::{Operation, RowId, Version};

use super::conflicts::{Conflict, ConflictType, Side, is_told};
use super::entry::{Table, settled, whole};
use super::host::RowHost;
use super::outcome::Applied;
use super::quarantine::Problem;
use super::target::until_settled;
use crate::capture;
use crate::journal::{self, Appender, FrameRow};
use crate::pg::context::{self, ErrorContext};

/// An entry whose row cannot be settled, because its history ends in an entry that the journal
/// does not hold. It is journaled; `Table::settle` tries it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsettled {
    pub row: RowId,
    pub version: Version,
    /// The entry that is missing; nil: what the row was before it was first written.
    pub missing: Version,
    /// The row was never here.
    pub is_unknown: bool,
}

impl Unsettled {
    /// What is wrong, for people.
    pub fn problem(&self) -> Problem {
        let Self { row, version, missing, .. } = self;
        let message = match missing.is_nil() {
            true => format!("row {row} is not here, and only changes of it have come"),
            false => format!("entry {missing} of row {row} is missing in the journal"),
        };
        Problem::new(PgSqlErrorCode::ERRCODE_NO_DATA, message)
            .detail(format!("Without it, entry {version} cannot be settled."))
            .hint("Have the source make a full set: syncjournal.prep_sync(name, mode => 'full').")
    }
}

impl Table {
    /// Settles what was put off, each row's latest entry first: it mostly has the others behind it,
    /// so that a call makes one merge of a row and not one for each entry.
    pub fn settle_postponed(&mut self) {
        self.bury();
        self.settle_batch();
        self.bury();
        while !self.postponed.is_empty() {
            self.settle_batch();
            self.bury();
        }
    }

    fn settle_batch(&mut self) {
        // What this transaction has written itself must be found, too.
        capture::flush_now();
        let mut postponed = std::mem::take(&mut self.postponed);
        postponed.sort_unstable_by_key(|(row, version)| (*row, Reverse(*version)));
        self.ask_for_truncated(postponed.iter().map(|(row, _)| *row));
        // What a settled entry has behind it is settled with it: not to be told of as a conflict.
        let mut behind: HashSet<(RowId, Version)> = HashSet::new();
        for (row, version) in postponed {
            pgrx::check_for_interrupts!();
            let settled = match behind.remove(&(row, version)) {
                true => Ok(Applied::Skipped),
                false => self.settle(row, version),
            };
            match settled {
                Ok(applied) => {
                    self.outcome.count(applied);
                    behind.extend(self.past.parents(row, version).map(|parent| (row, parent)));
                }
                Err(unsettled) => self.unsettled.push(unsettled),
            }
        }
    }

    /// Settles one entry that the journal holds against its row as it is now.
    ///
    /// # Errors
    /// [`Unsettled`] where the row's history is not here as far as it is needed.
    pub fn settle(&mut self, row: RowId, version: Version) -> Result<Applied, Unsettled> {
        let _context = ErrorContext::enter(&self.place);
        context::set_row(Some(row.0));
        self.recall_truncated(row)?;
        if self.target.has_slices() {
            let before = self.target.slices_of(row);
            self.passages.diverged(row, before);
        }
        let applied = until_settled(|| self.try_settle(row, version, None).transpose())?;
        if !self.truncations.is_empty() {
            self.measure_all(row)?;
        }
        Ok(applied)
    }

    /// `None` where another transaction came between. `derived`: the entry itself where no frame holds
    /// it, as what a TRUNCATE is to a row.
    pub fn try_settle(
        &mut self,
        row: RowId,
        version: Version,
        derived: Option<&Arc<Write>>,
    ) -> Result<Option<Applied>, Unsettled> {
        let current = self.standing(row);
        let is_unknown = current.is_none();
        if is_unknown && self.pass_over(row, version) {
            return Ok(Some(Applied::Skipped));
        }
        let unsettled = |missing| Unsettled { row, version, missing, is_unknown };
        let rules = self.rules.for_row(row);
        let mut host = RowHost::new(row, &mut self.past, &mut self.target, &self.rules);
        derived.into_iter().for_each(|write| host.know(write));
        let entry = host.write(version).ok_or(unsettled(version))?;
        let settlement = match merge::settle(&rules, current.as_ref(), &entry, &mut host) {
            Ok(settlement) => settlement,
            Err(MergeError::Host(never)) => match never {},
            Err(MergeError::Missing(missing)) => {
                self.log_unknown(row, &entry, is_unknown);
                return Err(unsettled(missing));
            }
        };
        let Settlement { outcome, conflict } = settlement;
        let sides = conflict.map(|found| self.sides(row, &found, current.as_ref(), &entry));
        if !matches!(outcome, Outcome::Known | Outcome::Keep)
            && let Some(write) = derived
        {
            // Another entry names it as a parent, or the row's tombstone does.
            self.journal_own(row, write);
        }
        let applied = match &outcome {
            Outcome::Known | Outcome::Keep | Outcome::Pend => Applied::Skipped,
            Outcome::Take(state) | Outcome::Merge(_, state) => {
                let Some(applied) = self.write_state(row, current.as_ref(), state) else {
                    return Ok(None);
                };
                applied
            }
        };
        if let Outcome::Merge(write, _) = &outcome {
            self.journal_own(row, write);
        }
        match (&outcome, sides.flatten()) {
            (Outcome::Pend, Some(conflict)) => self.pend(&entry, &conflict),
            // A TRUNCATE is measured against whatever the row comes to: told once.
            (_, Some(conflict)) if derived.is_none() || !is_told(row, entry.version) => {
                self.conflict(&conflict);
            }
            (_, Some(_)) => {}
            (_, None) => {}
        }
        self.moved(row);
        Ok(Some(applied))
    }

    /// Writes the tombstones. A row that a user has brought back at this very moment is settled with
    /// what deleted it.
    pub fn bury(&mut self) {
        for (row, version) in self.tombstones.flush() {
            if self.target.find(row).is_some() {
                self.tombstones.came_back(row);
                self.postponed.push((row, version));
                self.outcome.recall_skipped();
            }
        }
    }

    /// The row as it is, or what is known of it since it was deleted.
    pub fn standing(&mut self, row: RowId) -> Option<RowState> {
        self.target.forget_parents();
        if let Some(version) = self.target.find(row) {
            return Some(RowState { version, alive: true, columns: self.target.image() });
        }
        let version = self.tombstones.find(row)?;
        let columns = match self.past.find(row, version) {
            merge::Found::Write(write) => match &write.change {
                Change::Delete(values) => values.clone(),
                Change::Insert(_) | Change::Update(_) => Vec::new(),
            },
            merge::Found::Settled | merge::Found::Missing => Vec::new(),
        };
        Some(RowState { version, alive: false, columns })
    }

    /// Makes the row what the rules say; `None` where it has changed since it was looked up.
    pub fn write_state(
        &mut self,
        row: RowId,
        current: Option<&RowState>,
        state: &RowState,
    ) -> Option<Applied> {
        let is_here = current.is_some_and(|current| current.alive);
        // An entry that may pass can have others behind it that might not.
        if let Some(operation) = self.hinders(is_here, state.alive) {
            self.refused.add(operation, row, state.version);
            return Some(Applied::Skipped);
        }
        let applied = match (is_here, state.alive) {
            (true, true) => {
                let before = current.map_or(&[][..], |current| &current.columns);
                let changes = whole(&state.columns).filter(|(place, value)| {
                    before.get(*place).map(Option::as_deref) != Some(*value)
                });
                settled(self.target.update(row, state.version, changes), Applied::Updated)?
            }
            (true, false) => settled(self.target.delete(), Applied::Deleted)?,
            (false, true) => {
                let inserted = self.target.insert(row, state.version, whole(&state.columns));
                let applied = settled(inserted, Applied::Inserted)?;
                if current.is_some() {
                    self.tombstones.came_back(row);
                }
                applied
            }
            (false, false) => Applied::Skipped,
        };
        match (is_here, state.alive) {
            (_, true) => {}
            (true, false) => self.tombstones.deleted(row, state.version),
            (false, false) => self.tombstones.deleted_absent(row, state.version),
        }
        Some(applied)
    }

    /// The operation that such a change of the row comes to, where it is not permitted.
    fn hinders(&self, is_here: bool, alive: bool) -> Option<Operation> {
        let operation = match (is_here, alive) {
            (false, true) => Operation::Insert,
            (true, true) => Operation::Update,
            // Single deletes that may not pass do not get here.
            (true, false) if !self.permits.allow(Operation::Truncate) => Operation::Delete,
            (_, false) => return None,
        };
        (!self.permits.allow(operation)).then_some(operation)
    }

    /// What was made here travels as an entry of this node, if it is not known already.
    pub fn journal_own(&mut self, row: RowId, write: &Write) {
        let (id, data) = encode(row, write);
        if !journal::exists(id) {
            let layout_id = self.target.layout_id;
            let frame = FrameRow { id, layout_id, origin: 0, entries: 1, data: &data, reach: &[] };
            let mut appender = Appender::open();
            appender.append(&frame);
            appender.flush();
        }
    }

    /// What there is to be seen of a conflict; none where both sides came to the same.
    fn sides(
        &mut self,
        row: RowId,
        found: &Found,
        current: Option<&RowState>,
        entry: &Arc<Write>,
    ) -> Option<Conflict> {
        let rules = self.rules.for_row(row);
        let mut host = RowHost::new(row, &mut self.past, &mut self.target, &self.rules);
        host.know(entry);
        let mut at = |version| state_at(&rules, version, current, &mut host).ok();
        let remote = at(found.remote);
        if let (Some(local), Some(remote)) = (current, &remote)
            && local.same_content(remote)
        {
            return None;
        }
        let image = |state: &RowState| state.row().map(<[Value]>::to_vec);
        let base = found.base.and_then(&mut at);
        let remote = match &remote {
            Some(remote) => image(remote),
            None => self.told_by(entry),
        };
        Some(Conflict {
            kind: ConflictType::from(found.kind),
            row,
            base: Side { version: found.base, image: base.as_ref().and_then(image) },
            local: Side { version: Some(found.local), image: current.and_then(image) },
            remote: Side { version: Some(found.remote), image: remote },
            settled: found.settled,
        })
    }

    /// What an entry alone says of its row.
    fn told_by(&self, entry: &Write) -> Option<Vec<Value>> {
        match &entry.change {
            Change::Insert(values) => Some(values.clone()),
            Change::Delete(_) => None,
            Change::Update(changes) => {
                let mut image = vec![None; self.past.columns()];
                for change in changes {
                    image[change.column].clone_from(&change.new);
                }
                Some(image)
            }
        }
    }

    /// A change of a row that never came here is a conflict that waits.
    fn log_unknown(&mut self, row: RowId, entry: &Write, is_unknown: bool) {
        if is_unknown && matches!(entry.change, Change::Update(_)) {
            let image = self.told_by(entry);
            self.conflict(&Conflict {
                kind: ConflictType::UpdateMissing,
                row,
                base: Side { version: Some(entry.prev), image: None },
                local: Side::default(),
                remote: Side { version: Some(entry.version), image },
                settled: Settled::Pending,
            });
        }
    }
}

/// A frame of one entry, under the table's present layout.
fn encode(row: RowId, write: &Write) -> (Version, Vec<u8>) {
    let operation = match &write.change {
        Change::Insert(_) => Operation::Insert,
        Change::Update(_) => Operation::Update,
        Change::Delete(_) => Operation::Delete,
    };
    let (prev, merged) = (write.prev, write.merged);
    let head = Head { merged, ..Head::new(write.version.index(), operation, row, prev) };
    let mut frame = FrameWriter::default();
    match &write.change {
        Change::Insert(values) | Change::Delete(values) => {
            let mut writer = frame.row(&head, values.len());
            values.iter().for_each(|value| writer.value(value.as_deref()));
        }
        Change::Update(changes) => {
            let mut writer = frame.update(&head, changes.len());
            for change in changes {
                let values = writer.column(change.column);
                values.value(change.old.as_deref());
                values.value(change.new.as_deref());
            }
        }
    }
    frame.finish(write.version)
}
