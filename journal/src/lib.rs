//! The rules of syncjournal, pure: no Postgres, no I/O, no clock and no randomness of its own.
//!
//! A tracked row carries the [`Version`] that last wrote it. Each change is an [`Entry`]: the new
//! version, the version it replaces, and what changed. The entries that one transaction made on
//! one relation travel together in a *frame*, encoded once by the capture ([`frame`]) and carried
//! unchanged by the journal table, the stream and the sync set ([`wire`]) to the journal of the
//! target. There, [`merge`] says how an entry relates to the row it meets.
//!
//! ```text
//!   capture -> frame -> journal -> (stream | window -> sync set) -> frame -> merge -> row
//! ```
//!
//! | module | what it knows |
//! | --- | --- |
//! | [`version`], [`clock`] | the 128 bits of a version, and the hybrid logical time in them |
//! | [`layout`] | a relation's columns as frames number them, and their fingerprint |
//! | [`entry`], [`frame`] | one change; the entries of one transaction on one relation |
//! | [`bundle`] | frames of one transaction that share a row of the journal |
//! | [`wire`] | the sync set: header, transactions, frames, checksum |
//! | [`snapshot`] | `pg_snapshot` arithmetic: windows and what covers what |
//! | [`pattern`] | include and exclude lists by psql's pattern rules |
//! | [`operations`] | which operations may pass, by table |
//! | [`merge`] | fast-forward, known, diverged; who wins |
//! | [`slice`] | what of a frame a peer gets that has a table by slices |
//! | [`digest`] | hashes of a table's content, in a tree over the rows' identities |
//! | [`limits`] | every cap, with its reason |
//!
//! Whatever comes from outside is decoded with every length checked before it is believed: an
//! error, never a panic, and never an allocation that the input did not pay for in bytes.
#![forbid(unsafe_code)]

pub mod bundle;
pub mod clock;
mod decode;
pub mod digest;
pub mod entry;
pub mod frame;
pub mod layout;
pub mod limits;
pub mod merge;
pub mod operations;
pub mod order;
pub mod pattern;
pub mod slice;
pub mod snapshot;
pub mod version;
pub mod wire;

pub use clock::{Clock, HybridTime};
pub use decode::DecodeError;
pub use entry::{Entry, Operation, RowId, Values};
pub use layout::{Column, Fingerprint, Format, RelationLayout};
pub use snapshot::Snapshot;
pub use version::Version;
