//! One error type for the whole agent.
//!
//! The [`Kind`] decides what happens next (retry, give up, exit status); the texts are for people,
//! in the form of Postgres's own messages: primary message in lower case, DETAIL and HINT as
//! sentences. Sources are chained, not flattened, and printed once, where the error is handled.
//! Row values never appear in an error.

use std::fmt;

pub(crate) type Result<T> = std::result::Result<T, Error>;

/// What an error means for the one who has to decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The command line or the configuration is wrong: nobody need try again.
    Config,
    /// No session: host down, refused, timed out, or lost under way.
    Connection,
    /// The server does not let us in: password, role, certificate.
    Authentication,
    /// The server answered with an error.
    Server,
    /// The other side said something that the protocol does not allow.
    Protocol,
    /// A prerequisite is missing at one end (extension, node, rights).
    Prerequisite,
    /// The target lacks what the set builds on: only a new first sync helps.
    Gap,
    /// A file could not be read or written, or is not a sync set.
    File,
    /// The agent is stopping: not a failure.
    Stopped,
}

/// An error with all that a person needs in order to act.
#[derive(Debug, thiserror::Error)]
pub(crate) struct Error {
    pub(crate) kind: Kind,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
    sqlstate: Option<String>,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            detail: None,
            hint: None,
            sqlstate: None,
            source: None,
        }
    }

    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::new(Kind::Config, message)
    }

    pub(crate) fn protocol(message: impl Into<String>) -> Self {
        Self::new(Kind::Protocol, message)
    }

    pub(crate) fn connection(message: impl Into<String>) -> Self {
        Self::new(Kind::Connection, message)
    }

    pub(crate) fn stopped() -> Self {
        Self::new(Kind::Stopped, "the agent is stopping")
    }

    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn sqlstate(mut self, sqlstate: impl Into<String>) -> Self {
        self.sqlstate = Some(sqlstate.into());
        self
    }

    pub(crate) fn caused_by(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Says where it happened, before the message: `node "hq": ...`.
    pub(crate) fn at(mut self, place: impl fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    pub(crate) fn code(&self) -> Option<&str> {
        self.sqlstate.as_deref()
    }

    pub(crate) fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The message and its causes on one line, for the log.
    pub(crate) fn chain(&self) -> String {
        let mut line = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let text = error.to_string();
            // A cause that says the same again helps nobody.
            if !line.contains(&text) {
                line.push_str(": ");
                line.push_str(&text);
            }
            cause = error.source();
        }
        line
    }

    /// What is left at a node for `status`: all on one line.
    pub(crate) fn note(&self) -> String {
        let code = self.code().map(|code| format!(" (SQLSTATE {code})")).unwrap_or_default();
        let hint = self.hint_text().map(|hint| format!("; hint: {hint}")).unwrap_or_default();
        format!("{}{code}{hint}", self.chain())
    }

    /// The lines that psql's users know: error, detail, hint.
    pub(crate) fn report(&self) -> String {
        let mut lines = format!("syncjournal-agent: error: {}", self.chain());
        if let Some(code) = &self.sqlstate {
            lines.push_str(&format!(" (SQLSTATE {code})"));
        }
        if let Some(detail) = &self.detail {
            lines.push_str(&format!("\nsyncjournal-agent: detail: {detail}"));
        }
        if let Some(hint) = &self.hint {
            lines.push_str(&format!("\nsyncjournal-agent: hint: {hint}"));
        }
        lines
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::connection("connection lost").caused_by(error)
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            let message =
                if error.is_closed() { "connection lost" } else { "could not talk to the server" };
            return Self::connection(message).caused_by(error);
        };
        let mut made =
            Self::new(kind_of_sqlstate(db.code().code()), db.message()).sqlstate(db.code().code());
        made.detail = db.detail().map(str::to_owned);
        made.hint = db.hint().map(str::to_owned);
        made
    }
}

/// What a server's SQLSTATE means for a link.
pub(crate) fn kind_of_sqlstate(code: &str) -> Kind {
    match code {
        "28000" | "28P01" => Kind::Authentication,
        // Schema, function or table missing; no rights: `check` names the remedy.
        "3F000" | "42883" | "42P01" | "42501" | "3D000" => Kind::Prerequisite,
        // Shutdown, crash, still starting; too many connections.
        "57P01" | "57P02" | "57P03" | "53300" => Kind::Connection,
        _ if code.starts_with("08") => Kind::Connection,
        _ => Kind::Server,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_the_lines_of_a_postgres_tool() {
        let error = Error::config("no link \"x\"").detail("There is one.").hint("Use it.");
        assert_eq!(
            error.report(),
            "syncjournal-agent: error: no link \"x\"\n\
             syncjournal-agent: detail: There is one.\n\
             syncjournal-agent: hint: Use it."
        );
    }

    #[test]
    fn causes_are_chained_once() {
        let cause = std::io::Error::other("connection lost");
        assert_eq!(Error::from(cause).chain(), "connection lost");
        let cause = std::io::Error::other("reset");
        assert_eq!(
            Error::from(cause).at("node \"b\"").chain(),
            "node \"b\": connection lost: reset"
        );
    }
}
