//! How an entry relates to the row it meets, and who wins.
//!
//! The caller has the row in hand, so it knows the row's current version; where that is the
//! entry's parent nothing needs to be looked up. Only a row that diverged costs walks through the
//! journal, along the parents' chain.

mod lineage;

pub use lineage::{Fork, Lineage, Relation, relate};

use crate::version::Version;

/// Which of two diverged versions a row keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Winner {
    Local,
    Remote,
}

/// Last update wins: the later version, on every node alike.
#[must_use]
pub fn last_update_wins(local: Version, remote: Version) -> Winner {
    if remote > local { Winner::Remote } else { Winner::Local }
}
