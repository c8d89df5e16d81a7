//! Why an entry cannot be laid on its row: an error as a value.

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::panic::CaughtError;

use syncjournal_core::RowId;

use crate::apply::references::take_missing;
use crate::error::Failure;
use crate::pg::subtransaction::Caught;

/// Classes of errors that tell of the server, the session or the set, not of an entry. Waiting in
/// quarantine would mend none of them, and would hide what is wrong.
const STOPPING: [&str; 13] =
    ["08", "25", "28", "2D", "40", "53", "54", "55", "57", "58", "72", "F0", "XX"];

/// Of class 54: the value is too large for an index here. It would stop the link for ever.
const TOO_LARGE_FOR_INDEX: &str = "54000";

const FOREIGN_KEY: &str = "23503";

/// What stands against an entry.
#[derive(Clone, Debug)]
pub struct Problem {
    code: PgSqlErrorCode,
    pub sqlstate: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    /// The row that the entry waits for, if it is known.
    pub waits_for: Option<RowId>,
}

impl Problem {
    pub fn new(code: PgSqlErrorCode, message: impl Into<String>) -> Self {
        let sqlstate = sqlstate(code as i32);
        Self { code, sqlstate, message: message.into(), detail: None, hint: None, waits_for: None }
    }

    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What the error says, if it tells of an entry and may wait.
    pub fn of(caught: &Caught) -> Option<Self> {
        let (CaughtError::PostgresError(report) | CaughtError::ErrorReport(report)) = &caught.error
        else {
            return None;
        };
        let code = report.sql_error_code();
        let is_known = code != PgSqlErrorCode::ERRCODE_INTERNAL_ERROR
            || matches!(caught.error, CaughtError::ErrorReport(_));
        let mut problem = Self {
            code,
            sqlstate: sqlstate(caught.code.filter(|_| !is_known).unwrap_or(code as i32)),
            message: report.message().to_owned(),
            detail: report.detail().map(str::to_owned),
            hint: report.hint().map(str::to_owned),
            waits_for: None,
        };
        if problem.sqlstate == FOREIGN_KEY {
            problem.waits_for = take_missing();
        }
        problem.may_wait().then_some(problem)
    }

    fn may_wait(&self) -> bool {
        self.sqlstate == TOO_LARGE_FOR_INDEX || !STOPPING.contains(&&self.sqlstate[..2])
    }

    /// Message and detail in one.
    pub fn text(&self) -> String {
        match &self.detail {
            Some(detail) => format!("{}: {detail}", self.message),
            None => self.message.clone(),
        }
    }

    /// Ends the statement after all.
    pub fn raise(self) -> ! {
        let mut failure = Failure::new(self.code, self.message);
        if let Some(detail) = self.detail {
            failure = failure.detail(detail);
        }
        if let Some(hint) = self.hint {
            failure = failure.hint(hint);
        }
        failure.raise()
    }
}

/// A code as its five characters, six bits each.
fn sqlstate(code: i32) -> String {
    (0..5).map(|place| char::from(b'0' + (code >> (6 * place) & 0x3f) as u8)).collect()
}
