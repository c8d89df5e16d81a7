//! Three-way merge, column by column.
//!
//! Every column holds what its latest writer wrote, and a row exists unless its latest writer
//! deleted it: the content is a function of the users' writes behind a head and of nothing else,
//! whatever the order of the merges.

use std::sync::Arc;

use crate::merge::history::{Change, ColumnChange, RowState, Rules, Value, Write};
use crate::version::Version;

/// Who wrote last, on one side.
#[derive(Clone, Debug)]
pub struct Touched {
    /// Of each column the latest writer; counters have none.
    columns: Vec<Option<Version>>,
    /// The latest writer of all, deletes included.
    pub latest: Option<Version>,
    pub deletes_or_inserts: bool,
}

impl Touched {
    pub fn by(rules: &Rules, writes: &[Arc<Write>]) -> Self {
        let mut touched =
            Self { columns: vec![None; rules.columns], latest: None, deletes_or_inserts: false };
        for write in writes {
            touched.latest = touched.latest.max(Some(write.version));
            let updates = matches!(write.change, Change::Update(_));
            touched.deletes_or_inserts |= !updates;
            match &write.change {
                // A person who settled a conflict decided on every column.
                _ if write.has_two_parents() => touched.all(rules, write.version),
                Change::Insert(_) => touched.all(rules, write.version),
                Change::Delete(_) => {}
                Change::Update(changes) => changes
                    .iter()
                    .filter(|change| !rules.is_counter(change.column) && change.is_real())
                    .for_each(|change| touched.one(change.column, write.version)),
            }
        }
        touched
    }

    fn all(&mut self, rules: &Rules, version: Version) {
        (0..rules.columns)
            .filter(|column| !rules.is_counter(*column))
            .for_each(|column| self.one(column, version));
    }

    fn one(&mut self, column: usize, version: Version) {
        if let Some(writer) = self.columns.get_mut(column) {
            *writer = (*writer).max(Some(version));
        }
    }

    /// Nothing but counters.
    pub fn nothing(&self) -> bool {
        !self.deletes_or_inserts && self.columns.iter().all(Option::is_none)
    }

    /// Whether this side wrote last wherever the other wrote: then the other adds nothing, and
    /// nothing that comes later can need it.
    pub fn dominates(&self, other: &Self) -> bool {
        self.latest > other.latest
            && self.columns.iter().zip(&other.columns).all(|(ours, theirs)| ours >= theirs)
    }

    /// Whether a column that both wrote came out differently.
    pub fn collides(&self, other: &Self, ours: &RowState, theirs: &RowState) -> bool {
        ours.alive != theirs.alive
            || (0..self.columns.len()).any(|column| {
                self.columns[column].is_some()
                    && other.columns[column].is_some()
                    && ours.columns.get(column) != theirs.columns.get(column)
            })
    }

    /// Of each column the value of the side that wrote it last; `base` is this side's row.
    pub fn merge(&self, other: &Self, ours: &RowState, theirs: &RowState) -> Vec<Value> {
        let mut merged = ours.columns.clone();
        merged.resize(self.columns.len().max(merged.len()), None);
        for (column, (mine, yours)) in self.columns.iter().zip(&other.columns).enumerate() {
            if yours > mine {
                merged[column] = theirs.columns.get(column).cloned().flatten();
            }
        }
        merged
    }
}

/// All columns, changed or not.
pub fn replace_all(old: &[Value], new: &[Value]) -> Vec<ColumnChange> {
    (0..old.len().max(new.len()))
        .map(|column| ColumnChange {
            column,
            old: old.get(column).cloned().flatten(),
            new: new.get(column).cloned().flatten(),
        })
        .collect()
}

/// What makes `new` of the columns of `old`.
pub fn difference(old: &[Value], new: &[Value]) -> Vec<ColumnChange> {
    (0..old.len().max(new.len()))
        .filter_map(|column| {
            let old = old.get(column).cloned().flatten();
            let new = new.get(column).cloned().flatten();
            (old != new).then_some(ColumnChange { column, old, new })
        })
        .collect()
}
