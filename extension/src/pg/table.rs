//! Direct access to the extension's own tables: a row in, rows out by an index, without the
//! executor. Only for tables of plain columns, B-tree indexes and no triggers or constraints other
//! than those indexes.
//!
//! Reading uses `SnapshotSelf`: what is committed at this moment, and all that this transaction has
//! written, its current command included. That is right for the journal, whose rows never change,
//! and lets a layout that somebody else has just committed be found under any isolation level.

use std::ffi::CStr;
use std::ops::ControlFlow;
use std::ptr::null_mut;

use pgrx::pg_sys::{self, Datum, Oid};

use crate::pg::{transaction, type_io, varlena};

/// Most columns that a table of ours has.
pub(super) const MAX_COLUMNS: usize = 24;

/// A value of one of our own columns.
#[derive(Clone, Copy, Debug)]
pub enum Field<'a> {
    Int2(i16),
    Int4(i32),
    /// Also xid8 and pg_lsn.
    Int8(u64),
    Uuid([u8; 16]),
    /// Of type bytea, or another whose bytes are these.
    Bytes(&'a [u8]),
    /// When the transaction began.
    Now,
    Null,
}

/// An open table, with its indexes where rows are to be inserted.
#[derive(Debug)]
pub struct Table {
    pub(super) relation: pg_sys::Relation,
    pub(super) indexes: Vec<pg_sys::Relation>,
}

impl Table {
    /// Opens for reading.
    pub fn read(relid: Oid) -> Self {
        // SAFETY: raises an ordinary error where the table is gone; closed on drop.
        let relation = unsafe { pg_sys::table_open(relid, pg_sys::AccessShareLock as i32) };
        Self { relation, indexes: Vec::new() }
    }

    /// Opens for reading what somebody else may have dropped meanwhile.
    pub fn read_if_exists(relid: Oid) -> Option<Self> {
        // SAFETY: gives null where the table is gone; closed on drop.
        let relation = unsafe { pg_sys::try_relation_open(relid, pg_sys::AccessShareLock as i32) };
        (!relation.is_null()).then_some(Self { relation, indexes: Vec::new() })
    }

    /// Opens for [`Table::insert`]; the lock stays to the transaction's end.
    pub fn write(relid: Oid) -> Self {
        let lock = pg_sys::RowExclusiveLock as i32;
        // SAFETY: as above. The list of indexes is ours and holds as many cells as it says.
        unsafe {
            let relation = pg_sys::table_open(relid, lock);
            let list = pg_sys::RelationGetIndexList(relation);
            let mut indexes = Vec::new();
            if !list.is_null() {
                let length = usize::try_from((*list).length).unwrap_or(0);
                for cell in std::slice::from_raw_parts((*list).elements, length) {
                    indexes.push(pg_sys::index_open(cell.oid_value, lock));
                }
                pg_sys::list_free(list);
            }
            Self { relation, indexes }
        }
    }

