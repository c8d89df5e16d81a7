//! A version: the identity of one entry, and a pointer to where the journal keeps it.

use std::fmt;

use uuid::Uuid;

use crate::clock::HybridTime;

/// 128 bits: hybrid time (64) | node tag (32) | backend (16) | index in the frame (16).
///
/// Ordered as a number, which is also the order of its bytes and of Postgres's `uuid`, it is
/// ordered by time with a total tie-break. Versions that differ in the index alone were written by
/// one transaction, each of its relations in a span of its own: they share a [`prefix`](Version::prefix).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u128);

/// The backend number that no backend has: versions of merges are derived, not allocated.
pub const MERGE_BACKEND: u16 = u16::MAX;

/// Nor this one: versions of the rows that a TRUNCATE deleted are derived too.
pub const TRUNCATE_BACKEND: u16 = u16::MAX - 1;

/// Nor these: of rows that make way where two have one natural key.
pub const RENAME_BACKEND: u16 = u16::MAX - 2;
pub const ADOPT_BACKEND: u16 = u16::MAX - 3;

impl Version {
    /// "As it was when the table was tracked": the row has no entry yet. SQL shows it as NULL.
    pub const NIL: Self = Self(0);

    #[must_use]
    pub const fn new(time: HybridTime, node_tag: u32, backend: u16, index: u16) -> Self {
        Self(
            (time.0 as u128) << 64
                | (node_tag as u128) << 32
                | (backend as u128) << 16
                | index as u128,
        )
    }

    #[must_use]
    pub const fn is_nil(self) -> bool {
        self.0 == 0
    }

    #[must_use]
    pub const fn time(self) -> HybridTime {
        HybridTime((self.0 >> 64) as u64)
    }

    /// The tag of the node that wrote the entry.
    #[must_use]
    pub const fn node_tag(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[must_use]
    pub const fn backend(self) -> u16 {
        (self.0 >> 16) as u16
    }

    #[must_use]
    pub const fn index(self) -> u16 {
        self.0 as u16
    }

    /// The version with index 0: what all entries of one frame share, and all frames of a journal's row.
    #[must_use]
    pub const fn prefix(self) -> Self {
        Self(self.0 & !0xFFFF)
    }

    /// The same frame at another index.
    #[must_use]
    pub const fn with_index(self, index: u16) -> Self {
        Self(self.0 & !0xFFFF | index as u128)
    }

    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

impl From<Version> for Uuid {
    fn from(version: Version) -> Self {
        Self::from_u128(version.0)
    }
}

impl From<Uuid> for Version {
    fn from(uuid: Uuid) -> Self {
        Self(uuid.as_u128())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from(*self).fmt(f)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Version({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_come_back(time: u64, tag: u32, backend: u16, index: u16) {
            let version = Version::new(HybridTime(time), tag, backend, index);
            prop_assert_eq!(version.time(), HybridTime(time));
            prop_assert_eq!(version.node_tag(), tag);
            prop_assert_eq!(version.backend(), backend);
            prop_assert_eq!(version.index(), index);
            prop_assert_eq!(Version::from_bytes(version.to_bytes()), version);
            prop_assert_eq!(Version::from(Uuid::from(version)), version);
        }

        #[test]
        fn order_of_bytes_is_order_of_versions(a: (u64, u32, u16, u16), b: (u64, u32, u16, u16)) {
            let version = |(time, tag, backend, index)| {
                Version::new(HybridTime(time), tag, backend, index)
            };
            prop_assert_eq!(version(a).cmp(&version(b)), a.cmp(&b));
            prop_assert_eq!(
                version(a).to_bytes().cmp(&version(b).to_bytes()),
                version(a).cmp(&version(b))
            );
        }

        #[test]
        fn one_frame_shares_its_prefix(time: u64, tag: u32, backend: u16, i: u16, j: u16) {
            let version = Version::new(HybridTime(time), tag, backend, i);
            prop_assert_eq!(version.with_index(j).prefix(), version.prefix());
            prop_assert_eq!(version.with_index(j).index(), j);
        }
    }
}
