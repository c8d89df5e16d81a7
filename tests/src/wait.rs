//! Waiting for facts instead of for time.

use std::time::{Duration, Instant};

/// Long enough for a slow and busy machine; a test that is right never waits for it.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

/// Waits until `fact` holds; panics, naming `what`, if it does not within a minute.
#[track_caller]
pub fn wait_until(what: &str, fact: impl FnMut() -> bool) {
    wait_until_within(PATIENCE, what, fact);
}

/// Waits until `fact` holds; panics, naming `what`, if it does not in time.
#[track_caller]
pub fn wait_until_within(limit: Duration, what: &str, mut fact: impl FnMut() -> bool) {
    let start = Instant::now();
    while !fact() {
        assert!(start.elapsed() < limit, "waited {limit:?} in vain until {what}");
        std::thread::sleep(PAUSE);
    }
}
