//! One database: rows, tombstones, journal, log, positions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use syncjournal_core::merge::{
    self, Change, Choice, Conflict, MergeError, Outcome, RowState, TruncateSummary, Write,
};
use syncjournal_core::version::TRUNCATE_BACKEND;
use syncjournal_core::{Clock, HybridTime, Version};

use crate::host::{Journal, Row, RowHistory, initial_row, row_id, rules};
use crate::plan::{Flaw, Plan};

/// What travels.
#[derive(Clone, Debug)]
pub enum Item {
    Write(Row, Arc<Write>),
    Truncate(Version, Arc<TruncateSummary>),
}

impl Item {
    #[must_use]
    pub fn version(&self) -> Version {
        match self {
            Self::Write(_, write) => write.version,
            Self::Truncate(version, _) => *version,
        }
    }

    #[must_use]
    pub fn key(&self) -> (Row, Version) {
        match self {
            Self::Write(row, write) => (*row, write.version),
            // No row has this number.
            Self::Truncate(version, _) => (Row::MAX, *version),
        }
    }
}

/// One place in a node's log, which is in order of commit and not of version.
#[derive(Clone, Debug)]
pub struct Logged {
    pub item: Item,
    /// The node tag it was received from; 0: written here.
    pub origin: u32,
}

/// A conflict as the node's log of conflicts keeps it.
#[derive(Clone, Debug)]
pub struct LoggedConflict {
    pub row: Row,
    pub conflict: Conflict,
}

/// A transaction that has its version and has not committed.
#[derive(Clone, Debug)]
pub struct Open {
    pub row: Row,
    pub write: Arc<Write>,
    pub state: RowState,
}

#[derive(Clone, Debug)]
pub struct Node {
    /// Unique, and new after a restore.
    pub tag: u32,
    pub clock: Clock,
    pub skew: i64,
    /// Rows and tombstones.
    pub rows: BTreeMap<Row, RowState>,
    pub journal: Journal,
    pub pruned: BTreeSet<(Row, Version)>,
    /// Up to here the log is pruned.
    pub pruned_to: usize,
    /// Up to here it may be pruned once it is settled up to the second.
    pub prune_next: (usize, usize),
    /// The latest version that was ever pruned.
    pub horizon: HybridTime,
    pub truncates: Vec<Version>,
    pub summaries: Vec<Arc<TruncateSummary>>,
    pub log: Vec<Logged>,
    /// By node tag, how much of its log has been applied.
    pub received: BTreeMap<u32, usize>,
    pub inbox: BTreeMap<Row, Vec<Version>>,
    pub conflicts: Vec<LoggedConflict>,
    /// Entries that lack one on which they depend.
    pub waiting: Vec<(Row, Arc<Write>)>,
    pub open: Option<Open>,
}

/// Where a node is in time.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    pub plan: &'a Plan,
    pub wall_micros: u64,
}

impl Node {
    #[must_use]
    pub fn new(plan: &Plan, tag: u32, skew: i64) -> Self {
        let rows = (0..plan.initial_rows).map(|row| (row, initial_row(plan))).collect();
        Self {
            tag,
            clock: Clock::default(),
            skew,
            rows,
            journal: Journal::default(),
            pruned: BTreeSet::new(),
            pruned_to: 0,
            prune_next: (0, 0),
            horizon: HybridTime::default(),
            truncates: Vec::new(),
            summaries: Vec::new(),
            log: Vec::new(),
            received: BTreeMap::new(),
            inbox: BTreeMap::new(),
            conflicts: Vec::new(),
            waiting: Vec::new(),
            open: None,
        }
    }

    fn wall(&self, now: Moment<'_>) -> HybridTime {
        HybridTime::from_unix_micros(now.wall_micros.saturating_add_signed(self.skew))
    }

    /// A version for a local write that replaces `prev`.
    pub fn allocate(&mut self, now: Moment<'_>, prev: Version) -> Version {
        let wall = self.wall(now);
        let mut after = prev.time();
        if prev.is_nil() {
            // An identity may be used again after its tombstone was pruned.
            after = after.max(self.horizon);
        }
        Version::new(self.clock.next(wall, after), self.tag, 1, 0)
    }

    /// The parent of an insert: whatever ended the row's earlier life, so that the insert knows it.
    #[must_use]
    pub fn parent_of_insert(&self, plan: &Plan, row: Row) -> Version {
        if plan.flaw == Some(Flaw::InsertForgetsTombstone) {
            return Version::NIL;
        }
        let tombstone = self.rows.get(&row).map(|state| state.version);
        tombstone.unwrap_or_default()
    }

