//! A session with a walsender: log-in, the commands before the stream, and its start.

use super::authentication::authenticate;
use super::copy_both::CopyBoth;
use super::framing::{Framed, Incoming};
use super::lsn::Lsn;
use super::server_error::{error_of, log_notice};
use crate::conninfo::{Address, Endpoint};
use crate::error::{Error, Result};
use crate::net::{NetStream, SessionName, Start, establish, session_options};
use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::{DataRowBody, Message};
use postgres_protocol::message::frontend;
use tokio::io::AsyncWriteExt;

/// A slot that lives as long as the session that made it.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    pub(crate) name: String,
    /// What commits after this place comes in the stream.
    pub(crate) consistent_point: Lsn,
    /// Sees exactly what committed before that place; gone with the session's next command.
    pub(crate) snapshot: String,
}

/// A connection of kind `replication=database`.
#[derive(Debug)]
pub(crate) struct Walsender {
    framed: Framed,
    cancel: CancelKey,
}

/// Interrupts what a walsender is doing: the making of a slot waits for every open transaction.
#[derive(Debug, Clone)]
pub(crate) struct CancelKey {
    endpoint: Endpoint,
    process_id: i32,
    secret_key: i32,
}

impl CancelKey {
    pub(crate) async fn cancel(&self) -> Result<()> {
        establish(&self.endpoint, self).await?;
        Ok(())
    }
}

impl Start for CancelKey {
    type Session = ();

    async fn start(&self, mut stream: NetStream, _: &Address) -> Result<()> {
        let mut request = BytesMut::new();
        frontend::cancel_request(self.process_id, self.secret_key, &mut request);
        stream.write_all(&request).await?;
        stream.shutdown().await?;
        Ok(())
    }
}

struct LogIn<'a> {
    endpoint: &'a Endpoint,
    name: &'a SessionName,
}

impl Start for LogIn<'_> {
    type Session = Walsender;

    async fn start(&self, stream: NetStream, address: &Address) -> Result<Walsender> {
        let endpoint = self.endpoint;
        let mut framed = Framed::new(stream);
        let mut startup = BytesMut::new();
        let options = session_options(endpoint);
        let parameters = [
            ("user", endpoint.user.as_str()),
            ("database", endpoint.dbname.as_str()),
            ("replication", "database"),
            ("application_name", self.name.as_str()),
            ("client_encoding", "UTF8"),
            ("options", options.as_str()),
        ];
        frontend::startup_message(parameters, &mut startup)?;
        framed.send(&startup).await?;
        let password = endpoint.password_for(address);
        authenticate(&mut framed, endpoint, password.as_deref()).await?;
        let (process_id, secret_key) = until_ready(&mut framed).await?;
        let cancel = CancelKey { endpoint: endpoint.clone(), process_id, secret_key };
        Ok(Walsender { framed, cancel })
    }
}

impl Walsender {
    /// Logs in at the address where the SQL session was found: both must talk to one server.
    pub(crate) async fn connect(
        endpoint: &Endpoint,
        address: &Address,
        name: &SessionName,
    ) -> Result<Self> {
        let endpoint = endpoint.only_at(address);
        let start = LogIn { endpoint: &endpoint, name };
        Ok(establish(&endpoint, &start).await?.session)
    }

    pub(crate) fn cancel_key(&self) -> CancelKey {
        self.cancel.clone()
    }

    /// Makes a temporary slot for `pgoutput` and exports the snapshot that fits its start. Waits
    /// for the transactions that are open at this moment.
    pub(crate) async fn create_temporary_slot(&mut self, name: &str) -> Result<Slot> {
        let command = format!(
            "CREATE_REPLICATION_SLOT {} TEMPORARY LOGICAL pgoutput (SNAPSHOT 'export')",
            identifier(name)
        );
        let rows = self.query(&command).await?;
        let [Some(name), Some(point), Some(snapshot), ..] = rows.first().map_or(&[][..], |r| r)
        else {
            return Err(Error::protocol("no answer to CREATE_REPLICATION_SLOT"));
        };
        Ok(Slot {
            name: name.clone(),
            consistent_point: point
                .parse()
                .map_err(|()| Error::protocol("the slot's start is not an LSN"))?,
            snapshot: snapshot.clone(),
        })
    }

    /// Begins to stream what commits after the slot's start.
    pub(crate) async fn start(mut self, slot: &Slot, publication: &str) -> Result<CopyBoth> {
        let command = format!(
            "START_REPLICATION SLOT {} LOGICAL {} \
             (proto_version '1', publication_names {}, binary 'true')",
            identifier(&slot.name),
            slot.consistent_point,
            literal(&identifier(publication)),
        );
        let mut message = BytesMut::new();
        frontend::query(&command, &mut message)?;
        self.framed.send(&message).await?;
        loop {
            match self.framed.next().await? {
                Incoming::CopyBoth => return Ok(CopyBoth::new(self.framed)),
                Incoming::Other(Message::ErrorResponse(body)) => {
                    return Err(error_of(body.fields()));
                }
                Incoming::Other(Message::NoticeResponse(body)) => log_notice(&body),
                Incoming::Other(Message::ParameterStatus(_)) => {}
                Incoming::Other(_) | Incoming::CopyData(_) => return Err(unexpected()),
            }
        }
    }

    async fn query(&mut self, command: &str) -> Result<Vec<Vec<Option<String>>>> {
        let mut message = BytesMut::new();
        frontend::query(command, &mut message)?;
        self.framed.send(&message).await?;
        let (mut rows, mut failure) = (Vec::new(), None);
        loop {
            match self.framed.next().await? {
                Incoming::Other(Message::DataRow(body)) => rows.push(texts(&body)?),
                Incoming::Other(Message::ErrorResponse(body)) => {
                    failure = Some(error_of(body.fields()));
                }
                Incoming::Other(Message::NoticeResponse(body)) => log_notice(&body),
                Incoming::Other(Message::ReadyForQuery(_)) => {
                    return failure.map_or(Ok(rows), Err);
                }
                Incoming::Other(
                    Message::RowDescription(_)
                    | Message::CommandComplete(_)
                    | Message::ParameterStatus(_),
                ) => {}
                Incoming::Other(_) | Incoming::CopyBoth | Incoming::CopyData(_) => {
                    return Err(unexpected());
                }
            }
        }
    }
}

/// Reads the greeting after the log-in; returns what a cancel request needs.
async fn until_ready(framed: &mut Framed) -> Result<(i32, i32)> {
    let mut key = (0, 0);
    loop {
        match framed.next().await? {
            Incoming::Other(Message::BackendKeyData(body)) => {
                key = (body.process_id(), body.secret_key());
            }
            Incoming::Other(Message::ReadyForQuery(_)) => return Ok(key),
            Incoming::Other(Message::ErrorResponse(body)) => return Err(error_of(body.fields())),
            Incoming::Other(Message::NoticeResponse(body)) => log_notice(&body),
            Incoming::Other(Message::ParameterStatus(_)) => {}
            Incoming::Other(_) | Incoming::CopyBoth | Incoming::CopyData(_) => {
                return Err(unexpected());
            }
        }
    }
}

fn texts(body: &DataRowBody) -> Result<Vec<Option<String>>> {
    let mut values = Vec::new();
    let mut ranges = body.ranges();
    while let Some(range) = ranges.next()? {
        let bytes = range.and_then(|range| body.buffer().get(range));
        values.push(bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()));
    }
    Ok(values)
}

/// Quotes as the replication grammar wants it: always, since `READ_ONLY` and the like are words.
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn unexpected() -> Error {
    Error::protocol("unexpected message from the walsender")
}
