//! The rows of a first copy: chunks that an agent pipes from `clone_read` at the source, in no
//! order, by several sessions. Positions and ranges are the agent's and sql/48_clone.sql's affair.
//!
//! ```text
//! view clone_rows, INSTEAD OF INSERT -> chunk -> the table's heap beside it   fill
//!                                            \-> the table itself, as a full set would   merge
//! ```
//!
//! Nothing of it is captured: rows are written beneath SQL with the source's identities and
//! versions, in both ways.

mod fill;

use std::cell::Cell;
use std::convert::Infallible;

use pgrx::pg_sys::Oid;
use pgrx::prelude::*;
use syncjournal_core::operations::Operations;
use syncjournal_core::wire::{Header, Mode, SetPart};

use super::outcome::Outcome;
use super::quarantine::{self, Watch};
use super::route::Route;
use super::session::Session;
use super::source::{self, Source};
use super::{apply_frames, begin, set_error};
use crate::error::Failure;
use crate::layout;
use crate::pg::heap_swap;
use crate::pg::query::{self, Arg, View};

thread_local! {
    /// What became of the rows since it was asked last, in this transaction.
    static DONE: Cell<Outcome> = const { Cell::new(EMPTY) };
}

const EMPTY: Outcome = Outcome {
    entries: 0,
    inserted: 0,
    updated: 0,
    deleted: 0,
    skipped: 0,
    conflicts: 0,
    quarantined: 0,
};

/// Whether a part is a chunk of a first copy: `apply` takes none, since it leads to no position.
pub fn is_chunk(header: &Header) -> bool {
    header.mode == Mode::Full && header.parts == 0
}

/// INSTEAD OF INSERT on the view through which COPY brings chunks.
#[pg_trigger]
fn clone_take<'a>(
    trigger: &'a PgTrigger<'a>,
) -> Result<Option<PgHeapTuple<'a, AllocatedByPostgres>>, Infallible> {
    let row = trigger.new();
    let chunk = row.as_ref().and_then(|row| row.get_by_index::<&[u8]>(one()).ok().flatten());
    let part =
        SetPart::parse(chunk.unwrap_or_default()).unwrap_or_else(|error| set_error::raise(&error));
    if !is_chunk(&part.header) {
        not_a_chunk("the value is a part of a sync set", "Apply it: select syncjournal.apply().");
    }
    // The agent has asked for the ranks of both ends, and whether a push may go backward.
    let source = source::admit(&part.header, true);
    let outcome = match fills(&part.header, &source) {
        Some(route) => fill::fill(&part, &route),
        None => merge(&part, &source),
    };
    let mut done = DONE.take();
    done.add(outcome);
    DONE.set(done);
    drop(part);
    Ok(row)
}

fn one() -> std::num::NonZeroUsize {
    std::num::NonZeroUsize::MIN
}

pub fn not_a_chunk(message: &str, hint: &str) -> ! {
    Failure::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message).hint(hint).raise()
}

/// The chunk's table, where its rows go into a heap beside it.
fn fills(header: &Header, source: &Source) -> Option<Route> {
    let [definition] = &header.layouts[..] else { return None };
    let route = Route::of(definition, source);
    let Route::Table(fit) = &route else { return None };
    // Each row is looked at where not all operations are permitted, or it refers by identity.
    let refers = layout::tracked(fit.root).is_none_or(|tracked| tracked.has_references);
    if refers || fit.permits != Operations::ALL {
        return None;
    }
    let sql = "select from syncjournal.clone_progress \
        where source_node = $1 and relation = $2::oid and way = 'fill' and not finished";
    let relation = u32::from(fit.root).to_string();
    let args = [Arg::Uuid(*header.source.node_id.as_bytes()), Arg::Text(&relation)];
    (query::run(View::Newest, sql, &args, |_| ()) > 0).then_some(route)
}

/// As the part of a full set that it is.
fn merge(part: &SetPart<'_>, source: &Source) -> Outcome {
    let header = &part.header;
    let _settings = begin();
    let mut watch = Watch::load();
    let outcome = quarantine::run(source, |care, excluded| {
        apply_frames(part, Session::begin(header, source, &mut watch, (care, excluded)))
    });
    quarantine::after_call(&watch, &outcome);
    outcome
}

/// What became of the rows of this transaction since the last call.
#[pg_extern(volatile)]
fn clone_outcome() -> TableIterator<
    'static,
    (
        name!(entries, i64),
        name!(inserted, i64),
        name!(updated, i64),
        name!(skipped, i64),
        name!(conflicts, i64),
        name!(quarantined, i64),
    ),
> {
    let done = DONE.replace(EMPTY);
    TableIterator::once((
        done.entries,
        done.inserted,
        done.updated,
        done.skipped,
        done.conflicts,
        done.quarantined,
    ))
}

/// A new heap beside a table; see [`heap_swap::make_heap`].
#[pg_extern(volatile, strict)]
fn clone_make_heap(leaf: Oid) -> Oid {
    heap_swap::make_heap(leaf)
}

/// The heap becomes the table's own; the caller has locked the table, and it is empty.
#[pg_extern(volatile, strict)]
fn clone_swap_heap(leaf: Oid, heap: Oid) {
    heap_swap::put_in_place(leaf, heap);
}
