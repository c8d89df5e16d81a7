//! Hybrid logical time: wall time where it moves forward, a counter where it does not.
//!
//! The clock never reads a wall clock itself; the caller hands the time in.

/// Bits below a microsecond, used as the logical counter.
const COUNTER_BITS: u32 = 12;

/// A point in hybrid logical time: Unix microseconds in the upper 52 bits (until the year 2112),
/// a counter in the lower 12. Ordered as a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HybridTime(pub u64);

impl HybridTime {
    /// The first instant of a microsecond.
    #[must_use]
    pub const fn from_unix_micros(micros: u64) -> Self {
        Self(micros << COUNTER_BITS)
    }

    /// The physical part, in microseconds since the Unix epoch.
    #[must_use]
    pub const fn unix_micros(self) -> u64 {
        self.0 >> COUNTER_BITS
    }

    /// The next instant.
    #[must_use]
    pub const fn successor(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// Gives strictly increasing times, one clock for each writer (a backend).
///
/// A counter that overflows its 12 bits runs on into the next microsecond: still increasing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    last: HybridTime,
}

impl Clock {
    /// A time later than every earlier one of this clock, later than `after` (the version that is
    /// being replaced), and not earlier than `wall`.
    pub fn next(&mut self, wall: HybridTime, after: HybridTime) -> HybridTime {
        let next = wall.max(self.last.successor()).max(after.successor());
        self.last = next;
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_stands_still_or_goes_back_still_gives_later_times() {
        let mut clock = Clock::default();
        let first = clock.next(HybridTime::from_unix_micros(1_000), HybridTime(0));
        let still = clock.next(HybridTime::from_unix_micros(1_000), HybridTime(0));
        let back = clock.next(HybridTime::from_unix_micros(10), HybridTime(0));
        assert!(first < still && still < back);
        assert_eq!(back.unix_micros(), 1_000);
    }

    #[test]
    fn a_time_is_later_than_the_version_it_replaces() {
        let future = HybridTime::from_unix_micros(5_000_000);
        let mut clock = Clock::default();
        assert!(clock.next(HybridTime::from_unix_micros(1), future) > future);
    }
}
