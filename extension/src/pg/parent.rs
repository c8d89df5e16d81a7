//! A table that others refer to, whose keys are its own: from a row's key to its identity, and back.
//!
//! Nothing stays open between two look-ups, so that they may come from triggers, in whichever
//! statement; what the catalogue says of the table is kept.

use std::cell::OnceCell;
use std::ptr::null_mut;

use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use pgrx::pg_sys::{self, Datum, Oid};

use super::catalog::{self, Attribute, Shape};
use super::open_table::{OpenTable, oids_of};
use super::{routing, varlena};
use crate::error::Failure;

/// Place of the predicate in a row of `pg_index`.
const INDEX_PREDICATE: i32 = 20;

/// Which rows a look-up sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// What is committed at this moment, and all that this transaction has written.
    Now,
    /// What this transaction has deleted or given another key. Nothing can have taken it away yet.
    Gone,
    /// What the calling statement sees.
    Statement,
}

/// How a column of a key lies in memory.
#[derive(Clone, Copy, Debug)]
pub struct KeyType {
    pub type_oid: Oid,
    pub length: i16,
    pub by_value: bool,
}

impl KeyType {
    pub fn of(attribute: &Attribute) -> Self {
        let Attribute { type_oid, length, by_value, .. } = *attribute;
        Self { type_oid, length, by_value }
    }

    /// A copy of a value in the current memory context.
    ///
    /// # Safety
    /// `datum` must be a non-null value of this type.
    pub(super) unsafe fn copy(self, datum: Datum) -> Datum {
        // SAFETY: the caller vouches for the value; lengths are the type's.
        unsafe {
            match self.length {
                _ if self.by_value => datum,
                -1 => Datum::from(pg_sys::pg_detoast_datum_copy(datum.cast_mut_ptr())),
                length => {
                    let length = usize::try_from(length).unwrap_or(0);
                    varlena::make_fixed(varlena::fixed_bytes(datum, length))
                }
            }
        }
    }
}

/// The key of a row, in the parent's types and in the order of [`Parent::key_types`].
#[derive(Clone, Debug)]
pub struct Key(pub(super) Vec<Datum>);

/// A table that others refer to.
#[derive(Debug)]
pub struct Parent {
    pub relid: Oid,
    /// The columns of the key, and the one that holds the rows' identity.
    columns: Vec<String>,
    identity: String,
    key_types: Vec<KeyType>,
    /// Opened when first asked: while a dump is restored the indexes come last.
    places: OnceCell<Vec<Place>>,
}

/// A plain table, or a partition, with its two indexes.
#[derive(Debug)]
struct Place {
    relid: Oid,
    identity: usize,
    by_identity: Oid,
    by_key: Oid,
    key: Vec<KeyColumn>,
}

#[derive(Debug)]
struct KeyColumn {
    number: usize,
    /// Its place in the index.
    place: i16,
    equal: Oid,
    collation: Oid,
}

impl Parent {
    /// None where the table lacks one of the columns.
    pub fn of(relid: Oid, columns: &[String], identity: &str) -> Option<Self> {
        if !catalog::exists(relid) {
            return None;
        }
        let shape = catalog::shape(relid);
        let key_types: Option<_> =
            columns.iter().map(|name| Some(KeyType::of(find(&shape, name)?))).collect();
        Some(Self {
            relid,
            columns: columns.to_vec(),
            identity: identity.to_owned(),
            key_types: key_types?,
            places: OnceCell::new(),
        })
    }

    /// Whether this is the relation, or one of its partitions.
    pub fn is_or_has(&self, relation: Oid) -> bool {
        let places = self.places.get().map_or(&[][..], Vec::as_slice);
        self.relid == relation || places.iter().any(|place| place.relid == relation)
    }

    pub fn key_types(&self) -> &[KeyType] {
        &self.key_types
    }

    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The identity of the row that has this key.
    pub fn identity_of(&self, key: &Key, sight: Sight) -> Option<[u8; 16]> {
        self.places().iter().find_map(|place| place.identity_of(key, sight))
    }

    /// The key of the row of this identity, in the current memory context.
    pub fn key_of(&self, identity: [u8; 16]) -> Option<Key> {
        self.places().iter().find_map(|place| place.key_of(&identity, &self.key_types))
    }

    fn places(&self) -> &[Place] {
        self.places.get_or_init(|| {
            let root = OpenTable::for_reading(self.relid);
            let tables =
                if root.is_partitioned() { routing::leaves(&root) } else { vec![self.relid] };
            root.close();
            tables.into_iter().map(|table| self.place(table)).collect()
        })
    }

