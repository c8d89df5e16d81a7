//! Digests of a table's content that two databases can compare without talking about order.
//!
//! A row's hash covers its identity and its travelling columns in wire form, by name. The hash of a
//! group of rows is the sum of theirs, so neither physical order nor the order of columns matters,
//! and the hash of a group is the sum of its parts': a tree over the identities' leading bytes, in
//! which a difference is found by going down where the sums differ.
//!
//! NULL is not hashed: a column that only one side has, and that holds nothing yet, is no difference.
//! The row's version is not hashed either. Digests answer whether two databases hold the same; a row
//! that both had before they were tracked, or that one of them got by a full set, may stand at
//! another version and be the same row. (Where versions count, compare the journals.)
//!
//! The hash is xxh3 with 128 bits: it finds accidents, and is no proof against somebody who picks
//! values so that the sums agree.

mod row;
mod tree;

pub use row::{ColumnTag, RowBytes};
pub use tree::{Group, MAX_DEPTH, PrefixError, Tree};
