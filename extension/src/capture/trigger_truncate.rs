//! BEFORE TRUNCATE: one entry for the whole relation, or for a partition alone one for each row.
//!
//! The trigger fires before the rows are gone, on the tracked table and on each partition. A
//! partition is emptied together with its root when the root's trigger has just fired: then there
//! is nothing more to say. Where it is emptied alone, its rows are journaled as deletes: a
//! TRUNCATE of the relation would take the other partitions' rows at the target.

use std::convert::Infallible;

use pgrx::prelude::*;
use syncjournal_core::{Operation, RowId, Version};

use crate::capture::state;
use crate::capture::trigger_capture::deleted;
use crate::capture::trigger_version::{misplaced, tracked};
use crate::guc;
use crate::layout::Tracked;
use crate::pg::trigger::{Event, Firing};

#[pg_trigger]
fn trigger_truncate<'a>(
    trigger: &'a PgTrigger<'a>,
) -> Result<Option<PgHeapTuple<'a, AllocatedByPostgres>>, Infallible> {
    let firing = Firing::of(trigger);
    if firing.event() != Event::Truncate || !firing.is_before() {
        misplaced("trigger_truncate", "before truncate, for each statement");
    }
    if guc::capture() {
        let tracked = tracked(&firing);
        if tracked.relid == tracked.root {
            truncated(&tracked);
        } else if !state::with(|state| state.emptied.contains(&tracked.relation_id)) {
            firing.each_row(|row| deleted(&tracked, row));
        }
    }
    Ok(None)
}

fn truncated(tracked: &Tracked) {
    // What was written before goes to frames before, what comes after to frames after.
    state::with(|state| state.allocator.close_frame(tracked.relation_id));
    let version = state::allocate(tracked, Version::NIL);
    state::add(tracked, version, Operation::Truncate, RowId::NIL, Version::NIL, (0, &[]));
    state::with(|state| {
        state.allocator.close_frame(tracked.relation_id);
        state.emptied.push(tracked.relation_id);
    });
}
