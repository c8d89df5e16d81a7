//! Several rows of one of our own tables, written together: one record of WAL for all that go to a
//! page, and each index in one go.

use std::ptr::null_mut;

use pgrx::pg_sys::{self, Datum};

use super::memory;
use super::table::{Field, MAX_COLUMNS, Table};

/// Rows that wait to be written. All are of the same table, and none outlives the memory context
/// that was the current one when the first was added.
#[derive(Debug, Default)]
pub struct RowBatch {
    slots: Vec<*mut pg_sys::TupleTableSlot>,
    filled: usize,
}

impl RowBatch {
    pub fn len(&self) -> usize {
        self.filled
    }

    /// Adds a row that has a value for every column, in order.
    pub fn add(&mut self, table: &Table, fields: &[Field<'_>]) {
        let mut datums = [Datum::from(0); MAX_COLUMNS];
        for (datum, field) in datums.iter_mut().zip(fields) {
            *datum = field.datum();
        }
        // SAFETY: the slot is made for the table, whose columns the caller's fields match, which its
        // descriptor's count confirms. What they point to is copied before it goes.
        unsafe {
            assert_eq!((*(*table.relation).rd_att).natts as usize, fields.len(), "columns");
            if self.filled == self.slots.len() {
                self.slots.push(pg_sys::table_slot_create(table.relation, null_mut()));
            }
            let slot = self.slots[self.filled];
            pg_sys::ExecClearTuple(slot);
            for (place, field) in fields.iter().enumerate() {
                *(*slot).tts_values.add(place) = datums[place];
                *(*slot).tts_isnull.add(place) = matches!(field, Field::Null);
            }
            pg_sys::ExecStoreVirtualTuple(slot);
            pg_sys::ExecMaterializeSlot(slot);
            for (datum, field) in datums.iter().zip(fields) {
                if let Field::Bytes(_) = field {
                    pg_sys::pfree(datum.cast_mut_ptr());
                }
            }
        }
        self.filled += 1;
    }

    /// Writes the rows to their table, opened by [`Table::write`].
    pub fn write(&mut self, table: &Table) {
        let slots = &mut self.slots[..self.filled];
        self.filled = 0;
        if slots.is_empty() {
            return;
        }
        // SAFETY: every slot holds a row of its own; index keys are plain columns of it. What the
        // server allocates on the way is not needed afterwards.
        memory::scratch(|| unsafe {
            pg_sys::heap_multi_insert(
                table.relation,
                slots.as_mut_ptr(),
                slots.len() as i32,
                pg_sys::GetCurrentCommandId(true),
                0,
                null_mut(),
            );
            for index in &table.indexes {
                for slot in &*slots {
                    pg_sys::slot_getallattrs(*slot);
                    let count = (*(*(*slot)).tts_tupleDescriptor).natts as usize;
                    let datums = std::slice::from_raw_parts((**slot).tts_values, count);
                    table.insert_key(*index, datums, &raw mut (**slot).tts_tid);
                }
            }
            for slot in &*slots {
                pg_sys::ExecClearTuple(*slot);
            }
        });
    }
}

impl Drop for RowBatch {
    fn drop(&mut self) {
        // While an error unwinds Postgres may not be called; it drops the slots by itself.
        if !std::thread::panicking() {
            for slot in self.slots.drain(..) {
                // SAFETY: made by `add`, dropped once.
                unsafe { pg_sys::ExecDropSingleTupleTableSlot(slot) };
            }
        }
    }
}
