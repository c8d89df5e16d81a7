//! Frames of one transaction that share a row of the journal.
//!
//! ```text
//! bundled = (index layout entries length bytes)*
//! index   = varint, distance of the frame's first index from that of the frame before
//! layout, entries, length = varint
//! ```
//!
//! The row is known by its first frame, which stands in the row's own columns; the others follow, all
//! with the first one's prefix and in ascending order. A transaction that touches four tables writes
//! one row and its index entries, not four.

use crate::decode::{DecodeError, Reader, put_varint};
use crate::limits;
use crate::version::Version;

/// A frame that stands in another's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// The version of its first entry.
    pub id: Version,
    /// Number of its layout in the database.
    pub layout_id: i32,
    /// Number of entries.
    pub entries: u32,
    pub data: &'a [u8],
}

/// Whether a frame may follow that one in a row.
#[must_use]
pub fn may_follow(id: Version, before: Version) -> bool {
    id.prefix() == before.prefix() && id > before
}

/// Adds a frame behind the one with the id `before`, which it [may follow](may_follow).
pub fn put(bundled: &mut Vec<u8>, before: Version, member: &Member<'_>) {
    debug_assert!(may_follow(member.id, before));
    put_varint(bundled, u64::from(member.id.index() - before.index()));
    put_varint(bundled, u64::from(member.layout_id.unsigned_abs()));
    put_varint(bundled, u64::from(member.entries));
    put_varint(bundled, member.data.len() as u64);
    bundled.extend_from_slice(member.data);
}

/// The frames that follow the one with the id `first` in its row.
///
/// The iterator ends after the first error.
#[must_use]
pub fn members(first: Version, bundled: &[u8]) -> Members<'_> {
    Members { before: first, reader: Reader::new(bundled) }
}

/// How many entries the frames of `bundled` have together.
pub fn entries(first: Version, bundled: &[u8]) -> Result<u64, DecodeError> {
    members(first, bundled).map(|member| Ok(u64::from(member?.entries))).sum()
}

/// See [`members`].
#[derive(Clone, Debug)]
pub struct Members<'a> {
    before: Version,
    reader: Reader<'a>,
}

impl<'a> Iterator for Members<'a> {
    type Item = Result<Member<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let member = self.member();
        if member.is_err() {
            self.reader = Reader::new(&[]);
        }
        Some(member)
    }
}

impl<'a> Members<'a> {
    fn member(&mut self) -> Result<Member<'a>, DecodeError> {
        let reader = &mut self.reader;
        let distance = reader.bounded(limits::FRAME_MAX_ENTRIES, "index of a bundled frame")?;
        let index = u16::try_from(usize::from(self.before.index()) + distance)
            .ok()
            .filter(|_| distance > 0)
            .ok_or(DecodeError::Invalid("index of a bundled frame"))?;
        let id = self.before.with_index(index);
        let layout_id = reader.bounded(i32::MAX as usize, "layout of a bundled frame")? as i32;
        let entries = reader.bounded(limits::FRAME_MAX_ENTRIES, "entries of a bundled frame")?;
        let len = reader.bounded(limits::FRAME_MAX_BYTES as usize, "length of a bundled frame")?;
        let data = reader.bytes(len, "bundled frame")?;
        self.before = id;
        Ok(Member { id, layout_id, entries: entries as u32, data })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::HybridTime;

    const FIRST: Version = Version::new(HybridTime(1 << 40), 7, 3, 5);

    proptest! {
        #[test]
        fn frames_come_back(
            frames in prop::collection::vec(
                (1_u16..4_096, 0..i32::MAX, 1_u32..4_096, prop::collection::vec(any::<u8>(), 0..99)),
                0..15,
            ),
        ) {
            let (mut bundled, mut before, mut put_in) = (Vec::new(), FIRST, Vec::new());
            for (distance, layout_id, entries, data) in &frames {
                let id = before.with_index(before.index() + distance);
                let member = Member { id, layout_id: *layout_id, entries: *entries, data };
                put(&mut bundled, before, &member);
                put_in.push(member);
                before = id;
            }
            let found: Result<Vec<_>, _> = members(FIRST, &bundled).collect();
            prop_assert_eq!(found, Ok(put_in));
            let all = frames.iter().map(|(_, _, entries, _)| u64::from(*entries)).sum();
            prop_assert_eq!(entries(FIRST, &bundled), Ok(all));
        }

        #[test]
        fn any_bytes_are_frames_or_an_error(bytes: Vec<u8>) {
            let mut before = FIRST;
            for member in members(FIRST, &bytes).flatten() {
                prop_assert!(may_follow(member.id, before));
                before = member.id;
            }
        }
    }

    #[test]
    fn only_later_frames_of_the_same_prefix_follow() {
        assert!(may_follow(FIRST.with_index(6), FIRST));
        assert!(!may_follow(FIRST, FIRST));
        assert!(!may_follow(FIRST.with_index(4), FIRST));
        assert!(!may_follow(Version::new(HybridTime(2 << 40), 7, 3, 6), FIRST));
    }
}
