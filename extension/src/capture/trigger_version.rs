//! BEFORE ROW: the row gets its identity and its version.
//!
//! Where this trigger has the last word on an UPDATE, it makes the entry, too: then nothing need be
//! queued for an AFTER trigger. It was created with an argument there (`settle_triggers()` in
//! sql/33_triggers.sql), and `syncjournal_capture` not for updates: a statement goes by its own copy of
//! both, so exactly one of them makes the entry. An error behind this point takes the entry back
//! with the savepoint.

use std::convert::Infallible;
use std::rc::Rc;

use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use pgrx::prelude::*;
use syncjournal_core::{RowId, Version};

use crate::capture::earlier;
use crate::capture::encode::is_unchanged;
use crate::capture::natural;
use crate::capture::row_id::new_row_id;
use crate::capture::state;
use crate::capture::trigger_capture::changed;
use crate::error::Failure;
use crate::guc;
use crate::layout::{self, Tracked};
use crate::pg::catalog;
use crate::pg::trigger::{Event, Firing};

type NewRow<'a> = PgHeapTuple<'a, AllocatedByPostgres>;

/// Its name sorts behind the table's own triggers, so it sees the row as it will be written.
#[pg_trigger]
fn trigger_version<'a>(trigger: &'a PgTrigger<'a>) -> Result<Option<NewRow<'a>>, Infallible> {
    let firing = Firing::of(trigger);
    let is_ours = firing.is_before() && firing.is_for_row();
    let row = match firing.event() {
        Event::Insert if is_ours => inserted(&firing),
        Event::Update if is_ours => updated(&firing),
        _ => misplaced("trigger_version", "before insert or update, for each row"),
    };
    Ok(Some(row))
}

fn inserted<'a>(firing: &Firing<'a>) -> NewRow<'a> {
    let tracked = tracked(firing);
    let row = firing.new_row();
    // Where the identity is the user's own key, what is missing is for Postgres to complain about.
    let is_missing = tracked.identity_added && row.uuid(tracked.identity).is_none();
    let natural = if is_missing { natural::identity(&tracked, &row) } else { None };
    let identity = is_missing.then(|| (tracked.identity, Some(natural.unwrap_or_else(new_row_id))));
    if !guc::capture() {
        return identity.map_or_else(|| firing.unchanged(), |own| firing.with_uuids(&[own]));
    }
    // A row under an identity of its own making may have been here before: it is to be later than
    // its deletion, on whichever node. A row that moves here from another partition comes with the
    // version that it got as an update, in the same frame or an earlier one: this is later.
    let before = match row.uuid(tracked.identity).or(natural) {
        Some(id) => earlier::before_insert(&tracked, RowId(id)),
        None => Version::NIL,
    };
    let version = state::allocate(&tracked, before);
    let version = (tracked.version, Some(version.to_bytes()));
    match identity {
        Some(own) => firing.with_uuids(&[own, version]),
        None => firing.with_uuids(&[version]),
    }
}

fn updated<'a>(firing: &Firing<'a>) -> NewRow<'a> {
    let tracked = tracked(firing);
    let (old, new) = (firing.old(), firing.new_row());
    let (before, after) = (old.uuid(tracked.identity), new.uuid(tracked.identity));
    let is_moved = before != after;
    if is_moved && (tracked.identity_added || after.is_none()) {
        identity_changed(&tracked, before, after);
    }
    if !guc::capture() {
        return firing.unchanged();
    }
    let version = old.uuid(tracked.version);
    if is_unchanged(&tracked, &old, &new) {
        if version == new.uuid(tracked.version) {
            return firing.unchanged();
        }
        return firing.with_uuids(&[(tracked.version, version)]);
    }
    let prev = version.map_or(Version::NIL, Version::from_bytes);
    let earlier_life = match after {
        Some(id) if is_moved => earlier::before_insert(&tracked, RowId(id)),
        _ => Version::NIL,
    };
    let version = state::allocate(&tracked, prev.max(earlier_life));
    // Whether a row under another key was here before is known when it is written: see `earlier`.
    if firing.has_arguments() && !is_moved {
        if tracked.has_references || !firing.has_last_word() {
            not_the_last_word(&tracked);
        }
        changed(&tracked, (&old, &new), (prev, version));
    }
    firing.with_uuids(&[(tracked.version, Some(version.to_bytes()))])
}

/// What is known of the firing's table.
pub fn tracked(firing: &Firing<'_>) -> Rc<Tracked> {
    let relid = firing.relid();
    let found = layout::tracked(relid).unwrap_or_else(|| {
        let table = catalog::qualified_name(relid);
        Failure::new(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("table \"{table}\" has syncjournal's triggers, but is not tracked"),
        )
        .hint("Track it by syncjournal.track(), or drop the triggers.")
        .raise()
    });
    if firing.is_for_row() {
        let row = match firing.event() {
            Event::Delete => firing.old(),
            _ => firing.new_row(),
        };
        assert_eq!(row.natts(), found.natts, "columns of table {}", catalog::qualified_name(relid));
    }
    found
}

/// Refuses another identity for a row, where the identity is ours to give.
pub fn identity_changed(tracked: &Tracked, old: Option<[u8; 16]>, new: Option<[u8; 16]>) -> ! {
    let show = |id: Option<[u8; 16]>| id.map_or("null".to_owned(), |id| RowId(id).to_string());
    let table = catalog::qualified_name(tracked.root);
    Failure::new(
        PgSqlErrorCode::ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION,
        format!("the identity of a row of tracked table \"{table}\" cannot be changed"),
    )
    .detail(format!("The row is {}, the change would make it {}.", show(old), show(new)))
    .hint("Delete the row and insert it anew: other databases know it by its identity.")
    .raise()
}

fn not_the_last_word(tracked: &Tracked) -> ! {
    let table = catalog::qualified_name(tracked.relid);
    Failure::new(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("the triggers of tracked table \"{table}\" do not suit it any more"),
    )
    .detail("A row may still change after \"~syncjournal_version\" has fired.")
    .hint("The table was altered while event triggers were off: alter it once more with them on.")
    .raise()
}

pub fn misplaced(function: &str, place: &str) -> ! {
    Failure::new(
        PgSqlErrorCode::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
        format!("function \"{function}\" must be fired {place}"),
    )
    .hint("Leave the triggers to syncjournal.track().")
    .raise()
}
