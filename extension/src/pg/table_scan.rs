//! A sequential read of one table's own rows, in strides: between two strides nothing is held
//! open, so that a caller who loses interest leaves nothing behind.

use super::open_table::OpenTable;
use super::row_view::RowView;
use pgrx::pg_sys;
use std::ptr::null_mut;

/// The address of a row in its table.
#[derive(Clone, Copy, Debug)]
pub struct RowAddress(pg_sys::ItemPointerData);

impl RowAddress {
    /// Where the first row may be.
    pub fn first() -> Self {
        Self::new(0, 1)
    }

    fn new(block: u32, offset: u16) -> Self {
        let ip_blkid = pg_sys::BlockIdData { bi_hi: (block >> 16) as u16, bi_lo: block as u16 };
        Self(pg_sys::ItemPointerData { ip_blkid, ip_posid: offset })
    }

    /// The next address on the same page; the scan skips what does not exist.
    fn successor(self) -> Self {
        let pg_sys::ItemPointerData { ip_blkid, ip_posid } = self.0;
        Self::new(u32::from(ip_blkid.bi_hi) << 16 | u32::from(ip_blkid.bi_lo), ip_posid + 1)
    }
}

/// An open stride of a scan, under the calling statement's snapshot. `close` it; after an error
/// Postgres cleans up.
#[derive(Debug)]
pub struct TableScan {
    table: OpenTable,
    scan: pg_sys::TableScanDesc,
    slot: *mut pg_sys::TupleTableSlot,
}

impl TableScan {
    /// Reads from `from` on.
    pub fn open(table: OpenTable, from: RowAddress) -> Self {
        let (mut from, mut to) = (from.0, RowAddress::new(u32::MAX - 1, u16::MAX).0);
        // SAFETY: the relation is open and locked; the active snapshot outlives the stride. Both
        // bounds are copied.
        unsafe {
            let snapshot = pg_sys::GetActiveSnapshot();
            let scan = pg_sys::table_beginscan_tidrange(table.raw(), snapshot, &mut from, &mut to);
            let slot = pg_sys::table_slot_create(table.raw(), null_mut());
            Self { table, scan, slot }
        }
    }

    /// The next row.
    pub fn next_row(&mut self) -> Option<RowView<'_>> {
        // SAFETY: the slot pins the row until the next call, for which `self` must be free again.
        unsafe {
            let forward = pg_sys::ScanDirection::ForwardScanDirection;
            if !pg_sys::table_scan_getnextslot_tidrange(self.scan, forward, self.slot) {
                return None;
            }
            pg_sys::slot_getallattrs(self.slot);
            let len = (*(*self.slot).tts_tupleDescriptor).natts as usize;
            Some(RowView::new(
                std::slice::from_raw_parts((*self.slot).tts_values, len),
                std::slice::from_raw_parts((*self.slot).tts_isnull, len),
            ))
        }
    }

    /// Behind the row that was read last.
    pub fn behind(&self) -> RowAddress {
        // SAFETY: the slot holds the row that `next_row` gave.
        RowAddress(unsafe { (*self.slot).tts_tid }).successor()
    }

    pub fn close(self) {
        // SAFETY: opened above, closed once, the slot's pin before the scan.
        unsafe {
            pg_sys::ExecDropSingleTupleTableSlot(self.slot);
            pg_sys::table_endscan(self.scan);
        }
        self.table.close();
    }
}
