//! Arithmetic of `pg_snapshot`: positions in a journal, and the window between two of them.
//!
//! A position is a snapshot of the source: everything visible in it has been received. A window is
//! what is visible in the later of two snapshots and not in the earlier; it never misses a
//! transaction that began early and committed late.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::limits;

/// `xmin:xmax:xip,…` as Postgres writes it; xids are 64 bits wide (`xid8`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Snapshot {
    xmin: u64,
    xmax: u64,
    /// In progress, ascending, all within `xmin..xmax`.
    running: Vec<u64>,
}

/// The text is not a `pg_snapshot`.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("\"{0}\" is not a snapshot")]
pub struct InvalidSnapshot(String);

/// What a query asks the journal for; see [`Snapshot::window`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Transactions that began after the earlier snapshot: `begin..end`.
    pub begin: u64,
    pub end: u64,
    /// Of the range, those still in progress in the later snapshot: to be left out.
    pub running: Vec<u64>,
    /// Older transactions that were in progress in the earlier snapshot and ended since.
    pub late: Vec<u64>,
}

impl Snapshot {
    /// In which nothing is visible.
    #[must_use]
    pub const fn empty() -> Self {
        Self { xmin: 1, xmax: 1, running: Vec::new() }
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.xmax == 1
    }

    /// All transactions below this one have ended.
    #[must_use]
    pub const fn xmin(&self) -> u64 {
        self.xmin
    }

    /// No transaction from this one on has ended.
    #[must_use]
    pub const fn xmax(&self) -> u64 {
        self.xmax
    }

    /// In progress, ascending.
    #[must_use]
    pub fn running(&self) -> &[u64] {
        &self.running
    }

    /// None where the numbers are no snapshot.
    #[must_use]
    pub fn new(xmin: u64, xmax: u64, running: Vec<u64>) -> Option<Self> {
        let ascending = running.windows(2).all(|pair| pair[0] < pair[1]);
        let within = running.iter().all(|xid| (xmin..xmax).contains(xid));
        (xmin > 0 && xmin <= xmax && ascending && within).then_some(Self { xmin, xmax, running })
    }

    #[must_use]
    pub fn is_visible(&self, xid: u64) -> bool {
        xid < self.xmin || (xid < self.xmax && self.running.binary_search(&xid).is_err())
    }

    /// Whether everything that is visible in `earlier` is visible here too.
    #[must_use]
    pub fn covers(&self, earlier: &Self) -> bool {
        let known_sooner = self.running.iter().any(|&xid| earlier.is_visible(xid));
        !known_sooner && earlier.first_visible_from(self.xmax).is_none()
    }

    /// The lowest transaction from `from` on that is visible.
    fn first_visible_from(&self, from: u64) -> Option<u64> {
        if from < self.xmin {
            return Some(from);
        }
        let mut next = from;
        for &xid in self.running.iter().filter(|&&xid| xid >= from) {
            if xid > next {
                return Some(next);
            }
            next = xid + 1;
        }
        (next < self.xmax).then_some(next)
    }

    /// The transactions visible in `later` and not here, in PgQ's form: a range and two short
    /// lists, so that one long transaction does not make every poll scan the journal.
    #[must_use]
    pub fn window(&self, later: &Self) -> Window {
        let running = later.running.iter().copied().filter(|&xid| xid >= self.xmax).collect();
        let late = self.running.iter().copied().filter(|&xid| later.is_visible(xid)).collect();
        Window { begin: self.xmax, end: later.xmax.max(self.xmax), running, late }
    }
}

impl Window {
    #[must_use]
    pub fn contains(&self, xid: u64) -> bool {
        self.late.contains(&xid)
            || ((self.begin..self.end).contains(&xid) && !self.running.contains(&xid))
    }
}

impl FromStr for Snapshot {
    type Err = InvalidSnapshot;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| InvalidSnapshot(text.chars().take(80).collect()))
    }
}

fn parse(text: &str) -> Option<Snapshot> {
    let number = |digits: &str| {
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse::<u64>().ok())?
    };
    let mut parts = text.splitn(3, ':');
    let (xmin, xmax) = (number(parts.next()?)?, number(parts.next()?)?);
    let list = parts.next()?;
    let mut running = Vec::new();
    for digits in list.split(',').filter(|_| !list.is_empty()) {
        let xid = number(digits)?;
        let ascending = running.last().is_none_or(|&last| last < xid);
        if !ascending || !(xmin..xmax).contains(&xid) || running.len() >= limits::MAX_LIST {
            return None;
        }
        running.push(xid);
    }
    (xmin > 0 && xmin <= xmax).then_some(Snapshot { xmin, xmax, running })
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.xmin, self.xmax)?;
        for (place, xid) in self.running.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            write!(f, "{comma}{xid}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn snapshots() -> impl Strategy<Value = Snapshot> {
        (1u64..20, 0u64..20, any::<u32>()).prop_map(|(xmin, width, bits)| {
            let running =
                (xmin..xmin + width).filter(|xid| bits >> (xid - xmin) & 1 == 1).collect();
            Snapshot { xmin, xmax: xmin + width, running }
        })
    }

    proptest! {
        #[test]
        fn text_comes_back(snapshot in snapshots()) {
            prop_assert_eq!(snapshot.to_string().parse(), Ok(snapshot));
        }

        #[test]
        fn covers_is_visibility_for_every_transaction(a in snapshots(), b in snapshots()) {
            let all = (0..50).all(|xid| !b.is_visible(xid) || a.is_visible(xid));
            prop_assert_eq!(a.covers(&b), all);
        }

        #[test]
        fn a_window_is_what_the_later_sees_and_the_earlier_does_not(
            a in snapshots(), b in snapshots(),
        ) {
            // A snapshot taken later covers the earlier one.
            prop_assume!(b.covers(&a));
            let window = a.window(&b);
            for xid in 1..50 {
                let expected = b.is_visible(xid) && !a.is_visible(xid);
                prop_assert_eq!(window.contains(xid), expected, "xid {}", xid);
            }
        }

        #[test]
        fn any_text_is_a_snapshot_or_an_error(text in "[0-9:,a ]{0,24}") {
            if let Ok(snapshot) = text.parse::<Snapshot>() {
                prop_assert_eq!(snapshot.to_string().parse(), Ok(snapshot));
            }
        }
    }

    #[test]
    fn what_postgres_refuses_is_refused() {
        for text in ["", "1", "1:2", "0:0:", "2:1:", "1:5:4,3", "1:5:9", "1:5:2,", "+1:2:"] {
            assert!(text.parse::<Snapshot>().is_err(), "{text}");
        }
        assert_eq!("1:1:".parse(), Ok(Snapshot::empty()));
    }
}
