//! Writing a part.

use crate::decode::put_varint;
use crate::layout::RelationLayout;
use crate::version::Version;

use super::{CHECKSUM_LEN, FIXED_LEN, FLAG_ZSTD, Header, MAGIC};
use super::{TAG_BEGIN, TAG_END, TAG_FRAME};

/// Collects transactions and frames, and makes the part of them. Reusable: [`PartWriter::finish`]
/// leaves it empty.
#[derive(Debug, Default)]
pub struct PartWriter {
    body: Vec<u8>,
    layouts: Vec<RelationLayout>,
    /// What the caller calls the layouts in `layouts`, in the same order.
    layout_keys: Vec<i64>,
    transactions: u64,
    frames: u64,
    entries: u64,
}

impl PartWriter {
    /// Uncompressed bytes so far: the caller ends the part when this reaches
    /// [`PART_TARGET_BYTES`](crate::limits::PART_TARGET_BYTES).
    #[must_use]
    pub fn len(&self) -> usize {
        self.body.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// Entries in this part so far.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.entries
    }

    /// Frames in this part so far.
    #[must_use]
    pub const fn frames(&self) -> u64 {
        self.frames
    }

    /// A source transaction begins, or goes on from the part before. `lsn` orders transactions.
    pub fn begin(&mut self, xid: u64, lsn: u64) {
        self.body.push(TAG_BEGIN);
        put_varint(&mut self.body, xid);
        put_varint(&mut self.body, lsn);
        self.transactions += 1;
    }

    /// The transaction ends, or goes on in the next part.
    pub fn end(&mut self) {
        self.body.push(TAG_END);
    }

    /// Whether the layout that the caller calls `key` is known in this part already.
    #[must_use]
    pub fn has_layout(&self, key: i64) -> bool {
        self.layout_keys.contains(&key)
    }

    /// Makes a layout known to this part, under the caller's own `key`.
    pub fn add_layout(&mut self, key: i64, layout: RelationLayout) {
        if !self.has_layout(key) {
            self.layout_keys.push(key);
            self.layouts.push(layout);
        }
    }

    /// A frame as the journal has it.
    ///
    /// # Panics
    /// If [`PartWriter::add_layout`] was not called with this key: a programming error.
    pub fn frame(&mut self, key: i64, id: Version, entries: u64, bytes: &[u8]) {
        let place = self.layout_keys.iter().position(|known| *known == key);
        let place = place.expect("the frame's layout is known to the part");
        self.body.push(TAG_FRAME);
        put_varint(&mut self.body, place as u64);
        put_varint(&mut self.body, entries);
        self.body.extend_from_slice(&id.to_bytes());
        put_varint(&mut self.body, bytes.len() as u64);
        self.body.extend_from_slice(bytes);
        self.frames += 1;
        self.entries += entries;
    }

    /// The part's bytes. `header` gives everything but layouts and counts, which are filled in.
    /// `level` is zstd's; `None` leaves the body plain (two agents on one machine).
    pub fn finish(&mut self, header: Header, level: Option<i32>) -> Vec<u8> {
        let header = Header {
            layouts: std::mem::take(&mut self.layouts),
            transactions: std::mem::take(&mut self.transactions),
            frames: std::mem::take(&mut self.frames),
            entries: std::mem::take(&mut self.entries),
            ..header
        };
        self.layout_keys.clear();
        let (format, head) = (header.format(), header.encode());
        // zstd fails on memory alone; then the plain body serves.
        let packed = level.and_then(|level| zstd::bulk::compress(&self.body, level).ok());
        let flags = if packed.is_some() { FLAG_ZSTD } else { 0 };
        let stored = packed.as_deref().unwrap_or(&self.body);

        let mut out = Vec::with_capacity(FIXED_LEN + head.len() + stored.len() + CHECKSUM_LEN);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&format.to_le_bytes());
        out.extend_from_slice(&flags.to_le_bytes());
        out.extend_from_slice(&(head.len() as u32).to_le_bytes());
        out.extend_from_slice(&(self.body.len() as u64).to_le_bytes());
        out.extend_from_slice(&(stored.len() as u64).to_le_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(stored);
        out.extend_from_slice(&xxhash_rust::xxh3::xxh3_128(&out).to_be_bytes());
        self.body.clear();
        out
    }
}
