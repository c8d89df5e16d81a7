//! TRUNCATE against rows that the truncating node had not seen.
//!
//! A TRUNCATE deletes what its node had seen, and only that; so its entry says what that was. All
//! that the node wrote itself it had seen (the table was locked), and so it had every row at nil;
//! rows that stood at another node's version are listed one by one with that version. Two values:
//!
//! ```text
//! seen = (node tag (4) time (8))*        everything of that node up to that time, big-endian
//! rows = (row (16) version (16))*        in ascending order of row
//! ```
//!
//! A list that is too long for one entry goes on in further TRUNCATE entries of the transaction.
//! At the target the TRUNCATE is, for each row of which it had seen a version, the delete of that
//! version: an ordinary entry of the row under the ordinary policy, at a version derived from both
//! ([`Version::truncated`]).

use std::collections::{BTreeMap, BinaryHeap, HashSet};
use std::sync::Arc;

use crate::clock::HybridTime;
use crate::decode::{DecodeError, Reader};
use crate::entry::{Entry, RowId};
use crate::merge::history::{Change, Found, Host, MergeError, RowState, Rules, Write};
use crate::merge::image::state_at;
use crate::version::{TRUNCATE_BACKEND, Version};

/// What the truncating node had seen of the relation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TruncateSummary {
    seen: BTreeMap<u32, HybridTime>,
    rows: BTreeMap<RowId, Version>,
}

impl TruncateSummary {
    /// Of a node that truncates: all of its own up to the TRUNCATE's version.
    #[must_use]
    pub fn of_node(version: Version) -> Self {
        Self { seen: BTreeMap::from([(version.node_tag(), version.time())]), ..Self::default() }
    }

    /// Notes a row that is truncated.
    pub fn add(&mut self, row: RowId, version: Version) {
        if !self.within_seen(version) {
            self.rows.insert(row, version);
        }
    }

    fn within_seen(&self, version: Version) -> bool {
        // Of a derived version neither tag nor time say who made it and when.
        version.is_nil()
            || (version.backend() < TRUNCATE_BACKEND
                && self.seen.get(&version.node_tag()).is_some_and(|time| version.time() <= *time))
    }

    /// Whether the node had seen this version of the row.
    #[must_use]
    pub fn contains(&self, row: RowId, version: Version) -> bool {
        self.within_seen(version) || self.rows.get(&row) == Some(&version)
    }

    /// What the row stood at when it was truncated, of the versions of it that are known; none where
    /// the node had seen none of them.
    #[must_use]
    pub fn head_of(&self, row: RowId, known: &[Version]) -> Option<Version> {
        let own = || known.iter().copied().filter(|at| !at.is_nil() && self.within_seen(*at)).max();
        self.rows.get(&row).copied().or_else(own)
    }

    /// The two values of the entry.
    #[must_use]
    pub fn encode(&self) -> [Vec<u8>; 2] {
        let mut seen = Vec::with_capacity(self.seen.len() * 12);
        for (tag, time) in &self.seen {
            seen.extend_from_slice(&tag.to_be_bytes());
            seen.extend_from_slice(&time.0.to_be_bytes());
        }
        let mut rows = Vec::with_capacity(self.rows.len() * 32);
        for (row, version) in &self.rows {
            rows.extend_from_slice(&row.0);
            rows.extend_from_slice(&version.to_bytes());
        }
        [seen, rows]
    }

