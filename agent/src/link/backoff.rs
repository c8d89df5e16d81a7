//! How long to wait before the next attempt: doubling, capped, with full jitter, so that a hundred
//! agents do not come back to a restarted server in the same second.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);
/// After so long without a failure the next one counts as the first.
const GOOD_AFTER: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { next: FIRST }
    }

    /// The time to wait after an attempt that lasted `lasted`.
    pub(super) fn after(&mut self, lasted: Duration) -> Duration {
        if lasted >= GOOD_AFTER {
            self.next = FIRST;
        }
        let ceiling = self.next;
        self.next = (ceiling * 2).min(LONGEST);
        // Never nothing at all: a server that refuses at once is not to be hammered.
        ceiling.mul_f64(0.2 + 0.8 * fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_a_limit_and_starts_anew() {
        let mut backoff = Backoff::new();
        for _ in 0..20 {
            let wait = backoff.after(Duration::ZERO);
            assert!(wait >= FIRST / 5 && wait <= LONGEST);
        }
        assert_eq!(backoff.next, LONGEST);
        assert!(backoff.after(GOOD_AFTER) <= FIRST);
    }
}
