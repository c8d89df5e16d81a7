//! Ids for frames that no transaction's writes made: rows as they are, for who lacks them.

use std::cell::RefCell;

use syncjournal_core::{Clock, HybridTime, Version};

use crate::node;
use crate::pg::transaction;
use crate::prep_sync::now_micros;

/// Marks the backend part of these frames' ids: no capture gives out the same.
const FRESH_BACKEND: u16 = 0x8000;

thread_local! {
    static CLOCK: RefCell<Clock> = RefCell::new(Clock::default());
}

/// An id that no other frame has.
pub fn fresh_prefix() -> Version {
    fresh_prefix_after(HybridTime(0))
}

/// One that is later than what the frame's entries name as parents: other nodes' clocks may be ahead.
pub fn fresh_prefix_after(parents: HybridTime) -> Version {
    let wall = HybridTime::from_unix_micros(now_micros());
    let time = CLOCK.with(|clock| clock.borrow_mut().next(wall, parents));
    let backend = transaction::backend_number() as u16 | FRESH_BACKEND;
    Version::new(time, node::tag(), backend.min(u16::MAX - 2), 0)
}
