//! What the catalogue says of relations: names, columns, partitions.

use std::ffi::CStr;

use pgrx::pg_sys::{self, Oid};

/// The extension's schema, and its name.
pub const SCHEMA: &CStr = c"syncjournal";

unsafe extern "C-unwind" {
    // Exported by the server; its header is not among those that pgrx binds.
    fn get_partition_ancestors(relid: Oid) -> *mut pg_sys::List;
    fn find_inheritance_children(parent: Oid, lock: i32) -> *mut pg_sys::List;
}

/// A column that is not dropped.
#[derive(Clone, Debug)]
pub struct Attribute {
    /// From 1, as Postgres counts.
    pub number: usize,
    pub name: String,
    pub type_oid: Oid,
    pub typmod: i32,
    pub length: i16,
    pub by_value: bool,
    pub is_generated: bool,
    /// Whether it may not be null.
    pub is_required: bool,
}

/// A relation's name and columns as they are now.
#[derive(Clone, Debug)]
pub struct Shape {
    pub schema: String,
    pub table: String,
    /// Columns, dropped ones included.
    pub natts: usize,
    pub attributes: Vec<Attribute>,
    pub is_partition: bool,
    pub is_partitioned: bool,
}

/// Reads a relation's shape; the caller holds a lock on it, as whoever runs its trigger does.
pub fn shape(relid: Oid) -> Shape {
    // SAFETY: opened and closed here; the tuple descriptor and its attributes live in between, and
    // everything taken out of them is copied.
    unsafe {
        let relation = pg_sys::relation_open(relid, pg_sys::AccessShareLock as i32);
        let form = &*(*relation).rd_rel;
        let descriptor = (*relation).rd_att;
        let natts = usize::try_from((*descriptor).natts).unwrap_or(0);
        let attributes = std::slice::from_raw_parts((*descriptor).attrs.as_ptr(), natts)
            .iter()
            .filter(|attribute| !attribute.attisdropped)
            .map(|attribute| Attribute {
                number: usize::try_from(attribute.attnum).unwrap_or(0),
                name: name(&attribute.attname),
                type_oid: attribute.atttypid,
                typmod: attribute.atttypmod,
                length: attribute.attlen,
                by_value: attribute.attbyval,
                is_generated: attribute.attgenerated != 0,
                is_required: attribute.attnotnull,
            })
            .collect();
        let shape = Shape {
            schema: schema_name(form.relnamespace),
            table: name(&form.relname),
            natts,
            attributes,
            is_partition: form.relispartition,
            is_partitioned: form.relkind as u8 == pg_sys::RELKIND_PARTITIONED_TABLE,
        };
        pg_sys::relation_close(relation, pg_sys::AccessShareLock as i32);
        shape
    }
}

/// The partitioned tables above a partition, nearest first.
pub fn partition_ancestors(relid: Oid) -> Vec<Oid> {
    // SAFETY: the list is palloc'd and walked within its length. The call may raise an error; no
    // Rust value that needs dropping is alive across it.
    unsafe { oids(pg_sys::ffi::pg_guard_ffi_boundary(|| get_partition_ancestors(relid))) }
}

/// The tables that inherit from a table directly, with their names; none is locked.
pub fn children(parent: Oid) -> Vec<(Oid, String)> {
    // SAFETY: as above.
    let children = unsafe {
        let lock = pg_sys::NoLock as i32;
        oids(pg_sys::ffi::pg_guard_ffi_boundary(|| find_inheritance_children(parent, lock)))
    };
    children.into_iter().filter_map(|relid| Some((relid, table_name(relid)?))).collect()
}

/// # Safety
/// A list of object ids, or null.
unsafe fn oids(list: *mut pg_sys::List) -> Vec<Oid> {
    if list.is_null() {
        return Vec::new();
    }
    // SAFETY: the list has as many cells as it says.
    unsafe {
        let length = usize::try_from((*list).length).unwrap_or(0);
        let cells = std::slice::from_raw_parts((*list).elements, length);
        cells.iter().map(|cell| cell.oid_value).collect()
    }
}

/// Name of a relation, without its schema; none where it is gone.
fn table_name(relid: Oid) -> Option<String> {
    // SAFETY: gives null for what does not exist, else a NUL-terminated string.
    unsafe {
        let name = pg_sys::get_rel_name(relid);
        (!name.is_null()).then(|| text(CStr::from_ptr(name)))
    }
}

/// A relation of the extension's own schema.
pub fn own_relation(relation: &CStr) -> Option<Oid> {
    // SAFETY: both names are NUL-terminated.
    let relid = unsafe {
        let namespace = pg_sys::get_namespace_oid(SCHEMA.as_ptr(), true);
        if namespace == Oid::INVALID {
            return None;
        }
        pg_sys::get_relname_relid(relation.as_ptr(), namespace)
    };
    (relid != Oid::INVALID).then_some(relid)
}

/// Whether a function lies in the extension's own schema.
pub fn is_own_function(function: Oid) -> bool {
    // SAFETY: look-ups by id and by a NUL-terminated name; what does not exist is invalid.
    unsafe {
        let namespace = pg_sys::get_func_namespace(function);
        namespace != Oid::INVALID && namespace == pg_sys::get_namespace_oid(SCHEMA.as_ptr(), true)
    }
}

/// The database at hand.
pub fn own_database() -> Oid {
    // SAFETY: set once, before any session's first command.
    unsafe { pg_sys::MyDatabaseId }
}

/// The cluster at hand.
pub fn own_system() -> u64 {
    // SAFETY: reads what the server has in shared memory since its start.
    unsafe { pg_sys::GetSystemIdentifier() }
}

/// Whether the relation is still there.
pub fn exists(relid: Oid) -> bool {
    table_name(relid).is_some()
}

/// The owner of a relation.
pub fn owner(relid: Oid) -> Oid {
    // SAFETY: the relation is open while its form is read.
    unsafe {
        let relation = pg_sys::relation_open(relid, pg_sys::AccessShareLock as i32);
        let owner = (*(*relation).rd_rel).relowner;
        pg_sys::relation_close(relation, pg_sys::AccessShareLock as i32);
        owner
    }
}

/// `"schema.table"` for messages; the number of a relation that is gone.
pub fn qualified_name(relid: Oid) -> String {
    let Some(table) = table_name(relid) else { return relid.to_string() };
    // SAFETY: a look-up that gives an invalid id for what does not exist.
    let namespace = unsafe { pg_sys::get_rel_namespace(relid) };
    format!("{}.{table}", schema_name(namespace))
}

/// Name of a schema.
fn schema_name(namespace: Oid) -> String {
    super::type_io::schema_name(namespace).unwrap_or_default()
}

fn name(data: &pg_sys::NameData) -> String {
    // SAFETY: names are NUL-terminated within their 64 bytes.
    text(unsafe { CStr::from_ptr(data.data.as_ptr()) })
}

/// A name as UTF-8.
pub(super) fn text(name: &CStr) -> String {
    let utf8 = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    super::type_io::server_to_utf8(name.to_bytes(), utf8)
}
