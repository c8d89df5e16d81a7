//! Quarantine: entries that cannot be laid on their rows are set aside with their error, the rest
//! goes on, and they are tried again when what stood in their way may be gone.
//!
//! ```text
//! rounds     the work of a call as attempts in subtransactions: all at once, then entry by entry
//! violation  what constraints say when everything has been laid; such rows are left out
//! problem    an error as a value, and which errors may wait at all
//! shelf      the table quarantined_entry: entries go in, with their conflicts
//! waiting    which of them are tried again, and when
//! retry      trying them again
//! ```
//!
//! The entry itself is in the journal (the row of a full set, which may not be, is kept here), so it
//! travels on, and a later entry of the row finds it among its ancestors.

mod problem;
mod retry;
mod rounds;
mod shelf;
mod violation;
mod waiting;

pub use problem::Problem;
pub use retry::after_call;
pub use rounds::{Care, alone, run};
pub use shelf::{Place, Shelf, release_left};
pub use violation::{Excluded, Rivals, Violation, violations};
pub use waiting::Watch;
