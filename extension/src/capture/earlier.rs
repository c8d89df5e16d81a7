//! The earlier life of a row: an insert under an identity that the user gives may come after a
//! delete of the same, and then knows of it: the tombstone's version is its parent, as that of an
//! ordinary change.
//!
//! Asked twice. Before the row is written, for a version later than the tombstone's, which may be of
//! a clock that is ahead; and afterwards for the parent, since the check for duplicates may have
//! waited for whoever deleted the row. Mostly nobody has ended a transaction between the two: then
//! the first answers hold. An identity of our own making is new, and a table may have no tombstones
//! at all: that is looked up once for each command, before and after.

use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use syncjournal_core::{RowId, Version};

use crate::capture::state;
use crate::error::Failure;
use crate::journal::stone_reader::{self, OfStatement, Pace, StoneReader};
use crate::journal::tombstone::{self, Moment};
use crate::layout::Tracked;
use crate::pg::{catalog, transaction};

/// What this transaction was told of a relation's tombstones.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    relation_id: i32,
    /// Before its first row was written.
    since: Moment,
    /// Whether a row has had one.
    found: bool,
    /// Whether there were any: before a command wrote its rows, and since it has.
    any: [Option<Any>; 2],
}

/// Whether there were any tombstones when a command asked.
#[derive(Clone, Copy, Debug)]
struct Any {
    command: u32,
    asked: Moment,
    is_so: bool,
}

/// What a command has read of a relation's tombstones.
#[derive(Debug)]
pub struct Reading {
    command: u32,
    since: Moment,
    reader: StoneReader,
}

/// Whether rows are about to be written, or written.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Before,
    After,
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
    deleted_before(tracked, row)
}

/// The parent of the insert `version`, whose row is written; nil where it is new.
pub fn parent_of_insert(tracked: &Tracked, row: RowId, version: Version) -> Version {
    let relation_id = tracked.relation_id;
    if tracked.identity_added && !state::with(|state| state.given.contains(&relation_id)) {
        return Version::NIL;
    }
    let stone = deleted_after(tracked, row);
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

/// The version that deleted the row last, by this transaction or before it: before the row is
/// written.
fn deleted_before(tracked: &Tracked, row: RowId) -> Version {
    let stone = stone_of(tracked.relation_id, row, Phase::Before);
    with_pending(tracked, row, stone)
}

/// The same once it is written. Nobody else can bury it from then on. Where no row has had a stone
/// so far, and nobody has set any since the first was asked for, this one has none either.
fn deleted_after(tracked: &Tracked, row: RowId) -> Version {
    let asked = state::with(|state| find(&state.stones, tracked.relation_id));
    let stone = match asked {
        Some(asked) if !asked.found && asked.since == Moment::now() => Version::NIL,
        _ => stone_of(tracked.relation_id, row, Phase::After),
    };
    with_pending(tracked, row, stone)
}

/// Deletes of this transaction are not journaled yet.
fn with_pending(tracked: &Tracked, row: RowId, stone: Version) -> Version {
    state::with(|state| stone.max(state.buffer.last_delete(tracked.relation_id, row)))
}

fn stone_of(relation_id: i32, row: RowId, phase: Phase) -> Version {
    let mut asked = state::with(|state| find(&state.stones, relation_id)).unwrap_or_else(|| {
        Asked { relation_id, since: Moment::now(), found: false, any: [None; 2] }
    });
    let stone = match (asked.any(phase), phase) {
        (false, _) => Version::NIL,
        (true, Phase::Before) => read_before(relation_id, row),
        (true, Phase::After) => stone_reader::find(relation_id, row, &mut OfStatement),
    };
    asked.found |= !stone.is_nil();
    state::with(|state| {
        state.stones.retain(|other| other.relation_id != relation_id);
        state.stones.push(asked);
    });
    stone
}

/// By the command's reader: it may miss what somebody else sets meanwhile, which is found afterwards.
fn read_before(relation_id: i32, row: RowId) -> Version {
    let (command, now) = (transaction::command(), Moment::now());
    let mut reading = state::with(|state| state.reading.take())
        .filter(|reading| {
            reading.command == command
                && reading.reader.relation_id() == relation_id
                && reading.since.has_no_own_until(now)
        })
        .unwrap_or_else(|| {
            let reader = StoneReader::of(relation_id, Pace::STATEMENT);
            Reading { command, since: now, reader }
        });
    let stone = reading.reader.find(row, &mut OfStatement);
    state::with(|state| state.reading = Some(reading));
    stone
}

fn find(stones: &[Asked], relation_id: i32) -> Option<Asked> {
    stones.iter().find(|asked| asked.relation_id == relation_id).copied()
}

impl Asked {
    /// Triggers fire after a command has written all its rows, so that one answer holds for all.
    fn any(&mut self, phase: Phase) -> bool {
        let (command, now) = (transaction::command(), Moment::now());
        let known = self.any[phase as usize]
            .filter(|any| any.command == command && any.asked.has_no_own_until(now));
        let any = known.unwrap_or_else(|| Any {
            command,
            asked: now,
            is_so: stone_reader::any(self.relation_id, &mut OfStatement),
        });
        self.any[phase as usize] = Some(any);
        any.is_so
    }
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
