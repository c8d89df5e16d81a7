//! What `apply` says it did, summed up.

use serde::Serialize;
use std::ops::AddAssign;

/// Every entry has exactly one outcome: applied, skipped or quarantined.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Totals {
    pub(crate) entries: i64,
    pub(crate) inserted: i64,
    pub(crate) updated: i64,
    pub(crate) deleted: i64,
    pub(crate) skipped: i64,
    pub(crate) conflicts: i64,
    pub(crate) quarantined: i64,
}

impl Totals {
    /// What `cells` holds, as a table's headings.
    pub(crate) const HEADINGS: [&str; 7] =
        ["entries", "inserted", "updated", "deleted", "skipped", "conflicts", "quarantined"];

    /// The cells of a table's row.
    pub(crate) fn cells(&self) -> [String; 7] {
        [
            self.entries,
            self.inserted,
            self.updated,
            self.deleted,
            self.skipped,
            self.conflicts,
            self.quarantined,
        ]
        .map(|count| count.to_string())
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.entries += other.entries;
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.deleted += other.deleted;
        self.skipped += other.skipped;
        self.conflicts += other.conflicts;
        self.quarantined += other.quarantined;
    }
}
