//! AFTER ROW: the row is final, its entry goes to the buffer. Updates come here where the BEFORE
//! trigger does not make their entries, and where a row gets another key.

use std::convert::Infallible;

use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use pgrx::prelude::*;
use syncjournal_core::slice::{SliceId, put_passage};
use syncjournal_core::{Operation, RowId, Version};

use crate::capture::buffer::Move;
use crate::capture::earlier;
use crate::capture::encode::{self, EncodedRow};
use crate::capture::state;
use crate::capture::trigger_version::{identity_changed, misplaced, tracked};
use crate::error::Failure;
use crate::guc;
use crate::layout::{self, Tracked};
use crate::pg::catalog;
use crate::pg::transaction;
use crate::pg::trigger::{Event, Firing, Row};

#[pg_trigger]
fn trigger_capture<'a>(
    trigger: &'a PgTrigger<'a>,
) -> Result<Option<PgHeapTuple<'a, AllocatedByPostgres>>, Infallible> {
    let firing = Firing::of(trigger);
    if firing.is_before() || !firing.is_for_row() {
        misplaced("trigger_capture", "after insert, update or delete, for each row");
    }
    if guc::capture() {
        let tracked = tracked(&firing);
        match firing.event() {
            Event::Insert => inserted(&tracked, &firing.new_row()),
            Event::Update => updated(&tracked, &firing.old(), &firing.new_row()),
            Event::Delete => deleted(&tracked, &firing.old()),
            Event::Truncate => unreachable!("TRUNCATE has no rows"),
        }
    }
    Ok(None)
}

fn inserted(tracked: &Tracked, row: &Row<'_>) {
    let id = identity(tracked, row);
    let version = own_version(tracked, row);
    if tracked.relid != tracked.root
        && let Some(moved) = state::with(|state| state.buffer.take_move(tracked.relation_id, id))
    {
        let new = EncodedRow::of_new(tracked, row);
        let way = Way::of(moved.slices, slices_of(tracked, row));
        moved.old.changes_to(&new, way.enters, |count, values| {
            let head = (Operation::Update, RowId(id), moved.prev);
            state::add(tracked, version, head, (count, values), &way.bytes);
        });
        return;
    }
    new_row(tracked, row, RowId(id), version);
}

fn new_row(tracked: &Tracked, row: &Row<'_>, id: RowId, version: Version) {
    let prev = earlier::parent_of_insert(tracked, id, version);
    let way = Way::of(None, slices_of(tracked, row));
    encode::whole_row(tracked, row, |count, values| {
        let head = (Operation::Insert, id, prev);
        state::add(tracked, version, head, (count, values), &way.bytes);
    });
}

fn updated(tracked: &Tracked, old: &Row<'_>, new: &Row<'_>) {
    let (id, id_after) = (identity(tracked, old), identity(tracked, new));
    if id != id_after && tracked.identity_added {
        identity_changed(tracked, Some(id), Some(id_after));
    }
    if id != id_after {
        // Another key: to everybody else one row goes and another comes.
        deleted(tracked, old);
        new_row(tracked, new, RowId(id_after), own_version(tracked, new));
        return;
    }
    if old.uuid(tracked.version) == new.uuid(tracked.version) {
        if !encode::is_unchanged(tracked, old, new) {
            changed_behind_us(tracked);
        }
        return;
    }
    let versions = (version_of(tracked, old), own_version(tracked, new));
    changed(tracked, (old, new), versions);
}

/// The entry of a row that keeps its identity. Versions: of the old row, and of the new one.
pub fn changed(
    tracked: &Tracked,
    (old, new): (&Row<'_>, &Row<'_>),
    (prev, version): (Version, Version),
) {
    let id = identity(tracked, old);
    let way = Way::of(slices_of(tracked, old), slices_of(tracked, new));
    encode::changes(tracked, (old, new), way.enters, |count, values| {
        let head = (Operation::Update, RowId(id), prev);
        state::add(tracked, version, head, (count, values), &way.bytes);
    });
}

/// The entry of a row that goes.
pub fn deleted(tracked: &Tracked, old: &Row<'_>) {
    let id = identity(tracked, old);
    let prev = version_of(tracked, old);
    if tracked.relid != tracked.root && old.was_moved() {
        let moved = Move {
            relation_id: tracked.relation_id,
            root: tracked.root,
            row: id,
            prev,
            old: EncodedRow::of_old(tracked, old),
            slices: slices_of(tracked, old),
        };
        let level = transaction::nest_level();
        state::with(|state| state.buffer.push_move(level, moved));
        return;
    }
    let version = state::allocate(tracked, prev);
    let way = Way::of(slices_of(tracked, old), None);
    encode::whole_row(tracked, old, |count, values| {
        let head = (Operation::Delete, RowId(id), prev);
        state::add(tracked, version, head, (count, values), &way.bytes);
    });
}

/// A row left its partition, and a trigger suppressed its arrival in the other.
pub fn deleted_on_the_way(moved: Move) {
    let Some(tracked) = layout::tracked(moved.root) else { return };
    let version = state::allocate(&tracked, moved.prev);
    let way = Way::of(moved.slices, None);
    moved.old.write(|count, values| {
        let head = (Operation::Delete, RowId(moved.row), moved.prev);
        state::add(&tracked, version, head, (count, values), &way.bytes);
    });
}

/// The slices that a row was in and is in.
#[derive(Default)]
struct Way {
    /// As the journal has them; empty for a table without slices.
    bytes: Vec<u8>,
    /// Whether somebody gets the row by this change: then it is to carry all columns.
    enters: bool,
}

impl Way {
    /// None: there is no such row, or there are no slices.
    fn of(old: Option<Vec<SliceId>>, new: Option<Vec<SliceId>>) -> Self {
        if old.is_none() && new.is_none() {
            return Self::default();
        }
        let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
        let mut bytes = Vec::new();
        put_passage(&mut bytes, &old, &new);
        Self { bytes, enters: new.iter().any(|slice| !old.contains(slice)) }
    }
}

fn slices_of(tracked: &Tracked, row: &Row<'_>) -> Option<Vec<SliceId>> {
    tracked.slices.as_ref().map(|slices| slices.of_row(row.columns()))
}

fn identity(tracked: &Tracked, row: &Row<'_>) -> [u8; 16] {
    row.uuid(tracked.identity).unwrap_or_else(|| {
        let table = catalog::qualified_name(tracked.root);
        Failure::new(
            PgSqlErrorCode::ERRCODE_NOT_NULL_VIOLATION,
            format!("a row of tracked table \"{table}\" has no identity"),
        )
        .hint("Fill its uuid column; rows are known elsewhere by it.")
        .raise()
    })
}

fn version_of(tracked: &Tracked, row: &Row<'_>) -> Version {
    row.uuid(tracked.version).map_or(Version::NIL, Version::from_bytes)
}

/// The version that `trigger_version` has given to the row.
fn own_version(tracked: &Tracked, row: &Row<'_>) -> Version {
    let version = version_of(tracked, row);
    if !state::with(|state| state.allocator.is_own(version)) {
        changed_behind_us(tracked);
    }
    version
}

fn changed_behind_us(tracked: &Tracked) -> ! {
    let table = catalog::qualified_name(tracked.root);
    Failure::new(
        PgSqlErrorCode::ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION,
        format!("a row of tracked table \"{table}\" was changed after its version was set"),
    )
    .detail(
        "A BEFORE trigger fired after \"~syncjournal_version\" and changed the row, or that one is \
            disabled.",
    )
    .hint("Triggers fire in the order of their names: rename that trigger so that it sorts first.")
    .raise()
}
