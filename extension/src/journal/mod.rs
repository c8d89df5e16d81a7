//! The journal's table: appending frames, finding the frame that holds a version, tombstones.
//!
//! Frames are only ever inserted, and segments dropped as a whole, so reading needs no snapshot of
//! its own (see `pg::table`), and what was found stays true.

mod append;
mod fresh;
mod history;
mod horizon;
mod lookup;
mod rows;
mod segment;
pub mod stone_reader;
pub mod tombstone;
mod unfold;

pub use append::{Appender, FrameRow};
pub use fresh::{fresh_prefix, fresh_prefix_after};
pub use horizon::pruned_to;
pub use lookup::{FrameIds, Stored, exists, frame_of, is_begun};
pub use unfold::Renderer;

/// Segments came or went, or a table was emptied.
pub fn forget() {
    segment::forget();
    horizon::forget();
    tombstone::forget();
}
