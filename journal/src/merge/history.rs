//! What the merge rules see of a row: its writes, and what it looked like after one of them.

use std::sync::Arc;

use thiserror::Error;

use crate::entry::RowId;
use crate::version::Version;

/// A column's value in the form that frames carry; `None` is NULL.
pub type Value = Option<Arc<[u8]>>;

/// One entry of one row, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub version: Version,
    /// The version that it replaced.
    pub prev: Version,
    /// The second parent of a merge, nil otherwise.
    pub merged: Version,
    pub change: Change,
}

/// What a write did to the row as it stood at `prev`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Values of all columns.
    Insert(Vec<Value>),
    Update(Vec<ColumnChange>),
    /// The old values of all columns: what the row would have, did it still exist.
    Delete(Vec<Value>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnChange {
    pub column: usize,
    pub old: Value,
    pub new: Value,
}

impl ColumnChange {
    /// The first update of a row that was there when its table was tracked carries the columns
    /// that it left alone too.
    pub(super) fn is_real(&self) -> bool {
        self.old != self.new
    }
}

impl Write {
    /// Made by the rules, not by a user: what it holds was all written by others before.
    #[must_use]
    pub const fn is_automatic(&self) -> bool {
        self.version.is_merge()
    }

    #[must_use]
    pub const fn has_two_parents(&self) -> bool {
        !self.merged.is_nil()
    }

    pub(super) fn parents(&self) -> impl Iterator<Item = Version> + use<> {
        let second = (self.has_two_parents() && self.merged != self.prev).then_some(self.merged);
        std::iter::once(self.prev).chain(second)
    }
}

/// A row at a version.
///
/// A deleted row keeps its columns: a concurrent later update may bring it back, and then nothing
/// of it may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowState {
    pub version: Version,
    pub alive: bool,
    pub columns: Vec<Value>,
}

impl RowState {
    /// Before its first write.
    pub(super) const fn absent() -> Self {
        Self { version: Version::NIL, alive: false, columns: Vec::new() }
    }

    /// The values, unless the row is deleted.
    #[must_use]
    pub fn row(&self) -> Option<&[Value]> {
        self.alive.then_some(&self.columns)
    }

    #[must_use]
    pub fn same_content(&self, other: &Self) -> bool {
        self.row() == other.row()
    }

    /// The row after `write`, which must follow on this state.
    #[must_use]
    pub fn after(&self, write: &Write) -> Self {
        let mut next = self.clone();
        next.version = write.version;
        match &write.change {
            Change::Insert(values) => {
                next.alive = true;
                next.columns.clone_from(values);
            }
            Change::Delete(values) => {
                next.alive = false;
                next.columns.clone_from(values);
            }
            Change::Update(changes) => {
                next.alive = true;
                for change in changes {
                    if next.columns.len() <= change.column {
                        next.columns.resize(change.column + 1, None);
                    }
                    next.columns[change.column].clone_from(&change.new);
                }
            }
        }
        next
    }
}

/// What a journal says about a version of the row.
#[derive(Clone, Debug)]
pub enum Found {
    Write(Arc<Write>),
    /// Pruned, which happens only to what every node of the network has.
    Settled,
    /// Never received, or lost.
    Missing,
}

/// What the rules need from whoever keeps the journal, for one row.
pub trait Host {
    type Error;

    /// Looks an entry of the row up; deletes by TRUNCATE included, see
    /// [`super::TruncateSummary::delete_of`].
    ///
    /// # Errors
    /// Whatever the look-up fails with.
    fn find(&mut self, version: Version) -> Result<Found, Self::Error>;

    /// The columns of the row at a version whose entry is not there, where something else tells
    /// them. What lies behind that version they do not say.
    ///
    /// # Errors
    /// Whatever the look-up fails with.
    fn standing_at(&mut self, _version: Version) -> Result<Option<Vec<Value>>, Self::Error> {
        Ok(None)
    }

    /// `value + (new - old)` in the column's type, NULL counting as zero.
    ///
    /// # Errors
    /// Whatever the arithmetic fails with, overflow for one.
    fn add(
        &mut self,
        column: usize,
        value: &Value,
        new: &Value,
        old: &Value,
    ) -> Result<Value, Self::Error>;

    /// The custom policy's function: a row, or none to delete it.
    ///
    /// # Errors
    /// Whatever the function fails with.
    fn merge_rows(
        &mut self,
        base: Option<&[Value]>,
        local: Option<&[Value]>,
        remote: Option<&[Value]>,
    ) -> Result<Option<Vec<Value>>, Self::Error>;

    /// A version for a custom merge, later than `after`, made by [`Version::custom_merge`].
    fn custom_version(&mut self, after: Version) -> Version;
}

/// The rules could not come to a decision.
#[derive(Debug, Error)]
pub enum MergeError<E> {
    /// The entry has to wait until this one is here: fetch the row's chain from the sender.
    #[error("the journal does not hold entry {0}, on which the row's history depends")]
    Missing(Version),
    #[error(transparent)]
    Host(#[from] E),
}

/// How conflicts of a table are settled.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub row: RowId,
    pub policy: Policy,
    /// Number of columns in the layout.
    pub columns: usize,
    /// Columns whose concurrent differences are added, whatever the policy.
    pub counters: Vec<usize>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// The row as the latest writer left it.
    #[default]
    LastUpdateWins,
    /// The branch whose first write was the earlier.
    FirstUpdateWins,
    /// The branch with a write by the node named first; nodes not named come last.
    NodePriority(Vec<u32>),
    /// Column by column; of a column that both changed, the later write.
    MergeColumns,
    /// What the host's function makes of the two.
    Custom,
    /// Nothing until a person decides.
    Manual,
    /// One-way links only: the row stays.
    KeepLocal,
    /// One-way links only: the row follows the source.
    ApplyRemote,
}

impl Rules {
    pub(super) fn is_counter(&self, column: usize) -> bool {
        self.counters.contains(&column)
    }
}
