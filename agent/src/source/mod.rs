//! The end that entries come from.
//!
//! Two ways lead out of a journal, and both end as parts of a sync set: the *window*
//! ([`Source::window`]), read straight from the journal table, and the *stream*
//! ([`stream::Stream`]), the journal's inserts by logical decoding. [`batch::Batch`] makes sets of
//! what the stream brings; whom it serves is not its concern.

mod batch;
mod journal_row;
mod layouts;
mod session;
mod slot;
mod stream;
mod window;

pub(crate) use batch::{Batch, Cut};
pub(crate) use journal_row::JournalRow;
pub(crate) use layouts::Layouts;
pub(crate) use session::{Offer, Source, StreamPosition, parse_snapshot};
pub(crate) use slot::{PendingSlot, ReadySlot};
pub(crate) use stream::{Event, Stream};
pub(crate) use window::{Trial, WindowMode};
