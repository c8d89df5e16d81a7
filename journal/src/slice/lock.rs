//! When a slice was locked.
//!
//! What is written while a slice is locked goes to no peer by it, whenever a peer asks: opened again, the
//! slice brings what its rows have come to. So an entry is judged by its transaction, and not by how
//! the slice stands when a set is made of it.

use std::borrow::Cow;
use std::str::FromStr;

use crate::decode::DecodeError;
use crate::slice::{Audience, SliceId};
use crate::snapshot::Snapshot;

/// A time that a slice was locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    slice: SliceId,
    locked_by: u64,
    /// None where it is locked still.
    opened: Option<Opening>,
}

/// When a slice was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Opening {
    /// What had been written by then.
    until: Snapshot,
    /// The transaction that did it, which its snapshot may show, and its place in the WAL.
    by: u64,
    at: u64,
}

impl Lock {
    /// Whether it held when this transaction wrote at this place of the WAL.
    #[must_use]
    pub fn holds(&self, (xid, lsn): (u64, u64)) -> bool {
        let was_before = |Opening { until, by, at }: &Opening| match *by == xid {
            true => lsn < *at,
            false => until.is_visible(xid),
        };
        xid >= self.locked_by && self.opened.as_ref().is_none_or(was_before)
    }
}

/// The numbers of slice and transaction; where it was opened, also snapshot, transaction and place.
impl FromStr for Lock {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words: Vec<&str> = text.split(' ').collect();
        let read = || {
            let (slice, locked_by, opened) = match words[..] {
                [slice, locked_by] => (slice, locked_by, None),
                [slice, locked_by, until, by, at] => {
                    let until = until.parse().ok()?;
                    let (by, at) = (by.parse().ok()?, at.parse().ok()?);
                    (slice, locked_by, Some(Opening { until, by, at }))
                }
                _ => return None,
            };
            Some(Self { slice: slice.parse().ok()?, locked_by: locked_by.parse().ok()?, opened })
        };
        read().ok_or(DecodeError::Invalid("lock of a slice"))
    }
}

impl Audience {
    /// What the peer has of what a transaction wrote at a place of the WAL.
    #[must_use]
    pub fn at(&self, locks: &[Lock], written: (u64, u64)) -> Cow<'_, Self> {
        let Self::Slices { slices, locked, keep } = self else { return Cow::Borrowed(self) };
        let held = |slice: &&SliceId| {
            locks.iter().any(|lock| lock.slice == **slice && lock.holds(written))
        };
        let held: Vec<SliceId> = slices.iter().filter(held).copied().collect();
        if held == *locked {
            return Cow::Borrowed(self);
        }
        Cow::Owned(Self::Slices { slices: slices.clone(), locked: held, keep: keep.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(text: &str) -> Lock {
        text.parse().expect("a lock")
    }

    #[test]
    fn a_lock_holds_from_its_transaction_to_the_snapshot_that_opened_it() {
        let still = lock("7 100");
        assert_eq!([99, 100, 900].map(|xid| still.holds((xid, 0))), [false, true, true]);
        // Taken by 200, which it does not list, while 150 was under way.
        let over = lock("7 100 150:201:150 200 5000");
        let held = [99, 100, 149, 150, 151, 199, 200, 201].map(|xid| over.holds((xid, 9000)));
        assert_eq!(held, [false, true, true, false, true, true, false, false]);
        assert!(over.holds((200, 4999)), "what it wrote itself before it opened the slice");
        for bad in ["", "7", "7 x", "7 1 2", "7 1 2:3: x 1", "7 1 2:3: 4", "-7 1"] {
            assert!(bad.parse::<Lock>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_audience_has_its_slices_but_for_those_that_were_locked() {
        let audience = Audience::Slices { slices: vec![3, 7], locked: vec![3], keep: vec![7] };
        let locks = [lock("3 500"), lock("7 100 200:200: 200 1"), lock("9 1")];
        let locked = |xid| match audience.at(&locks, (xid, 9)).into_owned() {
            Audience::Slices { slices, locked, keep } => {
                assert_eq!((slices, keep), (vec![3, 7], vec![7]));
                locked
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(locked(50), []);
        assert_eq!(locked(150), [7]);
        assert_eq!(locked(600), [3]);
        assert_eq!(*Audience::Table.at(&locks, (1, 1)), Audience::Table);
    }
}
