//! The lock under which `track` adds its columns.
//!
//! Adding a column needs the strongest lock; giving the rows that exist their identity takes as
//! long as the table is large. Readers are to wait for the first and not for the second.

use pgrx::prelude::*;

use crate::pg::lock;

/// Locks the relation exclusively; false if the caller's transaction had done so before, for
/// reasons of its own: then the lock is not [`let_readers_pass`]'s to give up.
#[pg_extern]
fn take_exclusive_lock(relid: pg_sys::Oid) -> bool {
    lock::take_exclusive(relid)
}

/// From here to the transaction's end readers may pass, and writers still wait.
#[pg_extern]
fn let_readers_pass(relid: pg_sys::Oid) {
    lock::weaken_exclusive(relid);
}
