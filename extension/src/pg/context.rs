//! Which row was being applied when Postgres raised an error. It goes into the HINT: pgrx does not
//! hand an error's CONTEXT on.

use std::cell::Cell;
use std::ffi::{CString, c_char, c_int, c_void};
use std::pin::Pin;

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys;

unsafe extern "C-unwind" {
    // Variadic, and so not among what pgrx binds.
    fn errhint(format: *const c_char, ...) -> c_int;
}

thread_local! {
    static LAST_CODE: Cell<i32> = const { Cell::new(0) };
    static ROW: Cell<Option<[u8; 16]>> = const { Cell::new(None) };
}

/// Names the row at hand, or none where it could be one of many. To be called under an
/// [`ErrorContext`].
pub fn set_row(row: Option<[u8; 16]>) {
    ROW.set(row);
}

/// The code of the error that was raised last under an [`ErrorContext`], once.
pub fn take_code() -> Option<i32> {
    let code = LAST_CODE.replace(0);
    (code != 0).then_some(code)
}

/// While it lives, errors say which row of which table was at hand.
#[derive(Debug)]
pub struct ErrorContext {
    /// The table and where the entry comes from.
    _place: CString,
    callback: Pin<Box<pg_sys::ErrorContextCallback>>,
    /// The row at hand before.
    outer: Option<[u8; 16]>,
}

impl ErrorContext {
    /// `place` follows "row ... of ".
    pub fn enter(place: &str) -> Self {
        let place = CString::new(place.replace('\0', "")).unwrap_or_default();
        let outer = ROW.replace(None);
        // SAFETY: text and callback stay where they are until `drop` unlinks them.
        unsafe {
            let mut callback = Box::pin(pg_sys::ErrorContextCallback {
                previous: pg_sys::error_context_stack,
                callback: Some(tell),
                arg: place.as_ptr().cast_mut().cast::<c_void>(),
            });
            pg_sys::error_context_stack = &raw mut *callback;
            Self { _place: place, callback, outer }
        }
    }
}

impl Drop for ErrorContext {
    fn drop(&mut self) {
        // SAFETY: an assignment; while an error unwinds, too, nobody may call what is going away.
        unsafe { pg_sys::error_context_stack = self.callback.previous };
        ROW.set(self.outer);
    }
}

unsafe extern "C-unwind" fn tell(argument: *mut c_void) {
    // SAFETY: called by Postgres while an error is made, with the argument given above. Formats
    // and their arguments are NUL-terminated; the text is copied at once.
    unsafe {
        LAST_CODE.set(pg_sys::geterrcode());
        if let Some(row) = ROW.get() {
            let row = CString::new(uuid::Uuid::from_bytes(row).to_string()).unwrap_or_default();
            let unique = PgSqlErrorCode::ERRCODE_UNIQUE_VIOLATION as c_int;
            let format = if pg_sys::geterrcode() == unique {
                c"Another row here has a key of row %s of %s: change one of the two and apply again."
            } else {
                c"Row %s of %s cannot be applied as it is: mend the cause and apply again."
            };
            errhint(format.as_ptr(), row.as_ptr(), argument.cast::<c_char>());
        }
    }
}
