//! Memory for one entry at a time.

use pgrx::pg_sys;

/// A memory context that is emptied after each use. It goes with the context it was made in.
#[derive(Debug)]
pub struct Arena(pg_sys::MemoryContext);

impl Arena {
    pub fn new() -> Self {
        // SAFETY: a child of the current context; the name is static.
        let context = unsafe {
            pg_sys::AllocSetContextCreateInternal(
                pg_sys::CurrentMemoryContext,
                c"syncjournal entry".as_ptr(),
                pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            )
        };
        Self(context)
    }

    /// What `work` allocates is gone afterwards (on an error with the transaction).
    pub fn run<R>(&self, work: impl FnOnce() -> R) -> R {
        // SAFETY: the context lives as long as this value; the caller's is put back.
        unsafe {
            let outer = pg_sys::MemoryContextSwitchTo(self.0);
            let result = work();
            pg_sys::MemoryContextSwitchTo(outer);
            pg_sys::MemoryContextReset(self.0);
            result
        }
    }
}

/// A context to which things are added that must outlive the work at hand.
#[derive(Clone, Copy, Debug)]
pub struct Home(pg_sys::MemoryContext);

impl Home {
    /// The current one.
    pub fn here() -> Self {
        // SAFETY: reads a variable of the backend.
        Self(unsafe { pg_sys::CurrentMemoryContext })
    }

    /// Runs `work` with this as the current context.
    pub fn run<R>(self, work: impl FnOnce() -> R) -> R {
        // SAFETY: callers keep this value no longer than the call it was made in.
        unsafe {
            let outer = pg_sys::MemoryContextSwitchTo(self.0);
            let result = work();
            pg_sys::MemoryContextSwitchTo(outer);
            result
        }
    }
}
