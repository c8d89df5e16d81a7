//! From an endpoint to a session: each host, each of its addresses, with and without TLS.
//!
//! `sslmode=allow` tries plain first and TLS where the server turns that away; `prefer` the other
//! way round. A wrong password is not tried again on the next host: libpq stops there as well.

use super::certificate::end_point_hash;
use super::stream::{NetStream, Socket};
use super::tls;
use crate::conninfo::{Address, Endpoint, Host, SslMode};
use crate::error::{Error, Kind, Result};
use bytes::BytesMut;
use postgres_protocol::message::frontend;
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio_rustls::TlsConnector;

/// A peer that is gone without a word is noticed after two or three minutes, be the connection idle
/// or in the middle of something: TCP's own defaults are a quarter of an hour and more.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const UNACKNOWLEDGED_FOR: Duration = Duration::from_secs(120);

/// A session and the address where it was found: a second one can be asked of the same server.
#[derive(Debug)]
pub(crate) struct Established<T> {
    pub(crate) session: T,
    pub(crate) address: Address,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrap {
    Plain,
    /// TLS where the server offers it.
    TlsIfOffered,
    Tls,
}

/// Makes a session of a stream.
pub(crate) trait Start: Sync {
    type Session: Send;

    fn start(
        &self,
        stream: NetStream,
        address: &Address,
    ) -> impl Future<Output = Result<Self::Session>> + Send;
}

/// Tries the addresses in turn.
pub(crate) async fn establish<S: Start>(
    endpoint: &Endpoint,
    start: &S,
) -> Result<Established<S::Session>> {
    let mut failures: Vec<Error> = Vec::new();
    for address in &endpoint.addresses {
        for wrap in attempts(endpoint.ssl_mode, &address.host) {
            let attempt = async {
                let stream = connect(endpoint, address, *wrap).await?;
                let session = start.start(stream, address).await?;
                Ok::<_, Error>(Established { session, address: address.clone() })
            };
            match within(endpoint.connect_timeout, attempt).await {
                Ok(established) => return Ok(established),
                Err(error) => failures.push(error.at(describe(address, &endpoint.dbname))),
            }
            // Only what pg_hba.conf turned away can go better the other way round.
            if !failures.last().is_some_and(is_refused_for_encryption) {
                break;
            }
        }
        if failures.last().is_some_and(|error| error.code() == Some("28P01")) {
            break;
        }
    }
    Err(summary(failures))
}

fn attempts(mode: SslMode, host: &Host) -> &'static [Wrap] {
    // TLS makes no sense on a socket file, and no server offers it there.
    match (host, mode) {
        (Host::Unix(_), _) | (_, SslMode::Disable) => &[Wrap::Plain],
        (_, SslMode::Allow) => &[Wrap::Plain, Wrap::Tls],
        (_, SslMode::Prefer) => &[Wrap::TlsIfOffered, Wrap::Plain],
        (_, SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull) => &[Wrap::Tls],
    }
}

fn is_refused_for_encryption(error: &Error) -> bool {
    error.code() == Some("28000") || error.to_string().ends_with("SSL error")
}

/// The first failure tells most; the others are its detail.
fn summary(failures: Vec<Error>) -> Error {
    let mut failures = failures.into_iter();
    let Some(first) = failures.next() else { return Error::connection("no address to connect to") };
    let others: Vec<String> = failures.map(|error| error.chain()).collect();
    let first = match (first.kind, first.hint_text()) {
        (Kind::Connection, None) => {
            first.hint("Is the server running there, and does it accept connections?")
        }
        _ => first,
    };
    if others.is_empty() { first } else { first.detail(others.join("; ")) }
}

pub(crate) fn describe(address: &Address, dbname: &str) -> String {
    match &address.host {
        Host::Unix(path) => format!(
            "connection to database \"{dbname}\" at socket \"{}/.s.PGSQL.{}\" failed",
            path.display(),
            address.port
        ),
        Host::Tcp(name) => format!(
            "connection to database \"{dbname}\" at \"{name}\", port {} failed",
            address.port
        ),
    }
}

async fn within<T>(limit: Option<Duration>, work: impl Future<Output = Result<T>>) -> Result<T> {
    match limit {
        None => work.await,
        Some(limit) => tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
            Err(Error::connection(format!("timeout expired after {} s", limit.as_secs())))
        }),
    }
}

async fn connect(endpoint: &Endpoint, address: &Address, wrap: Wrap) -> Result<NetStream> {
    let mut socket = open_socket(address).await?;
    if wrap == Wrap::Plain {
        return Ok(NetStream::plain(socket));
    }
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    socket.write_all(&request).await?;
    // One byte and no more: what came after it would be unencrypted (CVE-2021-23222).
    match socket.read_u8().await? {
        b'S' => {}
        b'N' if wrap == Wrap::TlsIfOffered => return Ok(NetStream::plain(socket)),
        b'N' => {
            return Err(Error::new(
                Kind::Connection,
                "server does not support SSL, but SSL was required",
            ));
        }
        _ => return Err(Error::protocol("received invalid response to SSL negotiation")),
    }
    let config = Arc::new(tls::client_config(endpoint)?);
    let Host::Tcp(name) = &address.host else {
        return Err(Error::protocol("TLS was offered on a unix socket"));
    };
    let name = ServerName::try_from(name.clone())
        .map_err(|_| Error::config(format!("\"{name}\" is not a host name for TLS")))?;
    let stream =
        TlsConnector::from(config).connect(name, socket).await.map_err(tls::handshake_error)?;
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let end_point = certificates.first().and_then(|leaf| end_point_hash(leaf));
    Ok(NetStream::tls(stream, end_point))
}

async fn open_socket(address: &Address) -> Result<Socket> {
    match &address.host {
        Host::Unix(directory) => {
            let path = directory.join(format!(".s.PGSQL.{}", address.port));
            Ok(Socket::Unix(UnixStream::connect(path).await.map_err(refused)?))
        }
        Host::Tcp(name) => {
            let candidates: Vec<SocketAddr> = match address.ip {
                Some(ip) => vec![SocketAddr::new(ip, address.port)],
                None => lookup_host((name.as_str(), address.port))
                    .await
                    .map_err(|error| {
                        Error::connection("could not translate host name").caused_by(error)
                    })?
                    .collect(),
            };
            let mut last = Error::connection("the host name has no address");
            for candidate in candidates {
                match TcpStream::connect(candidate).await {
                    Ok(stream) => return Ok(Socket::Tcp(tuned(stream)?)),
                    Err(error) => last = refused(error),
                }
            }
            Err(last)
        }
    }
}

fn refused(error: std::io::Error) -> Error {
    Error::connection(error.to_string())
}

fn tuned(stream: TcpStream) -> Result<TcpStream> {
    stream.set_nodelay(true)?;
    let keepalive =
        socket2::TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    let socket = socket2::SockRef::from(&stream);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_FOR))?;
    Ok(stream)
}
