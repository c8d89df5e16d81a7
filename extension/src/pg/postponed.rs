//! Unique and exclusion constraints that are checked late (`deferrable`): a replica's session does
//! not fire the triggers that would do so, so the row engine does it itself.

use pgrx::pg_sys::{self, Oid};
use std::ptr::null_mut;

/// Rows that may violate a constraint, unless a later change has cleared it up.
#[derive(Debug, Default)]
pub struct Postponed(Vec<(Oid, pg_sys::ItemPointerData)>);

impl Postponed {
    /// Notes the indexes that found another entry with the key of the row at `address`.
    ///
    /// # Safety
    /// `indexes` must be null or a list of object ids.
    pub unsafe fn note(&mut self, indexes: *const pg_sys::List, address: pg_sys::ItemPointerData) {
        // SAFETY: the caller vouches for the list.
        let indexes = unsafe { super::open_table::oids_of(indexes) };
        self.0.extend(indexes.into_iter().map(|index| (index, address)));
    }

    /// Checks what was noted; a violation is the constraint's own error.
    ///
    /// # Safety
    /// All three must be of the relation whose rows were noted, open, and the slot free to use.
    pub unsafe fn check(
        &mut self,
        relation: pg_sys::Relation,
        estate: *mut pg_sys::EState,
        slot: *mut pg_sys::TupleTableSlot,
    ) {
        for (index, address) in self.0.drain(..) {
            // SAFETY: see above; index and fetch are closed again.
            unsafe { check_row(relation, estate, slot, index, address) };
        }
    }
}

/// # Safety
/// As for `Postponed::check`.
unsafe fn check_row(
    relation: pg_sys::Relation,
    estate: *mut pg_sys::EState,
    slot: *mut pg_sys::TupleTableSlot,
    index: Oid,
    mut address: pg_sys::ItemPointerData,
) {
    // SAFETY: as the server's own trigger for this does it. The fetch follows the row's chain from
    // a copy of the address, since the index knows the row by the address itself.
    unsafe {
        let index = pg_sys::index_open(index, pg_sys::RowExclusiveLock as i32);
        let info = pg_sys::BuildIndexInfo(index);
        let (mut at, mut again) = (address, false);
        let snapshot = &raw mut pg_sys::SnapshotSelfData;
        let fetch = pg_sys::table_index_fetch_begin(relation);
        pg_sys::ExecClearTuple(slot);
        let lives =
            pg_sys::table_index_fetch_tuple(fetch, &mut at, snapshot, slot, &mut again, null_mut());
        if lives {
            let mut values = [pg_sys::Datum::from(0); pg_sys::INDEX_MAX_KEYS as usize];
            let mut nulls = [false; pg_sys::INDEX_MAX_KEYS as usize];
            let context = pg_sys::MakePerTupleExprContext(estate);
            (*context).ecxt_scantuple = slot;
            pg_sys::FormIndexDatum(info, slot, estate, values.as_mut_ptr(), nulls.as_mut_ptr());
            if (*info).ii_ExclusionOps.is_null() {
                pg_sys::index_insert(
                    index,
                    values.as_mut_ptr(),
                    nulls.as_mut_ptr(),
                    &mut address,
                    relation,
                    pg_sys::IndexUniqueCheck::UNIQUE_CHECK_EXISTING,
                    false,
                    info,
                );
            } else {
                pg_sys::check_exclusion_constraint(
                    relation,
                    index,
                    info,
                    &mut at,
                    values.as_mut_ptr(),
                    nulls.as_mut_ptr(),
                    estate,
                    false,
                );
            }
        }
        pg_sys::table_index_fetch_end(fetch);
        pg_sys::ExecClearTuple(slot);
        pg_sys::index_close(index, pg_sys::NoLock as i32);
    }
}
