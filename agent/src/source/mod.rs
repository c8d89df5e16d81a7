//! The end that entries come from.
//!
//! Two ways lead out of a journal, and both end as parts of a sync set: the *window*
//! ([`Source::window`]), read straight from the journal table, and the *stream*
//! ([`shared::SharedStream`]), the journal's inserts by logical decoding, which all flows from here
//! share. [`batch::Batch`] makes sets of what the stream brings.

mod batch;
mod journal_row;
mod layouts;
mod session;
mod shared;
mod slot;
mod window;

pub(crate) use batch::{Batch, Cut};
pub(crate) use journal_row::JournalRow;
pub(crate) use layouts::{Layouts, Passing};
pub(crate) use session::{Offer, Source, StreamPosition, parse_snapshot};
pub(crate) use shared::{Event, Joined, Left, Member, SharedStream, Streams, Ticket, Wish};
pub(crate) use window::{Purpose, Trial, WindowMode};
