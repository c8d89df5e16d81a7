//! An open table and what its catalogue entry says, for the row engine and the table scans.

use crate::pg::type_io;
use pgrx::pg_sys::{self, Oid};
use std::ffi::{CStr, CString};

/// One column of a table, dropped ones left out.
#[derive(Clone, Debug)]
pub struct TableColumn {
    pub number: i16,
    pub name: String,
    pub is_generated: bool,
}

/// A table held open and locked. Close it with `close`; after an error Postgres does.
#[derive(Debug)]
pub struct OpenTable {
    raw: pg_sys::Relation,
}

impl OpenTable {
    /// Opens for writing rows.
    pub fn for_writing(table: Oid) -> Self {
        Self::open(table, pg_sys::RowExclusiveLock)
    }

    /// Opens for reading rows.
    pub fn for_reading(table: Oid) -> Self {
        Self::open(table, pg_sys::AccessShareLock)
    }

    fn open(table: Oid, lock: u32) -> Self {
        // SAFETY: raises where the table is gone; else the relation stays open until closed.
        Self { raw: unsafe { pg_sys::table_open(table, lock as i32) } }
    }

    /// Closes the table and keeps its lock until the transaction ends.
    pub fn close(self) {
        // SAFETY: `self` holds the one reference taken by `open`.
        unsafe { pg_sys::table_close(self.raw, pg_sys::NoLock as i32) };
    }

    pub fn raw(&self) -> pg_sys::Relation {
        self.raw
    }

    pub fn oid(&self) -> Oid {
        // SAFETY: an open relation stays valid.
        unsafe { (*self.raw).rd_id }
    }

    pub fn owner(&self) -> Oid {
        // SAFETY: as above; the catalogue row is part of the relation.
        unsafe { (*(*self.raw).rd_rel).relowner }
    }

    pub fn is_partitioned(&self) -> bool {
        // SAFETY: as above.
        unsafe { (*(*self.raw).rd_rel).relkind as u8 == pg_sys::RELKIND_PARTITIONED_TABLE }
    }

    /// Its columns in order of their numbers.
    pub fn columns(&self) -> Vec<TableColumn> {
        // SAFETY: the descriptor belongs to the open relation and has `natts` attributes.
        let attributes = unsafe {
            let descriptor = (*self.raw).rd_att;
            (*descriptor).attrs.as_slice((*descriptor).natts as usize)
        };
        attributes
            .iter()
            .filter(|attribute| !attribute.attisdropped)
            .map(|attribute| TableColumn {
                number: attribute.attnum,
                name: name_text(&attribute.attname),
                is_generated: attribute.attgenerated != 0,
            })
            .collect()
    }

    /// A btree index of the whole table that begins with this column: a unique one if there is.
    pub fn index_on(&self, column: i16) -> Option<Oid> {
        // SAFETY: the list is a palloc'd copy; each index is opened only to read its definition.
        unsafe {
            let list = pg_sys::RelationGetIndexList(self.raw);
            let mut found = None;
            for index_oid in oids_of(list) {
                let index = pg_sys::index_open(index_oid, pg_sys::AccessShareLock as i32);
                let form = &*(*index).rd_index;
                let usable = form.indisvalid
                    && (*(*index).rd_rel).relam == pg_sys::BTREE_AM_OID
                    && form.indkey.values.as_slice(1)[0] == column
                    && pg_sys::heap_attisnull((*index).rd_indextuple, 20, std::ptr::null_mut());
                let sole = form.indisunique && form.indnkeyatts == 1;
                pg_sys::index_close(index, pg_sys::NoLock as i32);
                if usable && (sole || found.is_none()) {
                    found = Some(index_oid);
                }
                if usable && sole {
                    break;
                }
            }
            found
        }
    }
}

/// The object ids in a list of Postgres's.
///
/// # Safety
/// `list` must be null or a valid list of object ids.
pub(super) unsafe fn oids_of(list: *const pg_sys::List) -> Vec<Oid> {
    if list.is_null() {
        return Vec::new();
    }
    // SAFETY: a list has `length` cells; of a list of ids each holds one.
    unsafe {
        let cells = std::slice::from_raw_parts((*list).elements, (*list).length as usize);
        cells.iter().map(|cell| cell.oid_value).collect()
    }
}

/// The table of this very name (no search path).
pub fn table_by_name(schema: &str, table: &str) -> Option<Oid> {
    let schema = type_io::utf8_to_server(schema.as_bytes(), |bytes| CString::new(bytes).ok())?;
    let table = type_io::utf8_to_server(table.as_bytes(), |bytes| CString::new(bytes).ok())?;
    // SAFETY: both are NUL-terminated and live through the calls.
    unsafe {
        let namespace = pg_sys::get_namespace_oid(schema.as_ptr(), true);
        if namespace == Oid::INVALID {
            return None;
        }
        let found = pg_sys::get_relname_relid(table.as_ptr(), namespace);
        (found != Oid::INVALID).then_some(found)
    }
}

/// A catalogue name as UTF-8.
fn name_text(name: &pg_sys::NameData) -> String {
    // SAFETY: a name is NUL-terminated within its fixed length.
    let bytes = unsafe { CStr::from_ptr(name.data.as_ptr()).to_bytes() };
    type_io::server_to_utf8(bytes, |utf8| String::from_utf8_lossy(utf8).into_owned())
}
