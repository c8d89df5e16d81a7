//! Sockets and TLS, for both kinds of connection.
//!
//! The SQL side (`tokio-postgres`) and the replication side (`replication/`) get the same stream
//! from the same code: hosts in turn, TLS by `sslmode`, the certificate's hash for channel binding.

mod certificate;
mod connector;
mod session;
mod stream;
mod tls;

pub(crate) use connector::{Start, establish};
pub(crate) use session::{Session, SessionName, open, session_options};
pub(crate) use stream::NetStream;
