//! Decoder of Postgres's own output plugin, protocol version 1.
//!
//! Only what a publication of inserts sends is decoded in full; the rest is named and passed over.
//! Values borrow from the message's bytes: a journal row of 8 kB is not copied. Input is the
//! server's, but a length is checked before it is believed all the same, and nothing panics.

mod message;
mod reader;
mod tuple;

pub(crate) use message::{Message, Relation};
pub(crate) use tuple::{Cell, Tuple};
