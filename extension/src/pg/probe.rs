//! Asking a table over and over for a row of a certain uuid. Table, index and scan stay
//! open, which costs most of a single look-up.
//!
//! [`super::standing`] keeps one open for a whole statement.

use std::ops::ControlFlow;
use std::ptr::null_mut;

use pgrx::pg_sys::{self, Datum, Oid};

use crate::pg::arena::Home;
use crate::pg::varlena;

/// An open look-up by a key that begins with a uuid, or with a number and a uuid. Reads under
/// `SnapshotSelf`, as [`super::table::Table`] does.
#[derive(Debug)]
pub struct Probe {
    relation: pg_sys::Relation,
    index: pg_sys::Relation,
    scan: pg_sys::IndexScanDesc,
    slot: *mut pg_sys::TupleTableSlot,
    /// What the rows' first columns are compared with; the last is that of the uuid.
    keys: Vec<pg_sys::ScanKeyData>,
    key_bytes: Box<[u8; 16]>,
    home: Home,
}

/// How a row's uuid compares with the one that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Match {
    Equal,
    AtLeast,
    /// The greatest first.
    AtMost,
}

impl Probe {
    /// None where somebody else has dropped the table meanwhile.
    pub fn open(relid: Oid) -> Option<Self> {
        Self::on(relid, None, 1)
    }

    /// By another index that begins with a uuid.
    pub fn by_index(relid: Oid, index: Oid) -> Option<Self> {
        Self::on(relid, Some(index), 1)
    }

    /// By a primary key that begins with an int4 and a uuid: ask under a number.
    pub fn numbered(relid: Oid) -> Option<Self> {
        Self::on(relid, None, 2)
    }

    fn on(relid: Oid, index: Option<Oid>, columns: usize) -> Option<Self> {
        let lock = pg_sys::AccessShareLock as i32;
        // SAFETY: opened in the current memory context, to which `look` returns, and closed on drop.
        unsafe {
            let relation = pg_sys::try_relation_open(relid, lock);
            if relation.is_null() {
                return None;
            }
            let key = index.unwrap_or_else(|| pg_sys::RelationGetPrimaryKeyIndex(relation));
            let index = pg_sys::index_open(key, lock);
            let snapshot = &raw mut pg_sys::SnapshotSelfData;
            let scan = pg_sys::index_beginscan(relation, index, snapshot, columns as i32, 0);
            let slot = pg_sys::table_slot_create(relation, null_mut());
            let keys = vec![pg_sys::ScanKeyData::default(); columns];
            let key_bytes = Box::new([0_u8; 16]);
            Some(Self { relation, index, scan, slot, keys, key_bytes, home: Home::here() })
        }
    }

    /// Whether a row with this uuid is there.
    pub fn has(&mut self, uuid: [u8; 16]) -> bool {
        self.look(None, uuid, Match::Equal, |_| ()).is_some()
    }

    /// What `read` makes of the row with this uuid.
    pub fn read<R>(&mut self, uuid: [u8; 16], read: impl FnOnce(&Columns) -> R) -> Option<R> {
        self.look(None, uuid, Match::Equal, read)
    }

    /// The same of the row under this number.
    pub fn read_under<R>(
        &mut self,
        number: i32,
        uuid: [u8; 16],
        read: impl FnOnce(&Columns) -> R,
    ) -> Option<R> {
        self.look(Some(number), uuid, Match::Equal, read)
    }

    /// Whether under this number there is a row whose uuid is this one or a greater.
    pub fn has_from(&mut self, number: i32, uuid: [u8; 16]) -> bool {
        self.look(Some(number), uuid, Match::AtLeast, |_| ()).is_some()
    }

    /// The least uuid in column 1 that is not below this one.
    pub fn least_from(&mut self, uuid: [u8; 16]) -> Option<[u8; 16]> {
        self.look(None, uuid, Match::AtLeast, |row| row.uuid(1))
    }

    /// Visits the rows whose uuid is this one or a lower, the greatest first.
    pub fn down_from(&mut self, uuid: [u8; 16], visit: impl FnMut(&Columns) -> ControlFlow<()>) {
        self.scan(None, uuid, Match::AtMost, visit);
    }

