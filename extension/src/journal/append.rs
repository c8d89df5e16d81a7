//! Writing frames: the capture's own, and those received, which keep their id and their bytes.

use std::cell::Cell;

use syncjournal_core::Version;

use crate::journal::segment::{self, Segment};
use crate::pg::row_batch::RowBatch;
use crate::pg::table::{Field, Table};
use crate::pg::transaction;

/// A frame to be journaled.
#[derive(Clone, Copy, Debug)]
pub struct FrameRow<'a> {
    /// The version of its first entry.
    pub id: Version,
    /// Number of its layout in this database.
    pub layout_id: i32,
    /// The peer it came from; 0 where it was written here.
    pub origin: i16,
    pub entries: u32,
    pub data: &'a [u8],
    /// Whom it is for, see `syncjournal_core::slice::Reach`; empty for a table without slices.
    pub reach: &'a [u8],
}

/// So many frames are kept back at most, and so many of their bytes.
const MOST_WAITING: usize = 64;
const MOST_WAITING_BYTES: usize = 64 << 10;

thread_local! {
    static OPENED: Cell<u64> = const { Cell::new(0) };
}

/// How often this session has begun to write frames.
pub(super) fn opened_so_far() -> u64 {
    OPENED.get()
}

/// The newest segment, open for writing in the current transaction.
///
/// Frames are kept back and written together: whoever reads the journal before the end of his work
/// calls `flush` first, and everybody does at the end.
#[derive(Debug)]
pub struct Appender {
    segment: Segment,
    table: Table,
    xid: u64,
    waiting: RowBatch,
    waiting_bytes: usize,
}

impl Appender {
    pub fn open() -> Self {
        let segment = segment::newest();
        OPENED.set(OPENED.get() + 1);
        Self {
            segment,
            table: Table::write(segment.relid),
            xid: transaction::top_xid(),
            waiting: RowBatch::default(),
            waiting_bytes: 0,
        }
    }

    /// Takes one frame to be written. One that is there already is a unique violation: see `exists`.
    pub fn append(&mut self, frame: &FrameRow<'_>) {
        self.waiting.add(
            &self.table,
            &[
                Field::Uuid(frame.id.to_bytes()),
                Field::Int8(self.xid),
                Field::Int8(transaction::wal_insert_position()),
                Field::Int4(self.segment.number),
                Field::Int4(frame.layout_id),
                Field::Int2(frame.origin),
                Field::Int4(i32::try_from(frame.entries).unwrap_or(i32::MAX)),
                Field::Bytes(frame.data),
                Field::Bytes(frame.reach),
            ],
        );
        self.waiting_bytes += frame.data.len() + frame.reach.len();
        if self.waiting.len() >= MOST_WAITING || self.waiting_bytes >= MOST_WAITING_BYTES {
            self.flush();
        }
    }

    /// Writes what waits.
    pub fn flush(&mut self) {
        self.waiting_bytes = 0;
        self.waiting.write(&self.table);
    }
}
