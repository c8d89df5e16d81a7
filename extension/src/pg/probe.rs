//! Asking a table over and over for a row of a certain uuid. Table, index and scan stay
//! open, which costs most of a single look-up.

use std::ptr::null_mut;

use pgrx::pg_sys::{self, Datum, Oid};

use crate::pg::arena::Home;
use crate::pg::varlena;

/// An open look-up by a primary key that begins with a uuid. Reads under `SnapshotSelf`, as
/// [`super::table::Table`] does.
#[derive(Debug)]
pub struct Probe {
    relation: pg_sys::Relation,
    index: pg_sys::Relation,
    scan: pg_sys::IndexScanDesc,
    slot: *mut pg_sys::TupleTableSlot,
    key: Box<pg_sys::ScanKeyData>,
    key_bytes: Box<[u8; 16]>,
    home: Home,
}

impl Probe {
    /// None where somebody else has dropped the table meanwhile.
    pub fn open(relid: Oid) -> Option<Self> {
        Self::on(relid, None)
    }

    /// By another index that begins with a uuid.
    pub fn by_index(relid: Oid, index: Oid) -> Option<Self> {
        Self::on(relid, Some(index))
    }

    fn on(relid: Oid, index: Option<Oid>) -> Option<Self> {
        let lock = pg_sys::AccessShareLock as i32;
        // SAFETY: opened in the current memory context, to which `has` returns, and closed on drop;
        // the key points into its box, which does not move.
        unsafe {
            let relation = pg_sys::try_relation_open(relid, lock);
            if relation.is_null() {
                return None;
            }
            let key = index.unwrap_or_else(|| pg_sys::RelationGetPrimaryKeyIndex(relation));
            let index = pg_sys::index_open(key, lock);
            let snapshot = &raw mut pg_sys::SnapshotSelfData;
            let scan = pg_sys::index_beginscan(relation, index, snapshot, 1, 0);
            let slot = pg_sys::table_slot_create(relation, null_mut());
            let key_bytes = Box::new([0_u8; 16]);
            let mut key = Box::new(pg_sys::ScanKeyData::default());
            let equal = pg_sys::BTEqualStrategyNumber as u16;
            let argument = Datum::from(key_bytes.as_ptr());
            pg_sys::ScanKeyInit(&mut *key, 1, equal, Oid::from(pg_sys::F_UUID_EQ), argument);
            Some(Self { relation, index, scan, slot, key, key_bytes, home: Home::here() })
        }
    }

    /// Whether a row with this uuid is there.
    pub fn has(&mut self, uuid: [u8; 16]) -> bool {
        self.look(uuid, |_| ()).is_some()
    }

    /// What `read` makes of the row with this uuid.
    pub fn read<R>(&mut self, uuid: [u8; 16], read: impl FnOnce(&Columns) -> R) -> Option<R> {
        self.look(uuid, |slot| read(&Columns(slot)))
    }

    fn look<R>(
        &mut self,
        uuid: [u8; 16],
        read: impl FnOnce(*mut pg_sys::TupleTableSlot) -> R,
    ) -> Option<R> {
        *self.key_bytes = uuid;
        let Self { scan, slot, key, home, .. } = self;
        // SAFETY: scan and slot are open. What the scan keeps is allocated where it was opened.
        home.run(|| unsafe {
            pg_sys::index_rescan(*scan, &mut **key, 1, null_mut(), 0);
            let forward = pg_sys::ScanDirection::ForwardScanDirection;
            let found = pg_sys::index_getnext_slot(*scan, forward, *slot);
            let answer = found.then(|| read(*slot));
            pg_sys::ExecClearTuple(*slot);
            answer
        })
    }
}

/// The columns of a row that was found, which is pinned while they are read. They go by their numbers,
/// and are of the type that is asked for.
#[derive(Debug)]
pub struct Columns(*mut pg_sys::TupleTableSlot);

impl Columns {
    pub fn int2(&self, column: usize) -> i16 {
        self.datum(column).map_or(0, |datum| datum.value() as i16)
    }

    pub fn int4(&self, column: usize) -> i32 {
        self.datum(column).map_or(0, |datum| datum.value() as i32)
    }

    pub fn int8(&self, column: usize) -> i64 {
        self.datum(column).map_or(0, |datum| datum.value() as i64)
    }

    pub fn bytes(&self, column: usize) -> Vec<u8> {
        // SAFETY: callers name columns of type bytea.
        let read = |datum| unsafe { varlena::with_bytes(datum, <[u8]>::to_vec) };
        self.datum(column).map_or_else(Vec::new, read)
    }

    fn datum(&self, column: usize) -> Option<Datum> {
        let mut is_null = false;
        // SAFETY: the slot holds a row that has so many columns.
        let datum = unsafe { pg_sys::slot_getattr(self.0, column as i32, &mut is_null) };
        (!is_null).then_some(datum)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // While an error unwinds Postgres closes what is open by itself.
        if !std::thread::panicking() {
            let keep_lock = pg_sys::NoLock as i32;
            // SAFETY: opened by the constructor, closed once.
            unsafe {
                pg_sys::index_endscan(self.scan);
                pg_sys::ExecDropSingleTupleTableSlot(self.slot);
                pg_sys::index_close(self.index, keep_lock);
                pg_sys::relation_close(self.relation, keep_lock);
            }
        }
    }
}
