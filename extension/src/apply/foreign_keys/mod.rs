//! Foreign keys, verified at the end of a call for a peer whose constraints are enforced.
//!
//! ```text
//! known    which foreign keys a table has, either side, with their queries   once a call
//! touched  rows inserted, keys changed, keys gone                            as rows are written
//! check    children without a parent, former keys that are still used        at the end of a call
//! ```
//!
//! Only what may break a key is remembered, and where that is much, what holds already is forgotten
//! in between: a parent that was found is held fast, and whoever takes it away later in the same
//! call is remembered for that.
//!
//! Referential actions do not run: the source has run them, and their rows come as entries. What a
//! child here still uses is never deleted for it; the parent's delete waits.

mod check;
mod known;
mod touched;

pub use check::broken;
pub use known::ForeignKeys;
pub use touched::{Touched, Watcher};
