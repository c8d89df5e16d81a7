//! Memory contexts that live as long as a Rust value.

use pgrx::pg_sys;

/// A context of its own below Postgres's cache context; goes with this value.
#[derive(Debug)]
pub struct OwnedContext(pg_sys::MemoryContext);

impl OwnedContext {
    pub fn new() -> Self {
        // SAFETY: the cache context lives to the backend's end; the name is static.
        let context = unsafe {
            pg_sys::AllocSetContextCreateInternal(
                pg_sys::CacheMemoryContext,
                c"syncjournal".as_ptr(),
                pg_sys::ALLOCSET_SMALL_MINSIZE as usize,
                pg_sys::ALLOCSET_SMALL_INITSIZE as usize,
                pg_sys::ALLOCSET_SMALL_MAXSIZE as usize,
            )
        };
        Self(context)
    }

    /// For what must live as long as this value.
    pub fn raw(&self) -> pg_sys::MemoryContext {
        self.0
    }
}

impl Drop for OwnedContext {
    fn drop(&mut self) {
        // While an error unwinds Postgres may not be called; a leak of one small context then.
        if !std::thread::panicking() {
            // SAFETY: made by `new`, and nobody else deletes it.
            unsafe { pg_sys::MemoryContextDelete(self.0) };
        }
    }
}

/// Runs `work` in a context that is thrown away afterwards (on an error with the transaction).
pub fn scratch<R>(work: impl FnOnce() -> R) -> R {
    // SAFETY: a child of the current context; switched back and deleted before returning.
    unsafe {
        let outer = pg_sys::CurrentMemoryContext;
        let context = pg_sys::AllocSetContextCreateInternal(
            outer,
            c"syncjournal scratch".as_ptr(),
            pg_sys::ALLOCSET_SMALL_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        );
        pg_sys::CurrentMemoryContext = context;
        let result = work();
        pg_sys::CurrentMemoryContext = outer;
        pg_sys::MemoryContextDelete(context);
        result
    }
}
