//! The session settings under which values are written and read in portable form.
//!
//! Output functions obey settings of the session (date style, float digits, search path), and
//! send functions convert text to the client's encoding. A value's bytes must not depend on
//! who wrote it.

use crate::pg::setting::{self, SettingScope};
use std::ffi::CStr;

/// A setting, the value given to it, and the beginning of values that do as well.
const PORTABLE: [(&CStr, &str, &[u8]); 8] = [
    (c"client_encoding", "UTF8", b"UTF8"),
    (c"search_path", "pg_catalog, pg_temp", b"pg_catalog, pg_temp"),
    (c"extra_float_digits", "3", b"3"),
    // The order of day and month matters to neither ISO output nor ISO input.
    (c"datestyle", "ISO", b"ISO"),
    (c"intervalstyle", "postgres", b"postgres"),
    (c"bytea_output", "hex", b"hex"),
    (c"xmloption", "content", b"content"),
    (c"array_nulls", "on", b"on"),
];

/// While it lives, I/O functions speak the portable form. On an error Postgres itself takes the
/// settings back, with the (sub)transaction.
#[derive(Debug)]
pub struct PortableSettings {
    _scope: Option<SettingScope>,
}

impl PortableSettings {
    /// Sets what differs from the portable form.
    pub fn enter() -> Self {
        let mut scope = None;
        for (name, value, fitting) in PORTABLE {
            // `intervalstyle` is the one whose fitting value begins another one's name.
            let now = setting::current(name).to_bytes();
            let fits = if name == c"datestyle" { now.starts_with(fitting) } else { now == fitting };
            if !fits {
                let name = name.to_str().expect("setting names are ASCII");
                scope.get_or_insert_with(SettingScope::enter).set(name, value);
            }
        }
        Self { _scope: scope }
    }
}
