//! Errors towards users: SQLSTATE, a message in the field's words, and what to do about it.

use pgrx::PgLogLevel;
use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use pgrx::pg_sys::panic::ErrorReport;

/// An error that is on its way to the client.
#[derive(Debug)]
pub struct Failure {
    report: ErrorReport,
}

impl Failure {
    pub fn new(code: PgSqlErrorCode, message: impl Into<String>) -> Self {
        Self { report: ErrorReport::new(code, message.into(), "syncjournal") }
    }

    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.report = self.report.set_detail(detail);
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.report = self.report.set_hint(hint);
        self
    }

    /// Ends the statement.
    pub fn raise(self) -> ! {
        self.report.report(PgLogLevel::ERROR);
        unreachable!("an ERROR does not return")
    }
}

/// What the journal or a layout holds cannot be read: damage, or a bug of ours.
pub fn corrupted(what: impl std::fmt::Display) -> Failure {
    Failure::new(PgSqlErrorCode::ERRCODE_DATA_CORRUPTED, format!("syncjournal: {what}"))
        .hint("This is damage to the database or a bug: keep the server's log, and report it.")
}

/// The database was copied, and with it the identity of its original.
pub fn is_copy(node: &str) -> Failure {
    Failure::new(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("this database is a copy of node \"{node}\""),
    )
    .detail("Two databases with one identity lose changes.")
    .hint(
        "Give it a name of its own: select syncjournal.adopt_clone('name'). If the original is no \
            more: select syncjournal.keep_identity().",
    )
}

/// Something of the extension's own is not there.
pub fn not_installed() -> Failure {
    Failure::new(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "the tables of extension \"syncjournal\" are missing",
    )
    .hint("Run: create extension syncjournal; and name the database by syncjournal.create_node().")
}
