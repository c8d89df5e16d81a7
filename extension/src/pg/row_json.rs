//! A row as JSON, for people.

use super::open_table::OpenTable;
use pgrx::pg_sys::{self, Datum};

/// What `row_to_json` makes of a row of the table.
pub fn row_json(table: &OpenTable, values: &mut [Datum], nulls: &mut [bool]) -> String {
    // SAFETY: there is a value for each column of the table; everything is palloc'd in the current
    // context. The result is text in the database's encoding.
    unsafe {
        let descriptor = (*table.raw()).rd_att;
        let tuple = pg_sys::heap_form_tuple(descriptor, values.as_mut_ptr(), nulls.as_mut_ptr());
        let row = pg_sys::heap_copy_tuple_as_datum(tuple, descriptor);
        json_of(row)
    }
}

/// As [`row_json`], of the row that a slot of the table holds.
pub fn slot_json(table: &OpenTable, slot: *mut pg_sys::TupleTableSlot) -> String {
    // SAFETY: callers pass a slot of this table with a row in it.
    unsafe {
        let mut is_copy = false;
        let tuple = pg_sys::ExecFetchSlotHeapTuple(slot, false, &mut is_copy);
        json_of(pg_sys::heap_copy_tuple_as_datum(tuple, (*table.raw()).rd_att))
    }
}

/// # Safety
/// `row` must be a composite value.
unsafe fn json_of(row: Datum) -> String {
    // SAFETY: the function takes any row.
    unsafe {
        let function = pg_sys::Oid::from(pg_sys::F_ROW_TO_JSON_RECORD);
        let json = pg_sys::OidFunctionCall1Coll(function, pg_sys::Oid::INVALID, row);
        super::varlena::with_bytes(json, |bytes| {
            super::type_io::server_to_utf8(bytes, |utf8| String::from_utf8_lossy(utf8).into_owned())
        })
    }
}
