//! A second heap for a table, filled beside it and put in its place: as CLUSTER and the refresh of a
//! materialized view do it.

use crate::pg::open_table::OpenTable;
use pgrx::pg_sys::{self, Oid};

unsafe extern "C-unwind" {
    fn make_new_heap(
        old: Oid,
        tablespace: Oid,
        access_method: Oid,
        persistence: std::ffi::c_char,
        lock: pg_sys::LOCKMODE,
    ) -> Oid;
    fn finish_heap_swap(
        old: Oid,
        new: Oid,
        is_system_catalog: bool,
        swap_toast_by_content: bool,
        check_constraints: bool,
        is_internal: bool,
        frozen: pg_sys::TransactionId,
        minimal_multi: pg_sys::MultiXactId,
        persistence: std::ffi::c_char,
    );
}

/// Makes an empty table with the columns of this one, dropped ones included, and nothing else of
/// it: no index, no constraint, no trigger. Logical decoding passes over what is written to it.
pub fn make_heap(table: Oid) -> Oid {
    let open = OpenTable::for_reading(table);
    // SAFETY: the catalogue row belongs to the open table; the functions are not guarded by pgrx,
    // and no value with a destructor is in the boundary.
    let made = unsafe {
        let form = &*(*open.raw()).rd_rel;
        let (space, method, persistence) = (form.reltablespace, form.relam, form.relpersistence);
        let lock = pg_sys::AccessShareLock as i32;
        pg_sys::ffi::pg_guard_ffi_boundary(|| {
            make_new_heap(table, space, method, persistence, lock)
        })
    };
    open.close();
    made
}

/// Puts the content of `heap`, made by [`make_heap`], in the place of the table's own, builds the
/// table's indexes and drops what is left over. The caller has locked the table against everybody.
pub fn put_in_place(table: Oid, heap: Oid) {
    let open = OpenTable::for_writing(heap);
    // SAFETY: as above. What the heap says of its oldest transactions holds for the table then.
    unsafe {
        let form = &*(*open.raw()).rd_rel;
        let (frozen, multi) = (form.relfrozenxid, form.relminmxid);
        let persistence = form.relpersistence;
        open.close();
        pg_sys::ffi::pg_guard_ffi_boundary(|| {
            finish_heap_swap(table, heap, false, false, true, true, frozen, multi, persistence);
        });
    }
}