    fn place(&self, relid: Oid) -> Place {
        let shape = catalog::shape(relid);
        let number = |name: &String| find(&shape, name).map(|found| found.number);
        let numbers: Option<Vec<usize>> = self.columns.iter().map(number).collect();
        let table = OpenTable::for_reading(relid);
        let place = numbers.zip(number(&self.identity)).and_then(|(numbers, identity)| {
            let by_identity = table.index_on(i16::try_from(identity).ok()?)?;
            // SAFETY: the table is open and locked.
            let (by_key, key) = unsafe { unique_index(&table, &numbers) }?;
            Some(Place { relid, identity, by_identity, by_key, key })
        });
        table.close();
        place.unwrap_or_else(|| {
            let name = catalog::qualified_name(relid);
            Failure::new(
                PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
                format!("table \"{name}\" has no unique index on the key that others refer to"),
            )
            .hint("Restore its primary key, and the index on its rows' identity.")
            .raise()
        })
    }
}

fn find<'a>(shape: &'a Shape, name: &str) -> Option<&'a Attribute> {
    shape.attributes.iter().find(|attribute| attribute.name == name)
}

/// The unique index on exactly these columns, and how they are looked up in it.
///
/// # Safety
/// The table must be open.
unsafe fn unique_index(table: &OpenTable, numbers: &[usize]) -> Option<(Oid, Vec<KeyColumn>)> {
    // SAFETY: the list is a copy; each index is open while its definition is read, which is as long
    // as it says; types have a B-tree class, since an index on them is there.
    unsafe {
        for index_oid in oids_of(pg_sys::RelationGetIndexList(table.raw())) {
            let index = pg_sys::index_open(index_oid, pg_sys::AccessShareLock as i32);
            let form = &*(*index).rd_index;
            let count = usize::try_from(form.indnkeyatts).unwrap_or(0);
            let columns = form.indkey.values.as_slice(count);
            let collations = std::slice::from_raw_parts((*index).rd_indcollation, count);
            let attributes = (*(*index).rd_att).attrs.as_slice(count);
            let key = numbers.iter().map(|number| {
                let place =
                    columns.iter().position(|column| usize::try_from(*column) == Ok(*number))?;
                let flags = pg_sys::TYPECACHE_EQ_OPR_FINFO as i32;
                let entry = pg_sys::lookup_type_cache(attributes[place].atttypid, flags);
                Some(KeyColumn {
                    number: *number,
                    place: i16::try_from(place).ok()? + 1,
                    equal: (*entry).eq_opr_finfo.fn_oid,
                    collation: collations[place],
                })
            });
            let key: Option<Vec<KeyColumn>> = key.collect();
            let is_whole =
                pg_sys::heap_attisnull((*index).rd_indextuple, INDEX_PREDICATE, null_mut());
            let usable = form.indisunique
                && form.indisvalid
                && count == numbers.len()
                && (*(*index).rd_rel).relam == pg_sys::BTREE_AM_OID
                && is_whole;
            pg_sys::index_close(index, pg_sys::NoLock as i32);
            if let Some(key) = key.filter(|_| usable) {
                return Some((index_oid, key));
            }
        }
    }
    None
}

impl Place {
    fn identity_of(&self, key: &Key, sight: Sight) -> Option<[u8; 16]> {
        let mut keys: Vec<pg_sys::ScanKeyData> = Vec::with_capacity(self.key.len());
        for (column, value) in self.key.iter().zip(&key.0) {
            keys.push(scan_key(column.place, column.equal, column.collation, *value));
        }
        // SAFETY: the keys are of the index's types; a row is read while its slot pins it.
        unsafe {
            self.look(self.by_key, &mut keys, sight, |slot| {
                let (values, nulls) = columns_of(slot);
                let place = self.identity - 1;
                (!nulls[place]).then(|| *values[place].cast_mut_ptr::<[u8; 16]>())
            })
        }
    }

