//! Settings changed for a while: a nest level of Postgres's own, so that an error takes the
//! values back together with the (sub)transaction, without help from a destructor.

use pgrx::pg_sys;
use std::ffi::{CStr, CString};
use std::marker::PhantomData;

/// A nest level; what is set in it ends with it.
#[derive(Debug)]
pub struct SettingScope {
    level: i32,
    /// Levels must close in order on one thread.
    _not_send: PhantomData<*const ()>,
}

impl SettingScope {
    pub fn enter() -> Self {
        // SAFETY: opens a nest level; closed in `drop`, or by the abort of the transaction.
        Self { level: unsafe { pg_sys::NewGUCNestLevel() }, _not_send: PhantomData }
    }

    /// Sets one value until the scope ends. The right to set it is not asked of the session's
    /// role: only our own fixed values come here.
    pub fn set(&self, name: &str, value: &str) {
        let name = CString::new(name).expect("setting name without NUL");
        let value = CString::new(value).expect("setting value without NUL");
        // SAFETY: both strings are NUL-terminated and copied by the callee.
        unsafe {
            pg_sys::set_config_option(
                name.as_ptr(),
                value.as_ptr(),
                pg_sys::GucContext::PGC_SUSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_SAVE,
                true,
                0,
                false,
            );
        }
    }
}

impl Drop for SettingScope {
    fn drop(&mut self) {
        // While an error unwinds, Postgres may not be called; the abort closes the level.
        if !std::thread::panicking() {
            // SAFETY: the level was opened by `enter` and inner levels are closed already.
            unsafe { pg_sys::AtEOXact_GUC(true, self.level) };
        }
    }
}

/// The value of a setting as text; empty where there is none.
pub fn current(name: &CStr) -> &'static CStr {
    // SAFETY: the result points to memory that stays valid until the setting changes.
    unsafe {
        let value = pg_sys::GetConfigOption(name.as_ptr(), true, false);
        if value.is_null() { c"" } else { CStr::from_ptr(value) }
    }
}
