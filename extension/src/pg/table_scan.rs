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
        Self::between(table, from, RowAddress::new(u32::MAX - 1, u16::MAX))
    }

    /// Reads the blocks from `first` up to but not including `end`; to the last one where it is none.
    pub fn of_blocks(table: OpenTable, first: u32, end: Option<u32>) -> Self {
        let last = end.unwrap_or(u32::MAX).saturating_sub(1);
        Self::between(table, RowAddress::new(first, 1), RowAddress::new(last, u16::MAX))
    }

    fn between(table: OpenTable, from: RowAddress, to: RowAddress) -> Self {
        let (mut from, mut to) = (from.0, to.0);
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
        self.advance().then(|| self.row())
    }

    /// Goes to the next row.
    pub fn advance(&mut self) -> bool {
        let forward = pg_sys::ScanDirection::ForwardScanDirection;
        // SAFETY: scan and slot are open, and belong together.
        unsafe { pg_sys::table_scan_getnextslot_tidrange(self.scan, forward, self.slot) }
    }

    /// The row that `advance` found.
    pub fn row(&mut self) -> RowView<'_> {
        // SAFETY: the slot pins the row until the next call, for which `self` must be free again.
        unsafe {
            pg_sys::slot_getallattrs(self.slot);
            let len = (*(*self.slot).tts_tupleDescriptor).natts as usize;
            RowView::new(
                std::slice::from_raw_parts((*self.slot).tts_values, len),
                std::slice::from_raw_parts((*self.slot).tts_isnull, len),
            )
        }
    }

    /// The block in which the row lies.
    pub fn block(&self) -> u32 {
        // SAFETY: the slot holds the row that `advance` found, or the address of the last one.
        let id = unsafe { (*self.slot).tts_tid.ip_blkid };
        u32::from(id.bi_hi) << 16 | u32::from(id.bi_lo)
    }

    /// Behind the row that was read last.
    pub fn behind(&self) -> RowAddress {
        // SAFETY: the slot holds the row that `advance` found.
        RowAddress(unsafe { (*self.slot).tts_tid }).successor()
    }

    /// The transaction that wrote this version of the row, as far as 32 bits tell.
    pub fn writer(&self) -> u32 {
        let mut is_null = false;
        let column = pg_sys::MinTransactionIdAttributeNumber;
        // SAFETY: the slot holds the row that `advance` found, as the table has it.
        unsafe { pg_sys::slot_getsysattr(self.slot, column, &mut is_null) }.value() as u32
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
