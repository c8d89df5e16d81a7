//! The exit statuses, in one table.

use crate::error::{Error, Kind};
use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// 0.
    Done,
    /// 3: done, and something needs a person (conflicts pending, quarantine, a failed check).
    NeedsPerson,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::NeedsPerson => Self::from(3),
        }
    }
}

/// 1: failed; 2: bad usage or configuration. Stopping on a signal is no failure.
pub(crate) fn code_of(error: &Error) -> ExitCode {
    match error.kind {
        Kind::Config => ExitCode::from(2),
        Kind::Stopped => ExitCode::SUCCESS,
        Kind::Connection
        | Kind::Authentication
        | Kind::Server
        | Kind::Protocol
        | Kind::Prerequisite
        | Kind::Gap
        | Kind::File => ExitCode::FAILURE,
    }
}
