//! Writing frames: the capture's own, and those received, which keep their id and their bytes.

use syncjournal_core::Version;

use crate::journal::segment::{self, Segment};
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
}

/// The newest segment, open for writing in the current transaction.
#[derive(Debug)]
pub struct Appender {
    segment: Segment,
    table: Table,
    xid: u64,
}

impl Appender {
    pub fn open() -> Self {
        let segment = segment::newest();
        Self { segment, table: Table::write(segment.relid), xid: transaction::top_xid() }
    }

    /// Writes one frame. One that is there already is a unique violation: see `exists`.
    pub fn append(&self, frame: &FrameRow<'_>) {
        self.table.insert(&[
            Field::Uuid(frame.id.to_bytes()),
            Field::Int8(self.xid),
            Field::Int8(transaction::wal_insert_position()),
            Field::Int4(self.segment.number),
            Field::Int4(frame.layout_id),
            Field::Int2(frame.origin),
            Field::Int4(i32::try_from(frame.entries).unwrap_or(i32::MAX)),
            Field::Bytes(frame.data),
        ]);
    }
}
