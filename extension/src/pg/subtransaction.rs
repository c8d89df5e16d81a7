//! Work that is done and then taken back, or that may fail without taking the caller's with it.

use std::panic::AssertUnwindSafe;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::PgTryBuilder;

use super::context;

/// Why an attempt was taken back.
#[derive(Debug)]
pub enum Undone<R> {
    /// The work asked for it.
    Given(R),
    /// An error, Postgres's or ours.
    Error(Box<Caught>),
}

/// An error that was caught.
#[derive(Debug)]
pub struct Caught {
    pub error: CaughtError,
    /// Its code as Postgres has it, if it was raised under an [`context::ErrorContext`]: pgrx knows
    /// only Postgres's own codes, and gives those that users make up as an internal error.
    pub code: Option<i32>,
}

impl Caught {
    /// Raises the error after all.
    pub fn rethrow(self) -> ! {
        self.error.rethrow()
    }
}

/// Runs `work` in a subtransaction of its own and rolls it back; an error goes on to the caller's
/// transaction as any other.
pub fn rolled_back<R>(work: impl FnOnce() -> R) -> R {
    match attempt(|| Err::<(), R>(work())) {
        Err(Undone::Given(result)) => result,
        Err(Undone::Error(error)) => error.rethrow(),
        Ok(()) => unreachable!("it always asks to be taken back"),
    }
}

/// Runs `work` in a subtransaction of its own, which is rolled back where it fails or asks for it.
///
/// What Postgres allocates in it is gone afterwards, too: nothing that was opened inside may be
/// used outside. An error drops the work's own values while it unwinds.
pub fn attempt<T, R>(work: impl FnOnce() -> Result<T, R>) -> Result<T, Undone<R>> {
    // SAFETY: the subtransaction is ended in the same call; memory context and resource owner are
    // put back as Postgres's own procedural languages do it.
    unsafe {
        let outer = pg_sys::CurrentMemoryContext;
        let owner = pg_sys::CurrentResourceOwner;
        let own = pg_sys::AllocSetContextCreateInternal(
            outer,
            c"syncjournal attempt".as_ptr(),
            pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        );
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(own);
        context::take_code();
        let result = PgTryBuilder::new(AssertUnwindSafe(|| work().map_err(Undone::Given)))
            .catch_others(|error| {
                let code = context::take_code();
                Err(Undone::Error(Box::new(Caught { error, code })))
            })
            .execute();
        match result {
            Ok(_) => pg_sys::ReleaseCurrentSubTransaction(),
            Err(_) => pg_sys::RollbackAndReleaseCurrentSubTransaction(),
        }
        pg_sys::MemoryContextSwitchTo(outer);
        pg_sys::CurrentResourceOwner = owner;
        pg_sys::MemoryContextDelete(own);
        result
    }
}
