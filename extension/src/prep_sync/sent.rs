//! The record of a set that was made.

use syncjournal_core::wire::Mode;
use uuid::Uuid;

use super::request::Request;
use crate::pg::query::{self, Arg};

/// What a whole set held.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub entries: u64,
    pub bytes: u64,
}

/// Writes the set into the log, with its last part: a set that was not read to its end can
/// neither be applied as a whole nor confirmed.
pub fn record(request: &Request, set_id: Uuid, parts: u32, totals: Totals) {
    let mode = match request.mode {
        Mode::Full => "full",
        Mode::Changes | Mode::Stream => "changes",
    };
    let (from, to) = (request.from.to_string(), request.to.to_string());
    let count = |number: u64| Arg::Int8(i64::try_from(number).unwrap_or(i64::MAX));
    query::execute(
        "insert into syncjournal.set_log (set_id, direction, peer_id, mode, from_snapshot, \
            to_snapshot, parts, entries, bytes) \
        values ($1, 'sent', $2, $3, $4::pg_snapshot, $5::pg_snapshot, $6, $7, $8)",
        &[
            Arg::Uuid(*set_id.as_bytes()),
            Arg::Int2(request.peer.peer_id),
            Arg::Text(mode),
            Arg::Text(&from),
            Arg::Text(&to),
            Arg::Int4(i32::try_from(parts).unwrap_or(i32::MAX)),
            count(totals.entries),
            count(totals.bytes),
        ],
    );
}
