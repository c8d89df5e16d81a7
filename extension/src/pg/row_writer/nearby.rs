//! Finding a row: among those that stand near the last one, and else by the index. Whoever changes
//! many rows at once goes through a table page by page, and the copy of the table is mostly in the
//! same order. So where two rows were found on one page, or on neighbours, it is noted which rows
//! stand there: to look one of them up by its place takes a third of a descent of the index.
//!
//! Rows that come in any order are looked up as ever, and nothing is noted.

use std::collections::{HashMap, HashSet};
use std::ptr::null_mut;

use pgrx::pg_sys::{self, Datum, ItemPointerData};

use super::{RowWriter, slot_values};
use crate::mixer::Mixed;

/// So many rows, and pages, are noted at most: some 150 kB.
const MOST_NOTED: usize = 2_000;

unsafe extern "C-unwind" {
    // Without the guard that pgrx puts around every call.
    fn nocachegetattr(
        row: pg_sys::HeapTuple,
        number: std::ffi::c_int,
        columns: pg_sys::TupleDesc,
    ) -> Datum;
    fn heap_attisnull(
        row: pg_sys::HeapTuple,
        number: std::ffi::c_int,
        columns: pg_sys::TupleDesc,
    ) -> bool;
}

/// Rows that are near the last one found.
#[derive(Debug)]
pub struct Nearby {
    /// Whether a row that is seen under an identity is the only one.
    is_sure: bool,
    last_page: Option<u32>,
    noted: HashMap<[u8; 16], Place, Mixed>,
    pages: HashSet<u32, Mixed>,
    is_swept: bool,
}

/// Where a row stood when it was noted.
#[derive(Clone, Copy, Debug)]
struct Place {
    page: u32,
    offset: u16,
    is_swept: bool,
}

impl Nearby {
    /// # Safety
    /// Both must be open.
    pub unsafe fn of(table: pg_sys::Relation, identity: pg_sys::Relation) -> Self {
        // SAFETY: the form of an open relation, and of an index, is there as long as it is open.
        let is_sure = unsafe {
            let index = &*(*identity).rd_index;
            (*(*table).rd_rel).relam == pg_sys::HEAP_TABLE_AM_OID
                && index.indisunique
                && index.indimmediate
                && index.indnkeyatts == 1
        };
        let (noted, pages) = Default::default();
        Self { is_sure, last_page: None, noted, pages, is_swept: false }
    }

    /// Whether nothing had changed on the page of the row found last since VACUUM, when the page was
    /// first seen: then what the row had replaced has gone from the indexes.
    pub fn is_swept(&self) -> bool {
        self.is_swept
    }

    /// Takes the place where the row was noted: it is about to change.
    fn take(&mut self, row: [u8; 16]) -> Option<Place> {
        if self.noted.is_empty() {
            return None;
        }
        self.noted.remove(&row)
    }

    /// The index has found a row here. Whether those of its page are now to be noted.
    ///
    /// # Safety
    /// The slot must hold the row.
    unsafe fn found(&mut self, slot: *mut pg_sys::TupleTableSlot) -> Option<u32> {
        if !self.is_sure {
            return None;
        }
        // SAFETY: the table is a heap, so its slots are of this kind and pin the row's page.
        let (page, buffer) = unsafe {
            let slot = slot.cast::<pg_sys::BufferHeapTupleTableSlot>();
            (page_of((*slot).base.base.tts_tid), (*slot).buffer)
        };
        let is_near = self.last_page.is_some_and(|last| last.abs_diff(page) <= 1);
        // SAFETY: the page is pinned.
        self.is_swept = unsafe { is_swept(buffer) };
        self.last_page = Some(page);
        (is_near && !self.pages.contains(&page)).then_some(page)
    }

