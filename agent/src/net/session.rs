//! SQL sessions: `tokio-postgres` on our own streams.

use super::connector::{Established, Start, establish};
use super::stream::NetStream;
use crate::config::Flow;
use crate::conninfo::{Address, ChannelBinding, Endpoint, SessionAttributes};
use crate::error::{Error, Kind, Result};
use std::future::{Ready, ready};
use tokio::task::JoinHandle;
use tokio_postgres::config::{ChannelBinding as Binding, SslMode as Mode, SslNegotiation};
use tokio_postgres::tls::TlsConnect;
use tokio_postgres::{Client, Config};

/// Timeouts that a DBA sets for people would cut a long catch-up in two. A target that has
/// `idle_in_transaction_session_timeout` would lose a transaction while the source is slow. But a
/// lock is not waited for without end: two flows that wait for each other through two databases are
/// a deadlock that neither server sees. The one that gives up first tries again.
pub(crate) const SESSION_OPTIONS: &str = "-c statement_timeout=0 -c lock_timeout=60s -c idle_in_transaction_session_timeout=0 \
     -c extra_float_digits=3 -c datestyle=ISO -c intervalstyle=postgres -c client_encoding=UTF8";

/// What `pg_stat_activity` shows as `application_name`: `syncjournal/<link>`, the first of a flow's.
#[derive(Debug, Clone)]
pub(crate) struct SessionName(String);

impl SessionName {
    pub(crate) fn of_flow(flow: &Flow) -> Self {
        let link = flow.links.first().map_or("", String::as_str);
        Self(format!("syncjournal/{link}"))
    }

    /// Of the stream that the links of a source share.
    pub(crate) fn of_stream() -> Self {
        Self("syncjournal stream".to_owned())
    }

    pub(crate) fn of_command(command: &str) -> Self {
        Self(format!("syncjournal-agent {command}"))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A client and the task that moves its bytes. Dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    driver: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        // The socket must be gone at once, also in the middle of a long answer: the server rolls
        // back when it notices, and the next session need not wait for our locks.
        self.driver.abort();
    }
}

impl std::ops::Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl std::ops::DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

/// Opens an SQL session.
pub(crate) async fn open(endpoint: &Endpoint, name: &SessionName) -> Result<Established<Session>> {
    if endpoint.session_attributes == SessionAttributes::PreferStandby {
        let mut standby = endpoint.clone();
        standby.session_attributes = SessionAttributes::Standby;
        if let Ok(found) = open_on(&standby, name).await {
            return Ok(found);
        }
    }
    open_on(endpoint, name).await
}

async fn open_on(endpoint: &Endpoint, name: &SessionName) -> Result<Established<Session>> {
    establish(endpoint, &SqlStart { endpoint, name }).await
}

struct SqlStart<'a> {
    endpoint: &'a Endpoint,
    name: &'a SessionName,
}

impl Start for SqlStart<'_> {
    type Session = Session;

    async fn start(&self, stream: NetStream, address: &Address) -> Result<Session> {
        let config = config(self.endpoint, address, self.name, stream.is_tls());
        let (client, connection) = config.connect_raw(stream, Negotiated).await?;
        let driver = tokio::spawn(async move {
            // The client's calls report the same failure where somebody can act on it.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "sql connection ended");
            }
        });
        let session = Session { client, driver };
        check_attributes(&session, self.endpoint.session_attributes).await?;
        Ok(session)
    }
}

fn config(endpoint: &Endpoint, address: &Address, name: &SessionName, tls: bool) -> Config {
    let mut config = Config::new();
    config.user(endpoint.user.as_str()).dbname(endpoint.dbname.as_str());
    config.application_name(endpoint.application_name.as_deref().unwrap_or(name.as_str()));
    // Theirs come last, so that a person can still set a timeout in the dsn.
    config.options(session_options(endpoint));
    if let Some(password) = endpoint.password_for(address) {
        config.password(password);
    }
    config.channel_binding(match endpoint.channel_binding {
        ChannelBinding::Disable => Binding::Disable,
        ChannelBinding::Prefer => Binding::Prefer,
        ChannelBinding::Require => Binding::Require,
    });
    // The handshake is done. `Direct` makes tokio-postgres ask `Negotiated` for a stream without
    // any bytes on the wire, so that it learns of the channel binding.
    if tls {
        config.ssl_mode(Mode::Require).ssl_negotiation(SslNegotiation::Direct);
    } else {
        config.ssl_mode(Mode::Disable);
    }
    config
}

/// The `options` of a session: ours, then those of the connection string.
pub(crate) fn session_options(endpoint: &Endpoint) -> String {
    match &endpoint.options {
        Some(theirs) => format!("{SESSION_OPTIONS} {theirs}"),
        None => SESSION_OPTIONS.to_owned(),
    }
}

async fn check_attributes(session: &Session, wanted: SessionAttributes) -> Result<()> {
    if matches!(wanted, SessionAttributes::Any | SessionAttributes::PreferStandby) {
        return Ok(());
    }
    let row = session
        .query_one(
            "select pg_catalog.pg_is_in_recovery(),
                    pg_catalog.current_setting('default_transaction_read_only')::bool",
            &[],
        )
        .await?;
    let (recovery, read_only): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
    let (fits, is) = match wanted {
        SessionAttributes::ReadWrite => (!recovery && !read_only, "session is read-only"),
        SessionAttributes::ReadOnly => (recovery || read_only, "session is not read-only"),
        SessionAttributes::Primary => (!recovery, "server is in hot standby mode"),
        SessionAttributes::Standby => (recovery, "server is not in hot standby mode"),
        SessionAttributes::Any | SessionAttributes::PreferStandby => (true, ""),
    };
    if fits { Ok(()) } else { Err(Error::new(Kind::Connection, is)) }
}

/// Hands over the stream that is under TLS already.
struct Negotiated;

impl TlsConnect<NetStream> for Negotiated {
    type Stream = NetStream;
    type Error = std::convert::Infallible;
    type Future = Ready<std::result::Result<NetStream, Self::Error>>;

    fn connect(self, stream: NetStream) -> Self::Future {
        ready(Ok(stream))
    }
}
