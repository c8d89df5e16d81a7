//! What became of a part's entries. Each entry has exactly one outcome.

/// Counts of a part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub entries: i64,
    pub inserted: i64,
    pub updated: i64,
    pub deleted: i64,
    pub skipped: i64,
    /// Of the above: those that met a row which had gone another way.
    pub conflicts: i64,
    /// Entries that were set aside.
    pub quarantined: i64,
}

/// What an entry did to its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    Inserted,
    Updated,
    Deleted,
    Skipped,
    /// Nothing yet: it is settled at the end of the call.
    Postponed,
}

impl Outcome {
    pub fn count(&mut self, applied: Applied) {
        let counter = match applied {
            Applied::Inserted => &mut self.inserted,
            Applied::Updated => &mut self.updated,
            Applied::Deleted => &mut self.deleted,
            Applied::Skipped => &mut self.skipped,
            Applied::Postponed => return,
        };
        *counter += 1;
        self.entries += 1;
    }

    /// Adds what became of other entries.
    pub fn add(&mut self, other: Self) {
        self.entries += other.entries;
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.deleted += other.deleted;
        self.skipped += other.skipped;
        self.conflicts += other.conflicts;
        self.quarantined += other.quarantined;
    }

    /// An entry was set aside.
    pub fn quarantine(&mut self) {
        self.quarantined += 1;
        self.entries += 1;
    }

    /// An entry that was counted as skipped is looked at once more.
    pub fn recall_skipped(&mut self) {
        self.skipped -= 1;
        self.entries -= 1;
    }

    /// Entries that were not looked at: they are here already, or not wanted.
    pub fn skip(&mut self, entries: u64) {
        let entries = i64::try_from(entries).unwrap_or(i64::MAX);
        self.skipped += entries;
        self.entries += entries;
    }
}