    /// Inserts a row that has a value for every column, in order.
    pub fn insert(&self, fields: &[Field<'_>]) {
        let mut datums = [Datum::from(0); MAX_COLUMNS];
        let mut nulls = [false; MAX_COLUMNS];
        for (datum, field) in datums.iter_mut().zip(fields) {
            *datum = field.datum();
        }
        // SAFETY: the caller's fields match the table's columns, which its descriptor's count
        // confirms; every datum lives until the end of this block. Index keys are plain columns
        // of the same row. Without `IndexInfo`, as the server's own toast code does it.
        unsafe {
            let descriptor = (*self.relation).rd_att;
            assert_eq!((*descriptor).natts as usize, fields.len(), "columns of the table");
            let tuple =
                pg_sys::heap_form_tuple(descriptor, datums.as_mut_ptr(), nulls.as_mut_ptr());
            let command = pg_sys::GetCurrentCommandId(true);
            pg_sys::heap_insert(self.relation, tuple, command, 0, null_mut());
            for index in &self.indexes {
                self.insert_key(*index, &datums, &mut (*tuple).t_self);
            }
            pg_sys::heap_freetuple(tuple);
            for (datum, field) in datums.iter().zip(fields) {
                if let Field::Bytes(_) = field {
                    pg_sys::pfree(datum.cast_mut_ptr());
                }
            }
        }
    }

    /// Deletes the row at this place, which may have been written by the command that runs; waits
    /// for whoever is changing it. Not done where that one has: look again.
    pub fn delete(&self, place: Place) -> bool {
        transaction::next_command();
        let mut place = place.0;
        let mut failure = pg_sys::TM_FailureData::default();
        // SAFETY: the place is of a row that a scan has found.
        let outcome = unsafe {
            let command = pg_sys::GetCurrentCommandId(true);
            let none = null_mut();
            pg_sys::heap_delete(self.relation, &mut place, command, none, true, &mut failure, false)
        };
        outcome == pg_sys::TM_Result::TM_Ok
    }

    /// # Safety
    /// `index` is open and of this table; `datums` are the columns of the row inserted at `place`.
    pub(super) unsafe fn insert_key(
        &self,
        index: pg_sys::Relation,
        datums: &[Datum],
        place: *mut pg_sys::ItemPointerData,
    ) {
        let mut keys = [Datum::from(0); MAX_COLUMNS];
        let mut nulls = [false; MAX_COLUMNS];
        // SAFETY: `indkey` holds as many column numbers as the form says.
        unsafe {
            let form = &*(*index).rd_index;
            let count = usize::try_from(form.indnatts).unwrap_or(0);
            let columns = std::slice::from_raw_parts(form.indkey.values.as_ptr(), count);
            for (key, column) in keys.iter_mut().zip(columns) {
                let column = usize::try_from(*column).ok().filter(|column| *column > 0);
                *key = datums[column.expect("an index of plain columns") - 1];
            }
            let check = if form.indisunique {
                pg_sys::IndexUniqueCheck::UNIQUE_CHECK_YES
            } else {
                pg_sys::IndexUniqueCheck::UNIQUE_CHECK_NO
            };
            pg_sys::index_insert(
                index,
                keys.as_mut_ptr(),
                nulls.as_mut_ptr(),
                place,
                self.relation,
                check,
                false,
                null_mut(),
            );
        }
    }

    /// The index of the primary key.
    pub fn primary_key(&self) -> Oid {
        // SAFETY: the relation is open.
        unsafe { pg_sys::RelationGetPrimaryKeyIndex(self.relation) }
    }

    /// The index on exactly these columns.
    pub fn index_on(&self, columns: &[i16]) -> Option<Oid> {
        // SAFETY: the list is ours; each index is closed before the next is opened.
        unsafe {
            let list = pg_sys::RelationGetIndexList(self.relation);
            if list.is_null() {
                return None;
            }
            let length = usize::try_from((*list).length).unwrap_or(0);
            let cells = std::slice::from_raw_parts((*list).elements, length);
            let lock = pg_sys::AccessShareLock as i32;
            cells.iter().map(|cell| cell.oid_value).find(|relid| {
                let index = pg_sys::index_open(*relid, lock);
                let form = &*(*index).rd_index;
                let count = usize::try_from(form.indnatts).unwrap_or(0);
                let found = std::slice::from_raw_parts(form.indkey.values.as_ptr(), count);
                let is_wanted = found == columns;
                pg_sys::index_close(index, lock);
                is_wanted
            })
        }
    }

    /// Visits all rows, by any index.
    pub fn all<B>(&self, index: Oid, visit: impl FnMut(&Found) -> ControlFlow<B>) -> Option<B> {
        self.scan(index, &[], visit)
    }

    /// Visits the rows whose uuid in column 1 is at most `key`, greatest first, by the index on it.
    pub fn down_from<B>(
        &self,
        index: Oid,
        key: [u8; 16],
        visit: impl FnMut(&Found) -> ControlFlow<B>,
    ) -> Option<B> {
        let at_most = pg_sys::BTLessEqualStrategyNumber as u16;
        self.scan(index, &[(1, at_most, Key::Uuid(&key))], visit)
    }

    /// Visits the rows whose columns equal the given values, by an index on exactly these.
    pub fn equal<B>(
        &self,
        index: Oid,
        keys: &[(i16, Key<'_>)],
        visit: impl FnMut(&Found) -> ControlFlow<B>,
    ) -> Option<B> {
        let equal = pg_sys::BTEqualStrategyNumber as u16;
        let keys: Vec<_> = keys.iter().map(|(column, key)| (*column, equal, *key)).collect();
        self.scan(index, &keys, visit)
    }

    fn scan<B>(
        &self,
        index: Oid,
        keys: &[(i16, u16, Key<'_>)],
        mut visit: impl FnMut(&Found) -> ControlFlow<B>,
    ) -> Option<B> {
        let mut answer = None;
        let own = &raw mut pg_sys::SnapshotSelfData;
        self.each_tuple(own, index, keys, |tuple| {
            // SAFETY: the tuple is one of the relation, and pinned for this call.
            match visit(&unsafe { Found::new(self.relation, tuple) }) {
                ControlFlow::Break(found) => {
                    answer = Some(found);
                    ControlFlow::Break(())
                }
                ControlFlow::Continue(()) => ControlFlow::Continue(()),
            }
        });
        answer
    }

    /// Whether the table has any row.
    pub fn has_rows(&self) -> bool {
        let mut any = false;
        let own = &raw mut pg_sys::SnapshotSelfData;
        self.each_tuple(own, self.primary_key(), &[], |_| {
            any = true;
            ControlFlow::Break(())
        });
        any
    }

    /// Reads the row whose primary key begins with these columns as it is at this moment: exactly one
    /// version of it, also while another transaction is changing it.
    pub fn newest<R>(&self, keys: &[(i16, Key<'_>)], read: impl FnOnce(&Found) -> R) -> Option<R> {
        let mut answer = None;
        transaction::next_command();
        // SAFETY: nothing else reads under it before the look-up is over.
        let latest = unsafe { pg_sys::GetLatestSnapshot() };
        self.look_up(latest, keys, |found, _| answer = Some(read(found)));
        answer
    }

    /// The row that `snapshot` sees under these first columns of the primary key, with its tuple.
    pub(super) fn look_up(
        &self,
        snapshot: pg_sys::Snapshot,
        keys: &[(i16, Key<'_>)],
        visit: impl FnOnce(&Found, pg_sys::HeapTuple),
    ) {
        let equal = pg_sys::BTEqualStrategyNumber as u16;
        let keys: Vec<_> = keys.iter().map(|(column, key)| (*column, equal, *key)).collect();
        let mut visit = Some(visit);
        self.each_tuple(snapshot, self.primary_key(), &keys, |tuple| {
            if let Some(visit) = visit.take() {
                // SAFETY: as in `scan`.
                visit(&unsafe { Found::new(self.relation, tuple) }, tuple);
            }
            ControlFlow::Break(())
        });
    }

    /// Whether the table has no page, as one has to which no row was ever written: no index need be
    /// opened to find none.
    fn is_blank(&self) -> bool {
        let main = pg_sys::ForkNumber::MAIN_FORKNUM;
        // SAFETY: the relation is open.
        unsafe { pg_sys::RelationGetNumberOfBlocksInFork(self.relation, main) == 0 }
    }

    fn each_tuple(
        &self,
        snapshot: pg_sys::Snapshot,
        index: Oid,
        keys: &[(i16, u16, Key<'_>)],
        mut visit: impl FnMut(pg_sys::HeapTuple) -> ControlFlow<()>,
    ) {
        if self.is_blank() {
            return;
        }
        // SAFETY: index and scan are closed below; on an error the transaction's end does. The
        // keys outlive the scan, and a found row is only looked at within `visit`.
        unsafe {
            let mut scan_keys = [pg_sys::ScanKeyData::default(); 2];
            for (scan_key, (column, strategy, key)) in scan_keys.iter_mut().zip(keys) {
                let function = key.comparison(*strategy);
                pg_sys::ScanKeyInit(scan_key, *column, *strategy, function, key.datum());
            }
            let index = pg_sys::index_open(index, pg_sys::AccessShareLock as i32);
            let scan = pg_sys::systable_beginscan_ordered(
                self.relation,
                index,
                snapshot,
                keys.len() as i32,
                scan_keys.as_mut_ptr(),
            );
            let direction = pg_sys::ScanDirection::BackwardScanDirection;
            loop {
                let tuple = pg_sys::systable_getnext_ordered(scan, direction);
                if tuple.is_null() || visit(tuple).is_break() {
                    break;
                }
            }
            pg_sys::systable_endscan_ordered(scan);
            pg_sys::index_close(index, pg_sys::AccessShareLock as i32);
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // While an error unwinds Postgres closes what is open by itself.
        if !std::thread::panicking() {
            let keep_lock = pg_sys::NoLock as i32;
            // SAFETY: opened by the constructors, closed once.
            unsafe {
                for index in self.indexes.drain(..) {
                    pg_sys::index_close(index, keep_lock);
                }
                pg_sys::table_close(self.relation, keep_lock);
            }
        }
    }
}

impl Field<'_> {
    pub(super) fn datum(&self) -> Datum {
        match self {
            Field::Int2(value) => Datum::from(*value),
            Field::Int4(value) => Datum::from(*value),
            Field::Int8(value) => Datum::from(*value),
            Field::Uuid(bytes) => Datum::from(bytes.as_ptr()),
            Field::Bytes(bytes) => varlena::make_varlena(bytes),
            // SAFETY: reads the state of the transaction.
            Field::Now => Datum::from(unsafe { pg_sys::GetCurrentTransactionStartTimestamp() }),
            Field::Null => Datum::from(0),
        }
    }
}

/// # Safety
/// The datum must be of type name.
unsafe fn name_at(datum: Datum) -> String {
    // SAFETY: names are NUL-terminated.
    super::catalog::text(unsafe { CStr::from_ptr(datum.cast_mut_ptr()) })
}

/// # Safety
/// The datum must be of type text.
unsafe fn text_at(datum: Datum) -> String {
    // SAFETY: the caller vouches for the type.
    unsafe {
        varlena::with_bytes(datum, |bytes| {
            type_io::server_to_utf8(bytes, |utf8| String::from_utf8_lossy(utf8).into_owned())
        })
    }
}

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub enum Key<'a> {
    Int2(i16),
    Int4(i32),
    Oid(Oid),
    Uuid(&'a [u8; 16]),
}

impl Key<'_> {
    fn datum(&self) -> Datum {
        match self {
            Key::Int2(value) => Datum::from(*value),
            Key::Int4(value) => Datum::from(*value),
            Key::Oid(value) => Datum::from(*value),
            Key::Uuid(bytes) => Datum::from(bytes.as_ptr()),
        }
    }

    /// The function behind the operator of this strategy.
    fn comparison(&self, strategy: u16) -> Oid {
        let equal = u32::from(strategy) == pg_sys::BTEqualStrategyNumber;
        Oid::from(match (self, equal) {
            (Key::Int2(_), true) => pg_sys::F_INT2EQ,
            (Key::Int2(_), false) => pg_sys::F_INT2LE,
            (Key::Int4(_), true) => pg_sys::F_INT4EQ,
            (Key::Int4(_), false) => pg_sys::F_INT4LE,
            (Key::Oid(_), true) => pg_sys::F_OIDEQ,
            (Key::Oid(_), false) => pg_sys::F_OIDLE,
            (Key::Uuid(_), true) => pg_sys::F_UUID_EQ,
            (Key::Uuid(_), false) => pg_sys::F_UUID_LE,
        })
    }
}

/// Where a row lies in its table.
#[derive(Clone, Copy)]
pub struct Place(pg_sys::ItemPointerData);

/// A row that a scan has found; its columns count from 1.
pub struct Found {
    place: Place,
    datums: [Datum; MAX_COLUMNS],
    nulls: [bool; MAX_COLUMNS],
}

impl Found {
    /// # Safety
    /// The tuple must be one of the relation and stay pinned while this value is used.
    unsafe fn new(relation: pg_sys::Relation, tuple: pg_sys::HeapTuple) -> Self {
        // SAFETY: our tables have fewer columns than the arrays have room for.
        unsafe {
            let mut found = Self {
                place: Place((*tuple).t_self),
                datums: [Datum::from(0); MAX_COLUMNS],
                nulls: [true; MAX_COLUMNS],
            };
            let descriptor = (*relation).rd_att;
            assert!((*descriptor).natts as usize <= MAX_COLUMNS, "columns of the table");
            let (datums, nulls) = (found.datums.as_mut_ptr(), found.nulls.as_mut_ptr());
            pg_sys::heap_deform_tuple(tuple, descriptor, datums, nulls);
            found
        }
    }

    pub fn place(&self) -> Place {
        self.place
    }

    pub(super) fn datums(&self) -> [Datum; MAX_COLUMNS] {
        self.datums
    }

    fn get(&self, column: usize) -> Option<Datum> {
        (!self.nulls[column - 1]).then(|| self.datums[column - 1])
    }

    /// An int2 column.
    pub fn int2(&self, column: usize) -> Option<i16> {
        self.get(column).map(|datum| datum.value() as i16)
    }

    /// An int8 column.
    pub fn int8(&self, column: usize) -> Option<i64> {
        self.get(column).map(|datum| datum.value() as i64)
    }

    /// An int4 column.
    pub fn int4(&self, column: usize) -> Option<i32> {
        self.get(column).map(|datum| datum.value() as i32)
    }

    /// A column of type oid or regclass.
    pub fn oid(&self, column: usize) -> Option<Oid> {
        self.get(column).map(|datum| Oid::from(datum.value() as u32))
    }

    /// A uuid column.
    pub fn uuid(&self, column: usize) -> Option<[u8; 16]> {
        // SAFETY: callers name columns of type uuid; the row is pinned.
        self.get(column).map(|datum| unsafe { *datum.cast_mut_ptr::<[u8; 16]>() })
    }

    /// A boolean column.
    pub fn bool(&self, column: usize) -> Option<bool> {
        self.get(column).map(|datum| datum.value() as u8 != 0)
    }

    /// A name column.
    pub fn name(&self, column: usize) -> Option<String> {
        // SAFETY: callers name columns of type name; the row is pinned.
        self.get(column).map(|datum| unsafe { name_at(datum) })
    }

    /// A column of type text, as UTF-8.
    pub fn text(&self, column: usize) -> Option<String> {
        // SAFETY: callers name columns of type text; the row is pinned.
        self.get(column).map(|datum| unsafe { text_at(datum) })
    }

    /// A column of type name[]; nulls are left out.
    pub fn names(&self, column: usize) -> Vec<String> {
        let name = (pg_sys::NAMEOID, pg_sys::NAMEDATALEN as i32, b'c');
        // SAFETY: callers name columns of type name[].
        self.elements(column, name, |datum| unsafe { name_at(datum) })
    }

    /// A column of type text[]; nulls are left out.
    pub fn texts(&self, column: usize) -> Vec<String> {
        // SAFETY: callers name columns of type text[].
        self.elements(column, (pg_sys::TEXTOID, -1, b'i'), |datum| unsafe { text_at(datum) })
    }

    /// The elements of an array: of type, length and alignment as the catalogue has them.
    fn elements<T>(
        &self,
        column: usize,
        (element, length, align): (Oid, i32, u8),
        read: impl Fn(Datum) -> T,
    ) -> Vec<T> {
        let Some(datum) = self.get(column) else { return Vec::new() };
        // SAFETY: callers name columns of such arrays; what comes back is palloc'd and as long as
        // the count says.
        unsafe {
            let (mut elements, mut nulls, mut count) = (null_mut(), null_mut(), 0);
            pg_sys::deconstruct_array(
                pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast(),
                element,
                length,
                false,
                align as i8,
                &mut elements,
                &mut nulls,
                &mut count,
            );
            let count = usize::try_from(count).unwrap_or(0);
            (0..count)
                .filter(|place| !*nulls.add(*place))
                .map(|place| read(*elements.add(place)))
                .collect()
        }
    }

    /// A bytea column.
    pub fn bytes(&self, column: usize) -> Option<Vec<u8>> {
        // SAFETY: callers name columns of type bytea; the row is pinned.
        self.get(column).map(|datum| unsafe { varlena::with_bytes(datum, <[u8]>::to_vec) })
    }
}
