//! Where the frames of a set come from.

use syncjournal_core::{RelationLayout, Version};

/// A frame on its way into a part.
#[derive(Debug)]
pub struct SourceFrame {
    pub id: Version,
    /// The row of the journal that it stands in, by its first frame.
    pub row: Version,
    /// The transaction; 0 where rows are read as they are now.
    pub xid: u64,
    /// Orders the transactions.
    pub lsn: u64,
    pub layout_id: i32,
    pub entries: u64,
    /// Length of the bytes.
    pub len: usize,
    /// Empty until `load`ed.
    pub bytes: Vec<u8>,
}

impl SourceFrame {
    /// Another frame of the same transaction and layout.
    pub fn with(&self, id: Version, entries: u32, bytes: Vec<u8>) -> Self {
        let Self { row, xid, lsn, layout_id, .. } = *self;
        Self { id, row, xid, lsn, layout_id, entries: u64::from(entries), len: bytes.len(), bytes }
    }
}

/// Gives the frames of a set in order.
pub trait FrameSource {
    fn next_frame(&mut self) -> Option<SourceFrame>;

    /// Fills in the bytes of frames that came without, and leaves of each what the peer may have.
    fn load(&mut self, frames: Vec<SourceFrame>) -> Vec<SourceFrame>;

    /// The definition of a frame's layout.
    fn layout(&mut self, layout_id: i32) -> RelationLayout;

    /// A part is complete: what may not stay open until the next one is asked for is closed.
    fn pause(&mut self) {}

    /// Ends what is open.
    fn close(self: Box<Self>);
}
