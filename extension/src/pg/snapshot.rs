//! Seeing what this very call has written.

use pgrx::pg_sys;

/// While it lives, the active snapshot is the newest there is.
#[derive(Debug)]
pub struct NewestSnapshot(());

impl NewestSnapshot {
    pub fn enter() -> Self {
        // SAFETY: popped on drop, or by the abort of the transaction.
        unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot()) };
        Self(())
    }
}

impl Drop for NewestSnapshot {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: pushed by `enter`; inner ones are popped already.
            unsafe { pg_sys::PopActiveSnapshot() };
        }
    }
}