    /// A transaction of this node commits.
    pub fn commit(&mut self, now: Moment<'_>, row: Row, write: Arc<Write>, state: RowState) {
        for parent in [write.prev, write.merged] {
            self.log_truncated(row, parent);
        }
        self.journal.insert((row, write.version), Arc::clone(&write));
        self.log.push(Logged { item: Item::Write(row, write), origin: 0 });
        self.moved(now, row, state);
    }

    /// A delete by TRUNCATE is an entry of its own as soon as another names it as a parent: not
    /// every node would derive the same one.
    fn log_truncated(&mut self, row: Row, version: Version) {
        if version.backend() != TRUNCATE_BACKEND {
            return;
        }
        let logged = self.log.iter().any(|logged| logged.item.key() == (row, version));
        if let Some(delete) = self.journal.get(&(row, version)).filter(|_| !logged) {
            let item = Item::Write(row, Arc::clone(delete));
            self.log.push(Logged { item, origin: 0 });
        }
    }

    pub fn commit_open(&mut self, now: Moment<'_>) {
        if let Some(Open { row, write, state }) = self.open.take() {
            self.commit(now, row, write, state);
        }
    }

    /// Deletes all rows, as a TRUNCATE here does.
    pub fn truncate(&mut self, now: Moment<'_>) -> Item {
        self.commit_open(now);
        let latest = self.rows.values().map(|state| state.version).max().unwrap_or_default();
        let latest = latest.max(self.truncates.iter().max().copied().unwrap_or_default());
        let version = self.allocate(now, latest);
        let mut summary = TruncateSummary::of_node(version);
        let rows = self.rows.iter().filter(|(_, state)| state.alive);
        rows.for_each(|(row, state)| summary.add(row_id(*row), state.version));
        let [seen, rows] = summary.encode();
        let summary = TruncateSummary::decode(&seen, &rows).expect("as it was encoded");
        let item = Item::Truncate(version, Arc::new(summary));
        self.log.push(Logged { item: item.clone(), origin: 0 });
        self.take_truncate(now, &item);
        item
    }

    /// Whether the entry is in the journal already.
    #[must_use]
    pub fn holds(&self, item: &Item) -> bool {
        match item {
            Item::Write(row, write) => self.journal.contains_key(&(*row, write.version)),
            Item::Truncate(version, _) => self.truncates.contains(version),
        }
    }

