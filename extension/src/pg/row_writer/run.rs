//! Rows inserted together. They share one walk over the table's pages and one WAL record a page; and
//! nobody looks beforehand whether a row is there: the unique index of the identity tells.

use std::ptr::null_mut;

use pgrx::pg_sys::{self, Datum};

use super::indexes::Taken;
use super::{RowWriter, columns_of, slot_arrays};
use crate::pg::context;
use crate::pg::postponed::Suspect;

/// Rows of a run, at most.
pub const MOST_ROWS: usize = 500;

/// Rows that are about to be inserted.
#[derive(Debug, Default)]
pub struct Run {
    /// As many as the longest run so far had rows.
    slots: Vec<*mut pg_sys::TupleTableSlot>,
    rows: Vec<[u8; 16]>,
}

impl Run {
    pub(super) fn close(&self) {
        for slot in &self.slots {
            // SAFETY: made by `RowWriter::next`, dropped once.
            unsafe { pg_sys::ExecDropSingleTupleTableSlot(*slot) };
        }
    }
}

impl RowWriter {
    /// Whether rows can be inserted in runs: nobody's code runs in between, and the index of the
    /// identity tells whether a row is there.
    pub fn takes_runs(&self) -> bool {
        // SAFETY: the index is open.
        let identity = unsafe { (*self.index).rd_id };
        self.indexes.as_ref().is_some_and(|indexes| indexes.is_sole_key(identity))
    }

    /// The next row of the run: every element must be set, to what lasts until the run is
    /// inserted, before it is added.
    pub fn next(&mut self) -> (&mut [Datum], &mut [bool]) {
        let Run { slots, rows } = &mut self.run;
        // SAFETY: a slot that is made anew lives as long as the writer; one that was used is empty,
        // so its arrays are ours while `self` is borrowed.
        unsafe {
            if slots.len() == rows.len() {
                let outer = pg_sys::MemoryContextSwitchTo((*self.estate).es_query_cxt);
                slots.push(pg_sys::table_slot_create(self.table.raw(), null_mut()));
                pg_sys::MemoryContextSwitchTo(outer);
            }
            let (values, nulls) = slot_arrays(slots[rows.len()]);
            (&mut *values, &mut *nulls)
        }
    }

    /// Adds the row to the run.
    pub fn add(&mut self, row: [u8; 16]) {
        let slot = self.run.slots[self.run.rows.len()];
        // SAFETY: every element was set.
        unsafe {
            pg_sys::ExecStoreVirtualTuple(slot);
            self.check(slot, pg_sys::CmdType::CMD_INSERT);
            if let Some(indexes) = &mut self.indexes {
                if self.run.rows.is_empty() {
                    indexes.forget();
                }
                indexes.note(columns_of(slot));
            }
        }
        self.run.rows.push(row);
    }

    /// Inserts the run. Gives the places of those that cannot stay: a row of their identity is
    /// there, or about to be. To be followed by `end_run`.
    pub fn insert_run(&mut self) -> Vec<usize> {
        let Run { slots, rows } = &mut self.run;
        let Some(indexes) = &mut self.indexes else { return Vec::new() };
        context::set_row(None);
        // SAFETY: the slots hold rows of the table, whose keys were noted one by one.
        let taken = unsafe {
            let command = pg_sys::GetCurrentCommandId(true);
            let (to, count) = (slots.as_mut_ptr(), rows.len() as i32);
            pg_sys::table_multi_insert(self.table.raw(), to, count, command, 0, self.bulk);
            indexes.insert(&slots[..rows.len()], Some(rows), None)
        };
        let mut present = Vec::new();
        for Taken { place, index } in taken {
            // SAFETY: the index is open, and the slot tells where its row was written.
            let (identity, address) = unsafe { ((*self.index).rd_id, (*slots[place]).tts_tid) };
            if index == identity {
                present.push(place);
            } else {
                self.suspects.push(Suspect::new(self.table.oid(), index, address));
            }
        }
        present
    }

    /// Ends the run; takes rows of it back.
    pub fn end_run(&mut self, back: &[usize]) {
        let Run { slots, rows } = &mut self.run;
        let used = slots[..rows.len()].to_vec();
        rows.clear();
        // SAFETY: the slots tell where their rows are, which the next command may delete.
        unsafe {
            self.end_change(null_mut());
            for place in back {
                let mut address = (*used[*place]).tts_tid;
                pg_sys::simple_heap_delete(self.table.raw(), &mut address);
            }
            if !back.is_empty() {
                pg_sys::CommandCounterIncrement();
            }
            for slot in used {
                pg_sys::ExecClearTuple(slot);
            }
        }
    }
}
