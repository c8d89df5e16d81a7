//! Making sync sets: what a peer has not confirmed, or the present state of all it may have.
//!
//! ```text
//! request (peer, mode, lists) -> source of frames -> parts of bounded size -> rows (part by part)
//!                                 window | tables
//! range: a piece of one table, for a first copy by several sessions at once
//! ```
//!
//! A set is read twice under the calling statement's snapshot: once to count the parts, then for
//! the bytes. Who does not ask for the count of a window (the agent) has the first part at once,
//! and only the last says how many there were. Only one part is in memory at a time; a caller that reads by cursor, or in the
//! select list, holds no more than that either.

mod describe;
mod parts;
mod range;
mod request;
mod sent;
mod source;
mod tables;
mod terms;
mod window;

use pgrx::prelude::*;

use parts::PartIterator;
pub use parts::now_micros;
pub use range::slices_for;
use request::Request;
pub use request::{pattern_list, selection};
pub use tables::is_in;

/// The parts of a new set for a peer; see the user's reference in README.
#[pg_extern(volatile)]
fn prep_sync(
    peer: Option<&str>,
    mode: Option<&str>,
    include: Option<Vec<Option<String>>>,
    exclude: Option<Vec<Option<String>>>,
    counted: Option<bool>,
) -> TableIterator<
    'static,
    (name!(set_id, pgrx::Uuid), name!(part, i32), name!(parts, i32), name!(data, Vec<u8>)),
> {
    let request = Request::check(peer, mode, include, exclude);
    let parts = PartIterator::new(request, counted.unwrap_or(true));
    TableIterator::new(parts.map(|part| {
        let set_id = pgrx::Uuid::from_bytes(*part.set_id.as_bytes());
        (set_id, part.number, part.parts, part.data)
    }))
}

/// The header of a set's part, as jsonb.
#[pg_extern(immutable, strict, parallel_safe)]
fn describe_set(data: &[u8]) -> pgrx::JsonB {
    pgrx::JsonB(describe::describe(data))
}
