//! Writing frames: the capture's own, and those received, which keep their id and their bytes.

use std::cell::Cell;

use syncjournal_core::{Version, bundle, limits};

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

/// A row of the journal to which further frames may come.
#[derive(Debug)]
struct OpenRow {
    id: Version,
    layout_id: i32,
    origin: i16,
    /// Of all its frames.
    entries: u32,
    data: Vec<u8>,
    last: Version,
    bundled: Vec<u8>,
}

impl OpenRow {
    fn new(frame: &FrameRow<'_>) -> Self {
        let FrameRow { id, layout_id, origin, entries, data, .. } = *frame;
        Self { id, layout_id, origin, entries, data: data.to_vec(), last: id, bundled: Vec::new() }
    }

    /// Whether the frame could stand in a row with others. One for somebody in particular is told of alone.
    fn is_shared_by(frame: &FrameRow<'_>) -> bool {
        frame.reach.is_empty() && frame.data.len() < limits::BUNDLE_MAX_BYTES
    }

    fn takes(&self, frame: &FrameRow<'_>) -> bool {
        let bytes = self.data.len() + self.bundled.len() + frame.data.len();
        bundle::may_follow(frame.id, self.last)
            && self.origin == frame.origin
            && bytes <= limits::BUNDLE_MAX_BYTES
    }

    fn add(&mut self, frame: &FrameRow<'_>) {
        let FrameRow { id, layout_id, entries, data, .. } = *frame;
        let member = bundle::Member { id, layout_id, entries, data };
        bundle::put(&mut self.bundled, self.last, &member);
        self.last = id;
        self.entries = self.entries.saturating_add(entries);
    }
}

/// So many rows are kept back at most, and so many of their bytes.
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
/// Small frames of one transaction share a row. Rows are kept back and written together: whoever reads the journal before the end of his work
/// calls `flush` first, and everybody does at the end.
#[derive(Debug)]
pub struct Appender {
    segment: Segment,
    table: Table,
    xid: u64,
    open_row: Option<OpenRow>,
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
            open_row: None,
            waiting: RowBatch::default(),
            waiting_bytes: 0,
        }
    }

    /// Takes one frame to be written. Callers have asked whether it is there already.
    pub fn append(&mut self, frame: &FrameRow<'_>) {
        if !OpenRow::is_shared_by(frame) {
            self.close_row();
            return self.add(frame, &[]);
        }
        if let Some(row) = self.open_row.as_mut().filter(|row| row.takes(frame)) {
            return row.add(frame);
        }
        self.close_row();
        self.open_row = Some(OpenRow::new(frame));
    }

    fn close_row(&mut self) {
        let Some(row) = self.open_row.take() else { return };
        let OpenRow { id, layout_id, origin, entries, ref data, ref bundled, .. } = row;
        self.add(&FrameRow { id, layout_id, origin, entries, data, reach: &[] }, bundled);
    }

    fn add(&mut self, frame: &FrameRow<'_>, bundled: &[u8]) {
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
                Field::Bytes(bundled),
            ],
        );
        self.waiting_bytes += frame.data.len() + frame.reach.len() + bundled.len();
        if self.waiting.len() >= MOST_WAITING || self.waiting_bytes >= MOST_WAITING_BYTES {
            self.write();
        }
    }

    /// Writes what waits.
    pub fn flush(&mut self) {
        self.close_row();
        self.write();
    }

    fn write(&mut self) {
        self.waiting_bytes = 0;
        self.waiting.write(&self.table);
    }
}
