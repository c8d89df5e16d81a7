//! Slices: named row filters, and what of a frame a peer gets that has a table by them alone.
//!
//! The database that journals a frame knows, for each entry, in which of its slices the row was and
//! in which it is: its [`Passage`]. That is the node's own knowledge, as a slice is its own rule: it
//! stands beside the frame ([`Reach`]) and never in it, so frames are the same everywhere.
//! [`cut()`] makes of a frame what one peer may have of it. It needs no table and no SQL: an agent
//! cuts what it streams by the same rule as the database cuts a file.

mod cut;
mod lock;
mod reach;

pub use cut::{Audience, Cut, Piece, Recipient, cut};
pub use lock::Lock;
pub use reach::{Passage, Reach, put_passage, tells_of_lists};

use crate::entry::RowId;
use crate::version::Version;

/// The number of a slice in its database; never given twice.
pub type SliceId = u32;

/// What a row adds to its slice's digest.
#[must_use]
pub fn row_hash(row: RowId, version: Version) -> u128 {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&row.0);
    bytes[16..].copy_from_slice(&version.to_bytes());
    xxhash_rust::xxh3::xxh3_128(&bytes)
}
