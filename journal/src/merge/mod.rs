//! How an entry relates to the row it meets, and who wins.
//!
//! The caller has the row in hand, so it knows the row's current version; where that is the
//! entry's parent nothing needs to be looked up. Only a row that diverged costs walks through the
//! journal.
//!
//! [`settle`] is the whole decision. It converges because of three rules:
//!
//! 1. What a head *knows* is the set of users' writes behind it. A merge that a node makes by
//!    itself is not one of them ([`compare`]).
//! 2. A policy's result is a function of that set and of nothing else: the greatest write by a
//!    total order ([`Policy::LastUpdateWins`] and its like), or each column's latest writer
//!    ([`Policy::MergeColumns`]), with counters the sum of the differences. A custom function's
//!    result is not, so two results over the same set settle by version.
//! 3. A side is dropped without a merge entry only where nothing that comes later can need it. Every
//!    other merge knows more than either head did, so no node makes more merges of a row than the
//!    row has users' writes.

mod ancestry;
mod choose;
mod columns;
mod conflict;
mod counters;
mod derive;
mod history;
mod image;
mod settle;
mod truncation;

pub use ancestry::{Sides, Standing, compare, covers};
pub use columns::difference;
pub use conflict::{Conflict, ConflictKind, Settled};
pub use history::{
    Change, ColumnChange, Found, Host, MergeError, Policy, RowState, Rules, Value, Write,
};
pub use image::state_at;
pub use settle::{Choice, Outcome, Settlement, forget_covered, resolve, settle, wait_in_inbox};
pub use truncation::TruncateSummary;

/// Which of two diverged versions a row keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Winner {
    Local,
    Remote,
}