    /// What a TRUNCATE entry carries; an entry with no values had seen nothing but rows at nil.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn of_entry(entry: &Entry<'_>) -> Result<Self, DecodeError> {
        let mut values = entry.values().map(Option::unwrap_or_default);
        Self::decode(values.next().unwrap_or_default(), values.next().unwrap_or_default())
    }

    /// From an entry's values; none are those of a node that had seen nothing but nil.
    ///
    /// # Errors
    /// Where the bytes are not what [`encode`](Self::encode) writes.
    pub fn decode(seen: &[u8], rows: &[u8]) -> Result<Self, DecodeError> {
        const WHAT: &str = "summary of a truncate";
        let mut summary = Self::default();
        let mut reader = Reader::new(seen);
        while !reader.is_empty() {
            let tag = u32::from_be_bytes(reader.array(WHAT)?);
            let time = HybridTime(u64::from_be_bytes(reader.array(WHAT)?));
            let ascends = summary.seen.last_key_value().is_none_or(|(last, _)| *last < tag);
            if !ascends {
                return Err(DecodeError::Invalid(WHAT));
            }
            summary.seen.insert(tag, time);
        }
        let mut reader = Reader::new(rows);
        while !reader.is_empty() {
            let row = RowId(reader.array(WHAT)?);
            let version = Version::from_bytes(reader.array(WHAT)?);
            let ascends = summary.rows.last_key_value().is_none_or(|(last, _)| *last < row);
            if !ascends {
                return Err(DecodeError::Invalid(WHAT));
            }
            summary.rows.insert(row, version);
        }
        Ok(summary)
    }

    /// The TRUNCATE as the delete of one row: of the latest version behind the row's current state
    /// that the node had seen. `None` where it had seen none, or where the row knows the TRUNCATE.
    ///
    /// # Errors
    /// [`MergeError::Missing`] where the journal ends before; what the host fails with.
    pub fn delete_of<H: Host + ?Sized>(
        &self,
        rules: &Rules,
        current: &RowState,
        host: &mut H,
    ) -> Result<Option<Arc<Write>>, MergeError<H::Error>> {
        let mut queue = BinaryHeap::from([current.version]);
        let mut queued = HashSet::from([current.version]);
        // Latest first: the delete is later than what it deletes.
        while let Some(version) = queue.pop() {
            if self.contains(rules.row, version) {
                let state = state_at(rules, version, Some(current), host)?;
                if !state.alive {
                    return Ok(None);
                }
                let change = Change::Delete(state.columns);
                let delete = Version::truncated(rules.row, version);
                if queued.contains(&delete) {
                    return Ok(None);
                }
                let (prev, merged) = (version, Version::NIL);
                return Ok(Some(Arc::new(Write { version: delete, prev, merged, change })));
            }
            if let Found::Write(write) = host.find(version)? {
                // Before an insert there was no row that could have been seen.
                let inserted = matches!(write.change, Change::Insert(_));
                let parents = write.parents().filter(|parent| !(inserted && parent.is_nil()));
                queue.extend(parents.filter(|parent| queued.insert(*parent)));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Operation;
    use crate::frame::{self, FrameWriter, Head};

    fn at(time: u64, tag: u32) -> Version {
        Version::new(HybridTime(time), tag, 1, 0)
    }

    #[test]
    fn a_node_has_seen_its_own_and_what_it_lists() {
        let mut summary = TruncateSummary::of_node(at(100, 1));
        summary.add(RowId([1; 16]), at(90, 1));
        summary.add(RowId([2; 16]), at(150, 2));
        assert!(summary.contains(RowId([9; 16]), at(100, 1)), "its own");
        assert!(summary.contains(RowId([9; 16]), Version::NIL), "as it was when tracked");
        assert!(summary.contains(RowId([2; 16]), at(150, 2)), "listed");
        assert!(!summary.contains(RowId([2; 16]), at(151, 2)), "a later version");
        assert!(!summary.contains(RowId([3; 16]), at(10, 2)), "another node's row");
        assert!(!summary.contains(RowId([3; 16]), at(101, 1)), "its own, afterwards");
        assert_eq!(summary.encode()[1].len(), 32, "its own rows are not listed");
    }

    #[test]
    fn a_frame_carries_the_summary() {
        let mut summary = TruncateSummary::of_node(at(100, 1));
        summary.add(RowId([2; 16]), at(90, 2));
        let mut writer = FrameWriter::default();
        let head = Head::new(0, Operation::Truncate, RowId::NIL, Version::NIL);
        let mut values = writer.row(&head, 2);
        summary.encode().iter().for_each(|value| values.value(Some(value)));
        let (id, bytes) = writer.finish(at(100, 1));
        let entry = frame::entries(id, &bytes).next().expect("one").expect("well-formed");
        assert_eq!(TruncateSummary::of_entry(&entry), Ok(summary));
    }

    proptest! {
        #[test]
        fn summaries_come_back(
            own: (u64, u32),
            rows in prop::collection::btree_map(any::<[u8; 16]>(), (any::<u64>(), any::<u32>()), 0..9),
        ) {
            let mut summary = TruncateSummary::of_node(at(own.0, own.1));
            for (row, (time, tag)) in rows {
                summary.add(RowId(row), at(time, tag));
            }
            let [seen, rows] = summary.encode();
            prop_assert_eq!(TruncateSummary::decode(&seen, &rows), Ok(summary));
        }

        #[test]
        fn any_bytes_are_a_summary_or_an_error(seen: Vec<u8>, rows: Vec<u8>) {
            if let Ok(summary) = TruncateSummary::decode(&seen, &rows) {
                prop_assert_eq!(summary.encode(), [seen, rows]);
            }
        }
    }
}
