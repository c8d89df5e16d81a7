//! SQL of our own, for the few things that are not worth a direct call.

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys::{self, Oid};
use pgrx::prelude::*;

use crate::error::corrupted;
use crate::pg::catalog;
use crate::pg::role::RunAs;

/// Runs a statement with the rights of the owner of `relid`. The statement names all that it uses
/// with its schema, operators included: the search path is the session's.
pub fn run_as_owner_of(relid: Oid, statement: &str, arguments: &[DatumWithOid<'_>]) {
    let _owner = RunAs::role(catalog::owner(relid));
    // SAFETY: a snapshot is pushed where none is (at the end of a transaction) and popped after;
    // on an error the transaction's end pops it.
    let is_pushed = unsafe {
        let is_missing = !pg_sys::ActiveSnapshotSet();
        if is_missing {
            pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        }
        is_missing
    };
    if let Err(error) = Spi::run_with_args(statement, arguments) {
        corrupted(error).raise();
    }
    if is_pushed {
        // SAFETY: pushed above.
        unsafe { pg_sys::PopActiveSnapshot() };
    }
}
