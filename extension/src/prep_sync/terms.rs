//! On which terms the peer is dealt with: said in every set, where there is anything to say.

use syncjournal_core::wire::Terms;

use super::request::{Peer, pattern_list};
use crate::apply::gates;
use crate::pg::query::{self, Arg, Row, View};

/// What is said to the peer.
pub fn of(peer: &Peer) -> Terms {
    let sql = "select t.rank, pg_catalog.array_to_string(t.restrictions, E'\\x01') \
        from syncjournal.peer_terms($1) t";
    let read = |row: &Row| Terms {
        switched_off: !peer.active,
        rank: row.int4(1),
        restrictions: gates::restrictions(pattern_list(row.text(2))),
    };
    let terms = query::first(View::Statement, sql, &[Arg::Text(&peer.name)], read);
    terms.unwrap_or_default()
}
