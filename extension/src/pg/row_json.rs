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
        let function = pg_sys::Oid::from(pg_sys::F_ROW_TO_JSON_RECORD);
        let json = pg_sys::OidFunctionCall1Coll(function, pg_sys::Oid::INVALID, row);
        super::varlena::with_bytes(json, |bytes| {
            super::type_io::server_to_utf8(bytes, |utf8| String::from_utf8_lossy(utf8).into_owned())
        })
    }
}
