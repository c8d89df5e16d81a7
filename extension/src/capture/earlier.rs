//! The earlier life of a row: an insert under an identity that the user gives may come after a
//! delete of the same, and then knows of it: the tombstone's version is its parent, as that of an
//! ordinary change.
//!
//! Asked twice. Before the row is written, for a version later than the tombstone's, which may be of
//! a clock that is ahead; and afterwards for the parent, since the check for duplicates may have
//! waited for whoever deleted the row. An identity of our own making is new, and most tables have
//! no tombstones at all: that is looked up once for each statement, before and after.

use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use syncjournal_core::{RowId, Version};

use crate::capture::state;
use crate::error::Failure;
use crate::journal::tombstone;
use crate::layout::Tracked;
use crate::pg::{catalog, transaction};

/// Whether the rows of a statement are about to be written, or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Before,
    After,
}

/// Whether a relation had tombstones when a command of this transaction asked.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    relation_id: i32,
    command: u32,
    phase: Phase,
    any: bool,
}

/// What a row that comes with its identity must be later than; nil where it is new.
pub fn before_insert(tracked: &Tracked, row: RowId) -> Version {
    if tracked.identity_added {
        state::with(|state| {
            if !state.given.contains(&tracked.relation_id) {
                state.given.push(tracked.relation_id);
            }
        });
    }
    last_delete(tracked, row, Phase::Before)
}

/// The parent of the insert `version`, whose row is written; nil where it is new.
pub fn parent_of_insert(tracked: &Tracked, row: RowId, version: Version) -> Version {
    let relation_id = tracked.relation_id;
    if tracked.identity_added && !state::with(|state| state.given.contains(&relation_id)) {
        return Version::NIL;
    }
    let stone = last_delete(tracked, row, Phase::After);
    if stone < version {
        return take(tracked, row, version, stone);
    }
    if !state::with(|state| state.allocator.is_own(stone)) {
        deleted_meanwhile(tracked, row);
    }
    // The statement deleted the row after the insert had its version: the row has only changed.
    let replaced = state::with(|state| state.buffer.take_delete(relation_id, row, stone));
    match replaced {
        Some(prev) if prev.is_nil() || prev.time() < version.time() => prev,
        _ => replaced_at_once(tracked, row),
    }
}

/// The stone goes when the row is written, not at the commit: between the two somebody else could
/// bury the row again, and neither would know of the other.
fn take(tracked: &Tracked, row: RowId, version: Version, stone: Version) -> Version {
    if stone.is_nil() {
        return stone;
    }
    let taken = tombstone::take(tracked.relation_id, row);
    if taken > version {
        deleted_meanwhile(tracked, row);
    }
    stone.max(taken)
}

/// The version that deleted the row last, by this transaction or before it.
fn last_delete(tracked: &Tracked, row: RowId, phase: Phase) -> Version {
    let relation_id = tracked.relation_id;
    let pending = state::with(|state| state.buffer.last_delete(relation_id, row));
    if any_stones(relation_id, phase) {
        pending.max(tombstone::of(relation_id, row))
    } else {
        pending
    }
}

fn any_stones(relation_id: i32, phase: Phase) -> bool {
    let command = transaction::command();
    let known = state::with(|state| state.stones).filter(|asked| {
        (asked.relation_id, asked.command, asked.phase) == (relation_id, command, phase)
    });
    known.map_or_else(
        || {
            let any = tombstone::any(relation_id);
            let asked = Asked { relation_id, command, phase, any };
            state::with(|state| state.stones = Some(asked));
            any
        },
        |asked| asked.any,
    )
}

fn deleted_meanwhile(tracked: &Tracked, row: RowId) -> ! {
    let table = catalog::qualified_name(tracked.root);
    Failure::new(
        PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE,
        format!("row {row} of tracked table \"{table}\" was deleted while it was being inserted"),
    )
    .hint("Try the transaction again: it will then know of the delete.")
    .raise()
}

fn replaced_at_once(tracked: &Tracked, row: RowId) -> ! {
    let table = catalog::qualified_name(tracked.root);
    Failure::new(
        PgSqlErrorCode::ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION,
        format!("row {row} of tracked table \"{table}\" was deleted and inserted by one statement"),
    )
    .hint("Update the row, or delete it by one statement and insert it by the next.")
    .raise()
}