    /// Applies a set that came from the node with tag `origin`.
    ///
    /// What fits a row goes on top at once. The entries of a row that diverged wait until the set
    /// is journaled whole, and are settled then, the latest first: it mostly has the others behind
    /// it, so that a set makes one merge of a row and not one for each entry.
    pub fn apply<'i>(
        &mut self,
        now: Moment<'_>,
        items: impl Iterator<Item = &'i Item>,
        origin: u32,
    ) {
        let mut diverged: Vec<(Row, Arc<Write>)> = std::mem::take(&mut self.waiting);
        for item in items {
            if self.holds(item) {
                if let Item::Write(row, write) = item {
                    // Derived here too, but peers further on may not be able to.
                    self.log_truncated(*row, write.version);
                }
                continue;
            }
            self.log.push(Logged { item: item.clone(), origin });
            let Item::Write(row, write) = item else {
                self.settle_latest_first(now, &mut diverged);
                self.take_truncate(now, item);
                continue;
            };
            if self.open.as_ref().is_some_and(|open| open.row == *row) {
                self.commit_open(now);
            }
            self.journal.insert((*row, write.version), Arc::clone(write));
            match self.rows.get(row) {
                Some(state) if state.version != write.prev => {
                    diverged.push((*row, Arc::clone(write)));
                }
                _ => self.settle(now, *row, Arc::clone(write)),
            }
        }
        self.settle_latest_first(now, &mut diverged);
    }

    fn settle_latest_first(&mut self, now: Moment<'_>, diverged: &mut Vec<(Row, Arc<Write>)>) {
        diverged.sort_by_key(|(row, write)| std::cmp::Reverse((*row, write.version)));
        for (row, write) in diverged.drain(..) {
            self.settle(now, row, write);
        }
    }

    fn take_truncate(&mut self, now: Moment<'_>, item: &Item) {
        let Item::Truncate(version, summary) = item else { return };
        self.commit_open(now);
        self.truncates.push(*version);
        self.summaries.push(Arc::clone(summary));
        let rows: Vec<Row> = self.rows.keys().copied().collect();
        rows.into_iter().for_each(|row| self.truncate_row(now, row, self.truncates.len() - 1));
    }

    /// The TRUNCATE as what it is to this row.
    fn truncate_row(&mut self, now: Moment<'_>, row: Row, place: usize) {
        let Some(state) = self.rows.get(&row).cloned() else { return };
        let summary = Arc::clone(&self.summaries[place]);
        if now.plan.flaw == Some(Flaw::TruncateAll) {
            self.rows.remove(&row);
            return;
        }
        let rules = rules(now.plan, row);
        let delete = summary.delete_of(&rules, &state, &mut self.history(now, row));
        match delete {
            Ok(Some(delete)) => {
                self.journal.insert((row, delete.version), Arc::clone(&delete));
                self.settle_alone(now, row, delete);
            }
            Ok(None) => {}
            Err(MergeError::Host(never)) => match never {},
            Err(MergeError::Missing(_)) => {
                let write = self.journal.get(&(row, state.version)).cloned();
                write.into_iter().for_each(|write| self.waiting.push((row, write)));
            }
        }
    }

    /// Settles an entry, and then the TRUNCATEs that may have to do with what it brought.
    fn settle(&mut self, now: Moment<'_>, row: Row, write: Arc<Write>) {
        self.settle_alone(now, row, write);
        (0..self.truncates.len()).for_each(|place| self.truncate_row(now, row, place));
    }

    fn settle_alone(&mut self, now: Moment<'_>, row: Row, write: Arc<Write>) {
        let rules = rules(now.plan, row);
        let current = self.rows.get(&row).cloned();
        let settled = merge::settle(&rules, current.as_ref(), &write, &mut self.history(now, row));
        let settlement = match settled {
            Ok(settlement) => settlement,
            Err(MergeError::Host(never)) => match never {},
            Err(MergeError::Missing(_)) => {
                self.waiting.push((row, write));
                return;
            }
        };
        if let Some(conflict) = settlement.conflict {
            self.conflicts.push(LoggedConflict { row, conflict });
        }
        match settlement.outcome {
            Outcome::Known | Outcome::Keep => {}
            Outcome::Take(state) => self.moved(now, row, state),
            Outcome::Merge(write, state) => self.commit(now, row, write, state),
            Outcome::Pend => {
                let mut inbox = self.inbox.remove(&row).unwrap_or_default();
                let done =
                    merge::wait_in_inbox(&mut inbox, write.version, &mut self.history(now, row));
                let Ok(()) = done;
                self.inbox.insert(row, inbox);
            }
        }
    }

    fn moved(&mut self, now: Moment<'_>, row: Row, state: RowState) {
        let head = state.version;
        self.rows.insert(row, state);
        if let Some(mut inbox) = self.inbox.remove(&row) {
            let Ok(()) = merge::forget_covered(&mut inbox, head, &mut self.history(now, row));
            if !inbox.is_empty() {
                self.inbox.insert(row, inbox);
            }
        }
    }

    /// A person settles the first pending conflict of the row.
    pub fn resolve(&mut self, now: Moment<'_>, row: Row, choice: Choice) -> Option<Arc<Write>> {
        let remote = *self.inbox.get(&row)?.first()?;
        let local = self.rows.get(&row)?.clone();
        let version = self.allocate(now, local.version.max(remote));
        let rules = rules(now.plan, row);
        let history = &mut self.history(now, row);
        match merge::resolve(&rules, &local, remote, choice, version, history) {
            Ok((write, state)) => {
                self.commit(now, row, Arc::clone(&write), state);
                Some(write)
            }
            Err(MergeError::Host(never)) => match never {},
            Err(MergeError::Missing(_)) => None,
        }
    }

    pub fn history<'a>(&'a mut self, now: Moment<'a>, row: Row) -> RowHistory<'a> {
        let wall = self.wall(now);
        RowHistory {
            row,
            journal: &self.journal,
            pruned: &self.pruned,
            clock: &mut self.clock,
            wall,
            tag: self.tag,
            custom: now.plan.custom,
        }
    }

    /// Drops what the log holds below `end`: entries, and the tombstones that they made.
    pub fn prune_to(&mut self, end: usize) {
        for place in self.pruned_to..end {
            let Item::Write(row, write) = &self.log[place].item else { continue };
            let key = (*row, write.version);
            self.horizon = self.horizon.max(write.version.time());
            self.journal.remove(&key);
            self.pruned.insert(key);
            let buried = |state: &RowState| !state.alive && state.version == write.version;
            if matches!(write.change, Change::Delete(_)) && self.rows.get(row).is_some_and(buried) {
                self.rows.remove(row);
            }
        }
        self.pruned_to = self.pruned_to.max(end);
    }
}
