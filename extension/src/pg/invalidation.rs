//! Word from Postgres that what is known of a relation is out of date.
//!
//! The callback may come at almost any moment, in the middle of a look-up too: it only sets flags.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::mem::ManuallyDrop;
use std::sync::Once;

use pgrx::pg_sys::{self, Oid};
use pgrx::prelude::*;

use crate::pg::trigger::Firing;

/// More than this many at once and all is forgotten: a change of schema, not the usual day.
const MAX_PENDING: usize = 64;

thread_local! {
    static EVERYTHING: Cell<bool> = const { Cell::new(false) };
    static ANY: Cell<bool> = const { Cell::new(false) };
    static PENDING: ManuallyDrop<RefCell<Vec<Oid>>> =
        const { ManuallyDrop::new(RefCell::new(Vec::new())) };
}

/// What became out of date since it was last asked.
#[derive(Debug, PartialEq, Eq)]
pub enum Stale {
    Nothing,
    Relations(Vec<Oid>),
    Everything,
}

/// Begins to listen.
pub fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the callback is a function of this library, which stays loaded.
        unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(syncjournal_on_relation), 0.into()) };
    });
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn syncjournal_on_relation(_argument: pg_sys::Datum, relid: Oid) {
    ANY.set(true);
    let noted = relid != Oid::INVALID
        && PENDING.with(|pending| {
            pending.try_borrow_mut().is_ok_and(|mut pending| {
                let room = pending.len() < MAX_PENDING;
                if room {
                    pending.push(relid);
                }
                room
            })
        });
    if !noted {
        EVERYTHING.set(true);
    }
}

/// Takes the news; cheap where there is none.
pub fn take() -> Stale {
    if !ANY.replace(false) {
        return Stale::Nothing;
    }
    let relations = PENDING.with(|pending| std::mem::take(&mut *pending.borrow_mut()));
    if EVERYTHING.replace(false) { Stale::Everything } else { Stale::Relations(relations) }
}

/// Tells every backend, from the end of this transaction on, that the relation has changed.
pub fn announce(relid: Oid) {
    // SAFETY: queues a message; raises an ordinary error where there is no such relation.
    unsafe { pg_sys::CacheInvalidateRelcacheByRelid(relid) };
}

/// On a table of ours of which backends keep what they have read.
#[pg_trigger]
fn trigger_announce<'a>(
    trigger: &'a PgTrigger<'a>,
) -> Result<Option<PgHeapTuple<'a, AllocatedByPostgres>>, Infallible> {
    announce(Firing::of(trigger).relid());
    Ok(None)
}
