//! Changing a row of one of our own tables where it stands, beneath SQL.

use std::ptr::null_mut;

use pgrx::pg_sys::{self, Datum};

use super::table::{Field, Found, Key, MAX_COLUMNS, Table};
use crate::pg::transaction;

/// New values of columns, which count from 1.
pub type Changes<'a> = Vec<(usize, Field<'a>)>;

impl Table {
    /// Changes the row whose primary key begins with these columns, opened by [`Table::write`]. `change`
    /// sees it as it is now, and is asked again where another transaction was just changing it.
    /// False where there is no such row; nothing is written where nothing is to change.
    ///
    /// None of the changed columns may be in an index.
    pub fn change<'a>(
        &self,
        keys: &[(i16, Key<'_>)],
        mut change: impl FnMut(&Found) -> Changes<'a>,
    ) -> bool {
        loop {
            // What this very command has written before can be changed only by the next.
            transaction::next_command();
            // SAFETY: the newest snapshot, so that exactly one version of the row is seen; nothing
            // else reads under it before the look-up is over.
            let latest = unsafe { pg_sys::GetLatestSnapshot() };
            let mut attempt = None;
            self.look_up(latest, keys, |found, tuple| {
                let changes = change(found);
                // SAFETY: the tuple is pinned, and the table's own.
                attempt = Some(unsafe { self.modified(found, tuple, &changes) });
            });
            match attempt {
                None => return false,
                Some(None) => return true,
                // SAFETY: made of a tuple of this table, whose place it has.
                Some(Some((tuple, datums))) => unsafe {
                    if self.replace(tuple, &datums) {
                        return true;
                    }
                },
            }
            pgrx::check_for_interrupts!();
        }
    }

    /// The row with other values; none where there are no changes.
    ///
    /// # Safety
    /// `tuple` must be what `found` was read from.
    unsafe fn modified(
        &self,
        found: &Found,
        tuple: pg_sys::HeapTuple,
        changes: &Changes<'_>,
    ) -> Option<(pg_sys::HeapTuple, [Datum; MAX_COLUMNS])> {
        if changes.is_empty() {
            return None;
        }
        let mut values = [Datum::from(0); MAX_COLUMNS];
        let mut nulls = [false; MAX_COLUMNS];
        let mut replaced = [false; MAX_COLUMNS];
        for (column, field) in changes {
            nulls[column - 1] = matches!(field, Field::Null);
            values[column - 1] = field.datum();
            replaced[column - 1] = true;
        }
        // SAFETY: the arrays have room for every column; the copy keeps the row's place.
        let copy = unsafe {
            pg_sys::heap_modify_tuple(
                tuple,
                (*self.relation).rd_att,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
                replaced.as_mut_ptr(),
            )
        };
        Some((copy, found.datums()))
    }

    /// Writes the new form of a row; not done where another transaction has changed it.
    ///
    /// # Safety
    /// `tuple` must have the place of the row that it replaces, and the same keys as `datums`.
    unsafe fn replace(&self, tuple: pg_sys::HeapTuple, datums: &[Datum; MAX_COLUMNS]) -> bool {
        // SAFETY: the caller vouches for the tuple; index keys have not changed.
        unsafe {
            let mut place = (*tuple).t_self;
            let mut failure = pg_sys::TM_FailureData::default();
            let mut lock_mode = pg_sys::LockTupleMode::LockTupleNoKeyExclusive;
            let outcome = pg_sys::heap_update(
                self.relation,
                &mut place,
                tuple,
                pg_sys::GetCurrentCommandId(true),
                null_mut(),
                true,
                &mut failure,
                &mut lock_mode,
            );
            let is_done = outcome == pg_sys::TM_Result::TM_Ok;
            let heap_only = pg_sys::HEAP_ONLY_TUPLE as u16;
            if is_done && (*(*tuple).t_data).t_infomask2 & heap_only == 0 {
                for index in &self.indexes {
                    self.insert_key(*index, datums, &mut (*tuple).t_self);
                }
            }
            pg_sys::heap_freetuple(tuple);
            is_done
        }
    }
}
