//! Where the frames of a set come from.

use syncjournal_core::{RelationLayout, Version};

/// A frame on its way into a part.
#[derive(Debug)]
pub struct SourceFrame {
    pub id: Version,
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

/// Gives the frames of a set in order.
pub trait FrameSource {
    fn next_frame(&mut self) -> Option<SourceFrame>;

    /// Fills in the bytes of frames that came without.
    fn load(&mut self, frames: &mut [SourceFrame]);

    /// The definition of a frame's layout.
    fn layout(&mut self, layout_id: i32) -> RelationLayout;

    /// A part is complete: what may not stay open until the next one is asked for is closed.
    fn pause(&mut self) {}

    /// Ends what is open.
    fn close(self: Box<Self>);
}
