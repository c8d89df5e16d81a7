//! Errors of Postgres pass through Rust as panics; what a panic adds is not for users.

/// Leaves Rust's backtraces out of the DETAIL of errors, however the server was started: whoever
/// wants them sets `RUST_LIB_BACKTRACE` for the server.
pub fn mute() {
    const VARIABLE: &str = "RUST_LIB_BACKTRACE";
    if std::env::var_os(VARIABLE).is_none() {
        // SAFETY: called while the library is loaded; a backend has no other thread.
        unsafe { std::env::set_var(VARIABLE, "0") };
    }
}
