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
    let done = with_snapshot(|| Spi::run_with_args(statement, arguments));
    if let Err(error) = done {
        corrupted(error).raise();
    }
}

/// As [`run_as_owner_of`]; the first column of the first row, if there is one and it is not null.
pub fn one_as_owner_of<T: FromDatum + IntoDatum>(
    relid: Oid,
    statement: &str,
    arguments: &[DatumWithOid<'_>],
) -> Option<T> {
    let _owner = RunAs::role(catalog::owner(relid));
    match with_snapshot(|| Spi::get_one_with_args(statement, arguments)) {
        Ok(found) => found,
        Err(spi::Error::InvalidPosition) => None,
        Err(error) => corrupted(error).raise(),
    }
}

/// At the end of a transaction there is no snapshot, which statements need.
fn with_snapshot<R>(work: impl FnOnce() -> R) -> R {
    // SAFETY: what is pushed is popped below; on an error the transaction's end pops it.
    let is_missing = unsafe { !pg_sys::ActiveSnapshotSet() };
    if is_missing {
        // SAFETY: as above.
        unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot()) };
    }
    let result = work();
    if is_missing {
        // SAFETY: as above.
        unsafe { pg_sys::PopActiveSnapshot() };
    }
    result
}
