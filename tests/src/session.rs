//! A session in a database, with the few verbs that tests need.

use std::fmt;

use postgres::types::{FromSqlOwned, ToSql};
use postgres::{Client, NoTls, SimpleQueryMessage};

/// A session. Every verb but the `…_error` and `try_…` ones panics on an SQL error, naming the statement.
pub struct Session {
    client: Client,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}

/// What the server said about a statement that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlError {
    /// Five characters, such as `42704`.
    pub sqlstate: String,
    /// The primary message.
    pub message: String,
    /// DETAIL, or nothing.
    pub detail: String,
    /// HINT, or nothing.
    pub hint: String,
}

impl Session {
    /// Connects by a connection string, without TLS.
    #[track_caller]
    pub fn connect(dsn: &str) -> Self {
        let client = Client::connect(dsn, NoTls)
            .unwrap_or_else(|error| panic!("cannot connect to {dsn}: {error:?}"));
        Self { client }
    }

    /// Connects if the server answers.
    pub fn try_connect(dsn: &str) -> Option<Self> {
        Some(Self { client: Client::connect(dsn, NoTls).ok()? })
    }

    /// Runs one or more statements.
    #[track_caller]
    pub fn exec(&mut self, sql: &str) {
        self.try_exec(sql).unwrap_or_else(|error| panic!("{error:#?}\nin: {sql}"));
    }

    /// Runs one or more statements.
    pub fn try_exec(&mut self, sql: &str) -> Result<(), SqlError> {
        self.client.batch_execute(sql).map_err(|error| SqlError::from(&error))
    }

    /// Runs statements that must fail, and returns what the server said.
    #[track_caller]
    pub fn expect_error(&mut self, sql: &str) -> SqlError {
        self.try_exec(sql).expect_err(&format!("should have failed: {sql}"))
    }

    /// The first column of the only row.
    #[track_caller]
    pub fn query_one<T: FromSqlOwned>(&mut self, sql: &str) -> T {
        self.query_one_with(sql, &[])
    }

    /// The first column of the only row of a query with parameters.
    #[track_caller]
    pub fn query_one_with<T: FromSqlOwned>(
        &mut self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> T {
        match self.client.query_one(sql, parameters) {
            Ok(row) => row.get(0),
            Err(error) => panic!("{:#?}\n{error}\nin: {sql}", SqlError::from(&error)),
        }
    }

    /// The first column of every row.
    #[track_caller]
    pub fn column<T: FromSqlOwned>(&mut self, sql: &str) -> Vec<T> {
        match self.client.query(sql, &[]) {
            Ok(rows) => rows.iter().map(|row| row.get(0)).collect(),
            Err(error) => panic!("{:#?}\n{error}\nin: {sql}", SqlError::from(&error)),
        }
    }

    /// Every row of every statement, every value as the text that psql would show; null is `None`.
    #[track_caller]
    pub fn rows(&mut self, sql: &str) -> Vec<Vec<Option<String>>> {
        let messages = self.client.simple_query(sql).unwrap_or_else(|error| {
            panic!("{:#?}\n{error}\nin: {sql}", SqlError::from(&error));
        });
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect())
            }
            _ => None,
        });
        rows.collect()
    }

    /// The first value of the first row as text; panics where there is none or it is null.
    #[track_caller]
    pub fn text(&mut self, sql: &str) -> String {
        let first = self.rows(sql).into_iter().next().and_then(|row| row.into_iter().next());
        first.flatten().unwrap_or_else(|| panic!("no value from: {sql}"))
    }

    /// The driver's own client, for what the verbs do not cover.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }
}

impl From<&postgres::Error> for SqlError {
    /// Of an error that did not come from the server, only the message is there.
    fn from(error: &postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            let (sqlstate, detail, hint) = Default::default();
            return Self { sqlstate, message: error.to_string(), detail, hint };
        };
        Self {
            sqlstate: db.code().code().to_owned(),
            message: db.message().to_owned(),
            detail: db.detail().unwrap_or_default().to_owned(),
            hint: db.hint().unwrap_or_default().to_owned(),
        }
    }
}
