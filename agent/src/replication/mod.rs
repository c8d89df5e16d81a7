//! A thin layer for the replication protocol, on the messages of `postgres-protocol`.
//!
//! `tokio-postgres` cannot do CopyBoth, and the crates that can lack channel binding, several
//! hosts, or feedback while the consumer is busy. What is needed is small: log in with
//! `replication=database`, make a temporary slot, and then read `XLogData` and keepalives while
//! status updates go the other way. [`Walsender`] is the session before the stream begins,
//! [`CopyBoth`] the stream. Neither starts a task: whoever owns them drives them, and every read is
//! safe to drop half way, since bytes stay in the buffer until they make a message.

mod authentication;
mod copy_both;
mod framing;
mod lsn;
mod server_error;
mod walsender;

pub(crate) use copy_both::{CopyBoth, Received};
pub(crate) use lsn::Lsn;
pub(crate) use walsender::{CancelKey, Slot, Walsender};