    fn key_of(&self, identity: &[u8; 16], types: &[KeyType]) -> Option<Key> {
        let equal = Oid::from(pg_sys::F_UUID_EQ);
        let argument = Datum::from(identity.as_ptr());
        let mut keys = [scan_key(1, equal, Oid::INVALID, argument)];
        // SAFETY: as above; what is copied is of the column's type.
        unsafe {
            self.look(self.by_identity, &mut keys, Sight::Now, |slot| {
                let (values, nulls) = columns_of(slot);
                let copy = |(column, of): (&KeyColumn, &KeyType)| {
                    let place = column.number - 1;
                    (!nulls[place]).then(|| of.copy(values[place]))
                };
                self.key.iter().zip(types).map(copy).collect::<Option<Vec<_>>>().map(Key)
            })
        }
    }

    /// The first row that `read` takes.
    ///
    /// # Safety
    /// The keys must be of the index's columns.
    unsafe fn look<R>(
        &self,
        index: Oid,
        keys: &mut [pg_sys::ScanKeyData],
        sight: Sight,
        read: impl Fn(*mut pg_sys::TupleTableSlot) -> Option<R>,
    ) -> Option<R> {
        let lock = pg_sys::AccessShareLock as i32;
        // SAFETY: what is opened is closed here, or by the transaction's end after an error. Values
        // that `read` takes are copied while the slot pins the row.
        unsafe {
            let relation = pg_sys::try_relation_open(self.relid, lock);
            if relation.is_null() {
                return None;
            }
            let index = pg_sys::index_open(index, lock);
            let snapshot = match sight {
                Sight::Now => &raw mut pg_sys::SnapshotSelfData,
                Sight::Gone => &raw mut pg_sys::SnapshotAnyData,
                Sight::Statement => pg_sys::GetActiveSnapshot(),
            };
            let count = keys.len() as i32;
            let scan = pg_sys::index_beginscan(relation, index, snapshot, count, 0);
            pg_sys::index_rescan(scan, keys.as_mut_ptr(), count, null_mut(), 0);
            let slot = pg_sys::table_slot_create(relation, null_mut());
            let forward = pg_sys::ScanDirection::ForwardScanDirection;
            let mut answer = None;
            while answer.is_none() && pg_sys::index_getnext_slot(scan, forward, slot) {
                if sight != Sight::Gone || is_deleted_by_us(slot) {
                    pg_sys::slot_getallattrs(slot);
                    answer = read(slot);
                }
            }
            pg_sys::ExecDropSingleTupleTableSlot(slot);
            pg_sys::index_endscan(scan);
            pg_sys::index_close(index, lock);
            pg_sys::relation_close(relation, pg_sys::NoLock as i32);
            answer
        }
    }
}

fn scan_key(place: i16, function: Oid, collation: Oid, argument: Datum) -> pg_sys::ScanKeyData {
    let mut key = pg_sys::ScanKeyData::default();
    let equal = pg_sys::BTEqualStrategyNumber as u16;
    // SAFETY: the function compares values of the index column's type.
    unsafe {
        pg_sys::ScanKeyEntryInitialize(
            &mut key,
            0,
            place,
            equal,
            Oid::INVALID,
            collation,
            function,
            argument,
        );
    }
    key
}

/// # Safety
/// The slot must hold a row whose columns have been read.
unsafe fn columns_of<'a>(slot: *mut pg_sys::TupleTableSlot) -> (&'a [Datum], &'a [bool]) {
    // SAFETY: both arrays hold a value for each column.
    unsafe {
        let count = usize::try_from((*(*slot).tts_tupleDescriptor).natts).unwrap_or(0);
        (
            std::slice::from_raw_parts((*slot).tts_values, count),
            std::slice::from_raw_parts((*slot).tts_isnull, count),
        )
    }
}

/// Whether this transaction has deleted or replaced the row.
///
/// # Safety
/// The slot must hold a row of a heap.
unsafe fn is_deleted_by_us(slot: *mut pg_sys::TupleTableSlot) -> bool {
    // SAFETY: the tuple is the slot's own, pinned; its header says which of the fields hold.
    unsafe {
        let mut is_copy = false;
        let tuple = pg_sys::ExecFetchSlotHeapTuple(slot, false, &mut is_copy);
        let header = (*tuple).t_data;
        let marks = u32::from((*header).t_infomask);
        if marks & (pg_sys::HEAP_XMAX_INVALID | pg_sys::HEAP_XMAX_LOCK_ONLY) != 0 {
            return false;
        }
        let deleter = match marks & pg_sys::HEAP_XMAX_IS_MULTI {
            0 => (*header).t_choice.t_heap.t_xmax,
            _ => pg_sys::HeapTupleGetUpdateXid(header),
        };
        pg_sys::TransactionIdIsCurrentTransactionId(deleter)
    }
}
