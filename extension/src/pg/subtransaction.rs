//! Work that is done and then taken back.

use pgrx::pg_sys;

/// Runs `work` in a subtransaction of its own and rolls it back; an error goes on to the caller's
/// transaction as any other.
pub fn rolled_back<R>(work: impl FnOnce() -> R) -> R {
    // SAFETY: the subtransaction is ended in the same call; memory context and resource owner are
    // put back as Postgres's own procedural languages do it.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let owner = pg_sys::CurrentResourceOwner;
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        let result = work();
        pg_sys::RollbackAndReleaseCurrentSubTransaction();
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
        result
    }
}