    /// Notes the rows of a page that nobody has replaced or deleted.
    ///
    /// # Safety
    /// The page must be one of this table's, which must be a heap; the number that of a uuid column.
    unsafe fn note(&mut self, table: pg_sys::Relation, page: u32, identity: i32) {
        if self.noted.len().max(self.pages.len()) >= MOST_NOTED {
            self.noted.clear();
            self.pages.clear();
        }
        self.pages.insert(page);
        let mut rows = Vec::new();
        // SAFETY: the page is pinned, and locked for reading while its rows are read; what is read
        // is copied. Nothing in the guarded part has a destructor.
        let is_swept = unsafe {
            let buffer = pg_sys::ReadBuffer(table, page);
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
            let contents = pg_sys::BufferGetPage(buffer);
            let is_swept = is_swept(buffer);
            let last = pg_sys::PageGetMaxOffsetNumber(contents);
            rows.reserve(usize::from(last));
            let (columns, rows) = ((*table).rd_att, &mut rows);
            pg_sys::ffi::pg_guard_ffi_boundary(|| {
                for offset in 1..=last {
                    let item = *pg_sys::PageGetItemId(contents, offset);
                    if item.lp_flags() != pg_sys::LP_NORMAL {
                        continue;
                    }
                    let row = contents.add(item.lp_off() as usize);
                    let mut row = pg_sys::HeapTupleData {
                        t_len: item.lp_len(),
                        t_data: row.cast(),
                        ..Default::default()
                    };
                    let flags = u32::from((*row.t_data).t_infomask);
                    let is_last = flags & pg_sys::HEAP_XMAX_INVALID != 0;
                    if is_last && !heap_attisnull(&mut row, identity, columns) {
                        let value = nocachegetattr(&mut row, identity, columns);
                        rows.push((*value.cast_mut_ptr::<[u8; 16]>(), offset));
                    }
                }
            });
            pg_sys::UnlockReleaseBuffer(buffer);
            is_swept
        };
        self.noted.reserve(rows.len());
        for (row, offset) in rows {
            self.noted.insert(row, Place { page, offset, is_swept });
        }
    }
}

impl RowWriter {
    /// Looks the row up; afterwards `current` holds it.
    pub fn find(&mut self, row: [u8; 16]) -> bool {
        // SAFETY: both ways read under a snapshot that is newer than the call's own, so the call's
        // active snapshot keeps everything alive that this one can see.
        unsafe {
            // What the scan keeps between calls must not go with the caller's context.
            let outer = pg_sys::MemoryContextSwitchTo((*self.estate).es_query_cxt);
            (*self.scan).xs_snapshot = pg_sys::GetLatestSnapshot();
            let found = self.is_nearby(row) || self.is_in_index(row);
            pg_sys::MemoryContextSwitchTo(outer);
            if found {
                slot_values(self.current);
            }
            found
        }
    }

    /// Whether the row is seen where it was noted.
    ///
    /// # Safety
    /// The scan must have its snapshot.
    unsafe fn is_nearby(&mut self, row: [u8; 16]) -> bool {
        let Some(Place { page, offset, is_swept }) = self.nearby.take(row) else { return false };
        let (table, mut at) = (self.table.raw(), address(page, offset));
        // SAFETY: the page exists as long as the table is open for writing, and the slot pins the
        // row that is read; another may stand there by now.
        unsafe {
            let snapshot = (*self.scan).xs_snapshot;
            if pg_sys::table_tuple_fetch_row_version(table, &mut at, snapshot, self.current) {
                slot_values(self.current);
                if self.current().uuid(self.identity) == Some(row) {
                    self.nearby.last_page = Some(page);
                    self.nearby.is_swept = is_swept;
                    return true;
                }
            }
            pg_sys::ExecClearTuple(self.current);
        }
        false
    }

    /// # Safety
    /// The scan must have its snapshot.
    unsafe fn is_in_index(&mut self, row: [u8; 16]) -> bool {
        *self.key_bytes = row;
        // SAFETY: the scan is open, and its key is ours; the slot holds what was found.
        unsafe {
            pg_sys::index_rescan(self.scan, &mut *self.key, 1, null_mut(), 0);
            let forward = pg_sys::ScanDirection::ForwardScanDirection;
            let found = pg_sys::index_getnext_slot(self.scan, forward, self.current);
            if found && let Some(page) = self.nearby.found(self.current) {
                self.nearby.note(self.table.raw(), page, self.identity as i32);
                // The row itself is about to change.
                self.nearby.noted.remove(&row);
            }
            found
        }
    }
}

fn page_of(at: ItemPointerData) -> u32 {
    u32::from(at.ip_blkid.bi_hi) << 16 | u32::from(at.ip_blkid.bi_lo)
}

fn address(page: u32, offset: u16) -> ItemPointerData {
    let ip_blkid = pg_sys::BlockIdData { bi_hi: (page >> 16) as u16, bi_lo: page as u16 };
    ItemPointerData { ip_blkid, ip_posid: offset }
}

/// Whether nothing has changed on the page since VACUUM: a hint, that may be out of date.
///
/// # Safety
/// The buffer must be pinned, and a heap's.
unsafe fn is_swept(buffer: pg_sys::Buffer) -> bool {
    // SAFETY: see above.
    let header = unsafe { &*pg_sys::BufferGetPage(buffer).cast::<pg_sys::PageHeaderData>() };
    u32::from(header.pd_flags) & pg_sys::PD_ALL_VISIBLE != 0
}
