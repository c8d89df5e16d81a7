//! References that come as the identity of a row, and are to become its key here.
//!
//! ```text
//! parents   the rows that the entry in hand refers to: found, or missing
//! gone      keys of rows that a peer deleted, for when they come back
//! pending   optional references whose row has not come: null meanwhile, filled when it does
//! ```
//!
//! An entry whose parent is missing is put off to the end of the call, by when the parent mostly has
//! come with it. If it has not, an optional reference is saved as null and noted, and a required one
//! is an error (23503) that sends the entry to quarantine, to be tried again when the parent comes.

mod gone;
mod parents;
mod pending;

pub use gone::{GoneKeys, OldKey};
pub use parents::{Parents, take_missing};
pub use pending::{Pending, Stored, fill, fill_all};