    /// Visits the uuids in the index of which that is true, in their order. The rows are not read:
    /// some may be gone, or never have been.
    pub fn each_key_from(
        &mut self,
        number: i32,
        uuid: [u8; 16],
        mut visit: impl FnMut([u8; 16]) -> ControlFlow<()>,
    ) {
        self.set_keys(Some(number), uuid, Match::AtLeast);
        let Self { scan, keys, home, .. } = self;
        let forward = pg_sys::ScanDirection::ForwardScanDirection;
        // SAFETY: the scan is open, for so many keys; what it keeps is allocated where it was opened.
        // An index gives the entries themselves while that is wanted; the second column is a uuid.
        home.run(|| unsafe {
            (**scan).xs_want_itup = true;
            pg_sys::index_rescan(*scan, keys.as_mut_ptr(), keys.len() as i32, null_mut(), 0);
            while !pg_sys::index_getnext_tid(*scan, forward).is_null() {
                let (entry, columns) = ((**scan).xs_itup, (**scan).xs_itupdesc);
                let uuid = pg_sys::nocache_index_getattr(entry, 2, columns);
                if visit(*uuid.cast_mut_ptr::<[u8; 16]>()).is_break() {
                    break;
                }
            }
            (**scan).xs_want_itup = false;
        });
    }

    fn look<R>(
        &mut self,
        number: Option<i32>,
        uuid: [u8; 16],
        of: Match,
        read: impl FnOnce(&Columns) -> R,
    ) -> Option<R> {
        let (mut read, mut answer) = (Some(read), None);
        self.scan(number, uuid, of, |row| {
            answer = read.take().map(|read| read(row));
            ControlFlow::Break(())
        });
        answer
    }

    fn scan(
        &mut self,
        number: Option<i32>,
        uuid: [u8; 16],
        of: Match,
        mut visit: impl FnMut(&Columns) -> ControlFlow<()>,
    ) {
        self.set_keys(number, uuid, of);
        let Self { scan, slot, keys, home, .. } = self;
        // SAFETY: scan and slot are open, and there are as many keys as the scan was opened for.
        // What it keeps is allocated where it was opened.
        home.run(|| unsafe {
            let count = keys.len() as i32;
            pg_sys::index_rescan(*scan, keys.as_mut_ptr(), count, null_mut(), 0);
            let direction = match of {
                Match::Equal | Match::AtLeast => pg_sys::ScanDirection::ForwardScanDirection,
                Match::AtMost => pg_sys::ScanDirection::BackwardScanDirection,
            };
            while pg_sys::index_getnext_slot(*scan, direction, *slot) {
                if visit(&Columns(*slot)).is_break() {
                    break;
                }
            }
            pg_sys::ExecClearTuple(*slot);
        });
    }

    /// Gives back the pages that the last question has pinned: VACUUM would wait for them.
    pub fn rest(&mut self) {
        // SAFETY: the scan is open, its keys are those of the last question.
        unsafe {
            let count = self.keys.len() as i32;
            pg_sys::index_rescan(self.scan, self.keys.as_mut_ptr(), count, null_mut(), 0);
        }
    }

    fn set_keys(&mut self, number: Option<i32>, uuid: [u8; 16], of: Match) {
        *self.key_bytes = uuid;
        let equal = pg_sys::BTEqualStrategyNumber as u16;
        let (strategy, function) = match of {
            Match::Equal => (equal, pg_sys::F_UUID_EQ),
            Match::AtLeast => (pg_sys::BTGreaterEqualStrategyNumber as u16, pg_sys::F_UUID_GE),
            Match::AtMost => (pg_sys::BTLessEqualStrategyNumber as u16, pg_sys::F_UUID_LE),
        };
        let (last, before) = self.keys.split_last_mut().expect("a key has columns");
        let uuid = Datum::from(self.key_bytes.as_ptr());
        let column = before.len() as i16 + 1;
        // SAFETY: fills in keys of ours; the functions compare what the columns hold.
        unsafe {
            if let Some(first) = before.first_mut() {
                let number = Datum::from(number.expect("the key begins with a number"));
                pg_sys::ScanKeyInit(first, 1, equal, Oid::from(pg_sys::F_INT4EQ), number);
            }
            pg_sys::ScanKeyInit(last, column, strategy, Oid::from(function), uuid);
        }
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

    pub fn uuid(&self, column: usize) -> [u8; 16] {
        // SAFETY: callers name columns of type uuid.
        self.datum(column).map_or([0; 16], |datum| unsafe { *datum.cast_mut_ptr::<[u8; 16]>() })
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
