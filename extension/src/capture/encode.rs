//! The values of an entry, from the rows that a trigger sees.

use std::cell::Cell;
use std::convert::Infallible;

use syncjournal_core::frame::{ChangeWriter, ValueWriter};

use crate::capture::flush::lost_parent;
use crate::layout::Tracked;
use crate::pg::reference;
use crate::pg::trigger::{ColumnAccess, Row};
use crate::value::PortableSettings;

/// Memory kept for the next row; more is given back, a single huge value must not stay.
const KEEP_BYTES: usize = 64 << 10;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Lets `write` fill a spare buffer and `read` look at it. The buffer is taken out meanwhile: a
/// nested trigger finds an empty one.
fn with_spare<R>(
    write: impl FnOnce(&mut Vec<u8>) -> usize,
    read: impl FnOnce(usize, &[u8]) -> R,
) -> R {
    let mut bytes = SPARE.take();
    bytes.clear();
    let count = write(&mut bytes);
    let result = read(count, &bytes);
    if bytes.capacity() <= KEEP_BYTES {
        SPARE.set(bytes);
    }
    result
}

fn settings(tracked: &Tracked) -> Option<PortableSettings> {
    tracked.needs_settings.then(PortableSettings::enter)
}

fn write_value(row: &Row<'_>, column: &ColumnAccess, writer: &mut ValueWriter<'_>) {
    if row.is_null(column) {
        writer.null();
        return;
    }
    let written: Result<(), Infallible> = writer.value_with(|out| {
        row.encode(column, out);
        Ok(())
    });
    let Ok(()) = written;
}

/// A value that was: where it points to a row that cannot be found any more, that is no error.
fn write_old(row: &Row<'_>, column: &ColumnAccess, writer: &mut ValueWriter<'_>) {
    let holes = reference::holes();
    write_value(row, column, writer);
    if column.reference.is_some() {
        reference::forgive_holes(holes);
    }
}

/// All values of a row: how many, and their bytes.
pub fn whole_row<R>(tracked: &Tracked, row: &Row<'_>, read: impl FnOnce(usize, &[u8]) -> R) -> R {
    let write = |out: &mut Vec<u8>| {
        let _settings = settings(tracked);
        let mut writer = ValueWriter::new(out);
        for column in &tracked.columns {
            write_value(row, column, &mut writer);
        }
        tracked.columns.len()
    };
    with_spare(write, read)
}

/// The columns that differ, or all where `whole`, each with its old and its new value. Values that
/// are unchanged are neither read nor detoasted then.
pub fn changes<R>(
    tracked: &Tracked,
    (old, new): (&Row<'_>, &Row<'_>),
    whole: bool,
    read: impl FnOnce(usize, &[u8]) -> R,
) -> R {
    let write = |out: &mut Vec<u8>| {
        let _settings = settings(tracked);
        let mut writer = ChangeWriter::new(out);
        let mut count = 0;
        for (number, column) in tracked.columns.iter().enumerate() {
            if whole || !old.same_value(new, column) {
                let values = writer.column(number);
                write_old(old, column, values);
                write_value(new, column, values);
                count += 1;
            }
        }
        count
    };
    with_spare(write, read)
}

/// Whether the columns that travel are the same in both rows.
pub fn is_unchanged(tracked: &Tracked, old: &Row<'_>, new: &Row<'_>) -> bool {
    old.same_bytes(new) || tracked.columns.iter().all(|column| old.same_value(new, column))
}

/// A row that outlives its trigger call.
#[derive(Debug)]
pub struct EncodedRow {
    /// `None` is NULL.
    values: Vec<Option<Vec<u8>>>,
}

impl EncodedRow {
    /// A row that was: what it refers to and is not there stays unknown.
    pub fn of_old(tracked: &Tracked, row: &Row<'_>) -> Self {
        let encoded = Self::of(tracked, row);
        drop(reference::take_holes());
        encoded
    }

    pub fn of_new(tracked: &Tracked, row: &Row<'_>) -> Self {
        let encoded = Self::of(tracked, row);
        if let Some(hole) = reference::take_holes().first() {
            lost_parent(hole);
        }
        encoded
    }

    fn of(tracked: &Tracked, row: &Row<'_>) -> Self {
        let _settings = settings(tracked);
        let value = |column: &ColumnAccess| {
            let mut bytes = Vec::new();
            row.encode(column, &mut bytes).then_some(bytes)
        };
        Self { values: tracked.columns.iter().map(value).collect() }
    }

    /// As [`whole_row`].
    pub fn write<R>(&self, read: impl FnOnce(usize, &[u8]) -> R) -> R {
        let write = |out: &mut Vec<u8>| {
            let mut writer = ValueWriter::new(out);
            for value in &self.values {
                writer.value(value.as_deref());
            }
            self.values.len()
        };
        with_spare(write, read)
    }

    /// As [`changes`], from this row to another.
    pub fn changes_to<R>(
        &self,
        new: &Self,
        whole: bool,
        read: impl FnOnce(usize, &[u8]) -> R,
    ) -> R {
        let write = |out: &mut Vec<u8>| {
            let mut writer = ChangeWriter::new(out);
            let mut count = 0;
            for (number, (old, new)) in self.values.iter().zip(&new.values).enumerate() {
                if whole || old != new {
                    let values = writer.column(number);
                    values.value(old.as_deref());
                    values.value(new.as_deref());
                    count += 1;
                }
            }
            count
        };
        with_spare(write, read)
    }
}
