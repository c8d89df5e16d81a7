//! Capture: from the trigger to the journal.
//!
//! ```text
//! BEFORE ROW  trigger_version   identity, version (a place in a frame)     -> the row itself
//!                               of an update mostly the entry, too         -> buffer
//! AFTER ROW   trigger_capture   the row as it was written, encoded         -> buffer
//! BEFORE TRUNCATE trigger_truncate                                         -> buffer
//! PRE_COMMIT, PRE_PREPARE, or the buffer is full: sorted into frames       -> journal, tombstones
//! ```
//!
//! The version is given out before the row is written, since the row carries it; the entry follows
//! when the row is final. So AFTER needs no memory of BEFORE: the version in the row says which
//! frame the entry belongs to. Versions without an entry (a row that a later trigger suppressed, an
//! `ON CONFLICT` that took the other way, a savepoint rolled back) are holes, which cost nothing.
//!
//! Invariants:
//! - A frame holds entries of one transaction on one relation, under one layout.
//! - Along a row's chain of versions times ascend, and so do the ids of the frames; hence a reader
//!   who takes a transaction's frames by id meets each row's entries in their order.
//! - The buffer knows the savepoints: what one wrote goes when it is rolled back, and an early
//!   flush inside one writes only what it wrote itself, so that Postgres takes the journal rows
//!   back with it.
//! - No borrow of the state is held while anything runs that may fire a trigger within the trigger.

mod allocate;
mod buffer;
mod earlier;
mod encode;
mod flush;
mod natural;
mod row_id;
mod state;
mod trigger_capture;
mod trigger_truncate;
mod trigger_version;

pub use state::{flush_now, lone_version, merge_version, register};
