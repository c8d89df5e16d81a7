//! The version of a merge: derived, so that nodes which make the same merge make the same entry.

use xxhash_rust::xxh3::Xxh3;

use crate::clock::HybridTime;
use crate::entry::RowId;
use crate::merge::history::{Change, Value};
use crate::version::{ADOPT_BACKEND, MERGE_BACKEND, RENAME_BACKEND, TRUNCATE_BACKEND, Version};

impl Version {
    /// Whether the rules made this entry, and not a user's write.
    #[must_use]
    pub const fn is_merge(self) -> bool {
        self.backend() == MERGE_BACKEND
    }

    /// The version of what a TRUNCATE did to one row: directly after the version that it had seen,
    /// and of that version's author.
    ///
    /// The TRUNCATE's own time and node do not count. Whatever its node had not seen survives by
    /// whatever order beats the version that it had seen; so a node that knows the row by another
    /// branch only, and cannot tell that the TRUNCATE had seen the row, comes to the same.
    #[must_use]
    pub fn truncated(row: RowId, seen: Self) -> Self {
        if seen.is_nil() {
            // Many rows stand at nil: 64 bits tell them apart, 48 of them before any real time.
            let digest = xxhash_rust::xxh3::xxh3_64(&row.0);
            let time = HybridTime((digest >> 16) + 1);
            return Self::new(time, 0, TRUNCATE_BACKEND, digest as u16);
        }
        let index = seen.index() ^ seen.backend();
        Self::new(seen.time().successor(), seen.node_tag(), TRUNCATE_BACKEND, index)
    }

    /// The version by which a row takes another name, since another row has its natural key.
    ///
    /// It follows from what the row was, as does the entry: every node at which the two meet makes
    /// the same. It is directly after that, so whatever a user has written meanwhile is later.
    #[must_use]
    pub fn renamed(row: RowId, seen: Self) -> Self {
        Self::made_way(row, seen, RENAME_BACKEND)
    }

    /// The version by which a row gives its identity up for that of another with its natural key.
    #[must_use]
    pub fn given_up(row: RowId, seen: Self) -> Self {
        Self::made_way(row, seen, ADOPT_BACKEND)
    }

    /// No node has tag 0: nobody's TRUNCATE claims to have seen it.
    fn made_way(row: RowId, seen: Self, backend: u16) -> Self {
        if seen.is_nil() {
            let digest = xxhash_rust::xxh3::xxh3_64(&row.0);
            return Self::new(HybridTime((digest >> 16) + 1), 0, backend, digest as u16);
        }
        let index = seen.index() ^ seen.backend();
        Self::new(seen.time().successor(), 0, backend, index)
    }

    /// The version of a merge that a node's own function made. `time` and `backend` are the
    /// writing backend's, so no two are alike.
    #[must_use]
    pub const fn custom_merge(time: HybridTime, node_tag: u32, backend: u16) -> Self {
        Self::new(time, node_tag, MERGE_BACKEND, backend)
    }
}

/// Later than both parents, and the same wherever the same two are merged to the same content.
///
/// The content is part of it: nodes whose rules differ for a while (a policy is being changed) make
/// two entries then, of which the later counts, and not one entry with two contents.
pub fn merge_version(row: RowId, prev: Version, merged: Version, change: &Change) -> Version {
    let mut hash = Xxh3::new();
    hash.update(&row.0);
    for parent in [prev.min(merged), prev.max(merged)] {
        hash.update(&parent.to_bytes());
    }
    match change {
        Change::Update(changes) => {
            hash.update(&[1]);
            for change in changes {
                hash.update(&(change.column as u64).to_le_bytes());
                hash_value(&mut hash, &change.new);
            }
        }
        Change::Insert(values) | Change::Delete(values) => {
            hash.update(&[2, u8::from(matches!(change, Change::Delete(_)))]);
            values.iter().for_each(|value| hash_value(&mut hash, value));
        }
    }
    let digest = hash.digest();
    Version::new(
        prev.max(merged).time().successor(),
        digest as u32,
        MERGE_BACKEND,
        (digest >> 32) as u16,
    )
}

fn hash_value(hash: &mut Xxh3, value: &Value) {
    match value {
        None => hash.update(&[0]),
        Some(bytes) => {
            hash.update(&[1]);
            hash.update(&(bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        }
    }
}
