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
}

/// The code of the error that was raised last under an [`ErrorContext`], once.
pub fn take_code() -> Option<i32> {
    let code = LAST_CODE.replace(0);
    (code != 0).then_some(code)
}

/// What an error's context tells.
#[derive(Debug)]
struct Told {
    /// The table and where the entry comes from.
    place: CString,
    row: Cell<Option<[u8; 16]>>,
}

/// While it lives, errors say which row of which table was at hand.
#[derive(Debug)]
pub struct ErrorContext {
    told: Pin<Box<Told>>,
    callback: Pin<Box<pg_sys::ErrorContextCallback>>,
}

impl ErrorContext {
    /// `place` follows "row ... of ".
    pub fn enter(place: &str) -> Self {
        let place = CString::new(place.replace('\0', "")).unwrap_or_default();
        let told = Box::pin(Told { place, row: Cell::new(None) });
        let argument = std::ptr::from_ref::<Told>(&told).cast_mut().cast::<c_void>();
        // SAFETY: both structures stay where they are until `drop` unlinks them.
        unsafe {
            let mut callback = Box::pin(pg_sys::ErrorContextCallback {
                previous: pg_sys::error_context_stack,
                callback: Some(tell),
                arg: argument,
            });
            pg_sys::error_context_stack = &raw mut *callback;
            Self { told, callback }
        }
    }

    /// The row at hand.
    pub fn row(&self, row: [u8; 16]) {
        self.told.row.set(Some(row));
    }
}

impl Drop for ErrorContext {
    fn drop(&mut self) {
        // SAFETY: an assignment; while an error unwinds, too, nobody may call what is going away.
        unsafe { pg_sys::error_context_stack = self.callback.previous };
    }
}

unsafe extern "C-unwind" fn tell(argument: *mut c_void) {
    // SAFETY: called by Postgres while an error is made, with the argument given above. Formats
    // and their arguments are NUL-terminated; the text is copied at once.
    unsafe {
        let told = &*argument.cast::<Told>();
        LAST_CODE.set(pg_sys::geterrcode());
        if let Some(row) = told.row.get() {
            let row = CString::new(uuid::Uuid::from_bytes(row).to_string()).unwrap_or_default();
            let unique = PgSqlErrorCode::ERRCODE_UNIQUE_VIOLATION as c_int;
            let format = if pg_sys::geterrcode() == unique {
                c"Another row here has a key of row %s of %s: change one of the two and apply again."
            } else {
                c"Row %s of %s cannot be applied as it is: mend the cause and apply again."
            };
            errhint(format.as_ptr(), row.as_ptr(), told.place.as_ptr());
        }
    }
}
