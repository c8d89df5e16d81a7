//! Statements whose text is made at run time, prepared once and kept for a call. Their parameters
//! are texts, which the statement casts.

use std::ffi::CString;

use pgrx::pg_sys;

use super::query::{Arg, Row, bind, each_row};
use super::type_io;

/// A prepared statement.
#[derive(Debug)]
pub struct Prepared {
    plan: pg_sys::SPIPlanPtr,
}

impl Prepared {
    /// Prepares a statement that takes so many texts, with the rights of the current role.
    pub fn new(sql: &str, parameters: usize) -> Self {
        let text = type_io::utf8_to_server(sql.as_bytes(), |bytes| CString::new(bytes));
        let text = text.expect("statement without NUL");
        let mut types = vec![pg_sys::TEXTOID; parameters];
        // SAFETY: text and types live through the call; a kept plan outlives the connection.
        unsafe {
            pg_sys::SPI_connect();
            let plan = pg_sys::SPI_prepare(text.as_ptr(), types.len() as i32, types.as_mut_ptr());
            assert!(!plan.is_null(), "statement cannot be prepared: {sql}");
            pg_sys::SPI_keepplan(plan);
            pg_sys::SPI_finish();
            Self { plan }
        }
    }

    /// Runs it under a new snapshot, and hands each row to `each`.
    pub fn run(&self, texts: &[&str], mut each: impl FnMut(&Row)) {
        let args: Vec<Arg<'_>> = texts.iter().map(|text| Arg::Text(text)).collect();
        // SAFETY: as for `query::run`.
        unsafe {
            pg_sys::SPI_connect();
            let (mut values, nulls) = bind(&args);
            let (values, nulls) = (values.as_mut_ptr(), nulls.as_ptr());
            let outcome = pg_sys::SPI_execute_plan(self.plan, values, nulls, false, 0);
            assert!(outcome >= 0, "statement failed with SPI code {outcome}");
            each_row(&mut each);
            pg_sys::SPI_finish();
        }
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // While an error unwinds Postgres may not be called: the plan is left to the backend's end.
        if !std::thread::panicking() {
            // SAFETY: kept by `new`, freed once.
            unsafe { pg_sys::SPI_freeplan(self.plan) };
        }
    }
}
