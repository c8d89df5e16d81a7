//! What the local journal knows of a row's past: its entries, in the columns that the table's layout
//! has here.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use syncjournal_core::merge::{Change, ColumnChange, Found, Value, Write};
use syncjournal_core::{Entry, HybridTime, Operation, RowId, Version, frame};

use super::skipped;
use super::target::Target;
use crate::error::corrupted;
use crate::journal;
use crate::layout::{self, StoredLayout};

/// Reads the past of rows of one table.
#[derive(Debug)]
pub struct Past {
    relation_id: i32,
    /// The layout in which writes are given.
    layout: Rc<StoredLayout>,
    /// For each layout of the journal the columns here, none where the column is gone.
    places: HashMap<i32, Vec<Option<usize>>>,
    /// Up to here the journal may have been pruned; looked up when first asked for.
    horizon: Option<HybridTime>,
}

impl Past {
    pub fn of(target: &Target) -> Self {
        let (relation_id, layout) = (target.relation_id, layout::by_id(target.layout_id));
        Self { relation_id, layout, places: HashMap::new(), horizon: None }
    }

    /// Columns of the table's layout.
    pub fn columns(&self) -> usize {
        self.layout.definition.columns.len()
    }

    /// Looks an entry of the row up.
    pub fn find(&mut self, row: RowId, version: Version) -> Found {
        match self.write(row, version) {
            Some(write) => Found::Write(Arc::new(write)),
            None if version.time() <= self.horizon() => Found::Settled,
            None => Found::Missing,
        }
    }

    /// What an entry of the row replaced, as far as the journal knows.
    pub fn parents(&mut self, row: RowId, version: Version) -> impl Iterator<Item = Version> {
        let write = self.write(row, version);
        write.into_iter().flat_map(|write| [write.prev, write.merged]).filter(|at| !at.is_nil())
    }

    fn write(&mut self, row: RowId, version: Version) -> Option<Write> {
        let found = journal::frame_of(version)?;
        for entry in frame::entries(found.id, &found.data) {
            let entry = entry.unwrap_or_else(|error| {
                corrupted(format_args!("frame {}: {error}", found.id)).raise()
            });
            if entry.index == version.index() {
                let is_rows_own = entry.row == row && entry.version == version;
                return is_rows_own.then(|| self.own_write(&entry, found.layout_id)).flatten();
            }
        }
        None
    }

    /// The row at a version at which a full set had it, and was not followed.
    pub fn skipped_state(&mut self, row: RowId, version: Version) -> Option<Vec<Value>> {
        let (layout_id, data) = skipped::find((self.relation_id, row, version))?;
        let state = frame::entries(version.with_index(0), &data).flatten().next()?;
        let columns = self.columns();
        Some(whole_row(&state, self.places(layout_id), columns))
    }

    fn own_write(&mut self, entry: &Entry<'_>, layout_id: i32) -> Option<Write> {
        let columns = self.columns();
        write_of(entry, self.places(layout_id), columns)
    }

    /// Where the columns of a layout stand here.
    fn places(&mut self, layout_id: i32) -> &[Option<usize>] {
        let Self { layout, places, .. } = self;
        places.entry(layout_id).or_insert_with(|| {
            let stored = layout::by_id(layout_id);
            let here = &layout.definition;
            let place = |there: &syncjournal_core::Column| {
                let place = here.position(&there.name)?;
                let here = &here.columns[place];
                (here.type_name == there.type_name && here.format == there.format).then_some(place)
            };
            stored.definition.columns.iter().map(place).collect()
        })
    }

    fn horizon(&mut self) -> HybridTime {
        *self.horizon.get_or_insert_with(journal::pruned_to)
    }
}

/// An entry as the rules see it, its columns where `places` says; none for what is no row's entry.
pub fn write_of(entry: &Entry<'_>, places: &[Option<usize>], columns: usize) -> Option<Write> {
    let place = |column: usize| places.get(column).copied().flatten();
    let change = match entry.operation {
        Operation::Insert => Change::Insert(whole_row(entry, places, columns)),
        Operation::Delete => Change::Delete(whole_row(entry, places, columns)),
        Operation::Update => {
            let change = |change: syncjournal_core::entry::Change<'_>| {
                let (old, new) = (owned(change.old), owned(change.new));
                Some(ColumnChange { column: place(change.column)?, old, new })
            };
            Change::Update(entry.changes().filter_map(change).collect())
        }
        Operation::Truncate | Operation::State | Operation::Leave => return None,
    };
    Some(Write { version: entry.version, prev: entry.prev, merged: entry.merged, change })
}

/// The values of an entry that carries a whole row.
pub fn whole_row(entry: &Entry<'_>, places: &[Option<usize>], columns: usize) -> Vec<Value> {
    let mut row = vec![None; columns];
    for (column, value) in entry.values().enumerate() {
        if let Some(place) = places.get(column).copied().flatten() {
            row[place] = owned(value);
        }
    }
    row
}

pub fn owned(value: Option<&[u8]>) -> Value {
    value.map(Arc::from)
}
