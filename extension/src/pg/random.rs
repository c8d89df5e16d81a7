//! Random bytes of the operating system's generator, fetched many at a time: a call of its own for
//! each uuid would cost more than the rest of the capture.

use std::cell::RefCell;

use pgrx::pg_sys;

const BUFFER_BYTES: usize = 4096;

struct Buffer {
    bytes: [u8; BUFFER_BYTES],
    used: usize,
    /// A child of `fork` must not repeat its parent's bytes.
    pid: u32,
}

thread_local! {
    static BUFFER: RefCell<Buffer> =
        const { RefCell::new(Buffer { bytes: [0; BUFFER_BYTES], used: BUFFER_BYTES, pid: 0 }) };
}

/// `N` bytes that nobody can foresee.
pub fn bytes<const N: usize>() -> [u8; N] {
    const { assert!(N <= BUFFER_BYTES) };
    BUFFER.with_borrow_mut(|buffer| {
        // SAFETY: set once by the backend's start.
        let pid = unsafe { pg_sys::MyProcPid } as u32;
        if buffer.pid != pid || buffer.used + N > BUFFER_BYTES {
            // SAFETY: fills exactly the array.
            if !unsafe { pg_sys::pg_strong_random(buffer.bytes.as_mut_ptr().cast(), BUFFER_BYTES) }
            {
                pgrx::ereport!(
                    ERROR,
                    pgrx::PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
                    "could not generate random values"
                );
            }
            (buffer.used, buffer.pid) = (0, pid);
        }
        let mut out = [0; N];
        let taken = &mut buffer.bytes[buffer.used..buffer.used + N];
        out.copy_from_slice(taken);
        taken.fill(0);
        buffer.used += N;
        out
    })
}
