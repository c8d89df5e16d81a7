//! Applying sync sets.
//!
//! ```text
//! bytes -> checks (checksum, destination, source, position) -> frames -> journal
//!                                                                     \-> entries -> rows
//! ```
//!
//! A part is atomic: it is applied by one call, with the position, in the caller's transaction.
//! Frames are journaled unchanged, under the id they came with, so that one that is here already is
//! skipped and all travel on to further peers. Entries are laid on rows beneath SQL, where none of our
//! triggers fires, so nothing of that is captured. The users' triggers fire as in logical replication;
//! what these write to tracked tables is captured: it is a change of this node's own. What cannot be
//! laid is set aside: see `quarantine`.
//!
//! Memory: one frame, one entry's values, and the open tables.

mod collision;
mod conflicts;
mod durable;
mod entry;
mod fill;
mod first_copy;
mod foreign_keys;
pub mod gates;
mod host;
mod inbox;
mod json;
mod layer;
mod left;
mod outcome;
mod past;
mod position;
mod quarantine;
pub mod references;
mod resolve;
mod route;
mod rules;
mod run;
mod session;
pub mod set_error;
mod settle;
mod skipped;
mod slices;
pub mod source;
mod state;
mod target;
mod tombstones;
mod truncate;
mod unfinished;

use pgrx::prelude::*;
use syncjournal_core::wire::{Header, Record, SetPart};

use crate::capture;
use crate::pg::{subtransaction, transaction};
use crate::value::PortableSettings;
use outcome::Outcome;
use position::{Next, Position};
use quarantine::{Violation, Watch};
use session::Session;

/// Begins to watch over transactions that are applied in part. Called once, when the library is
/// loaded.
pub fn register() {
    transaction::on_events(unfinished::on_transaction, unfinished::on_subtransaction);
}

/// Applies one part of a set; see the user's reference in README.
#[pg_extern(volatile, strict)]
#[expect(clippy::type_complexity, reason = "the columns of the SQL function")]
fn apply(
    data: &[u8],
    dry_run: bool,
    allow_backward: bool,
) -> TableIterator<
    'static,
    (
        name!(set_id, pgrx::Uuid),
        name!(source, String),
        name!(entries, i64),
        name!(inserted, i64),
        name!(updated, i64),
        name!(deleted, i64),
        name!(skipped, i64),
        name!(conflicts, i64),
        name!(quarantined, i64),
    ),
> {
    let part = parse(data);
    let work = || apply_parsed(&part, data.len(), allow_backward);
    let done = if dry_run { subtransaction::rolled_back(work) } else { work() };
    let Header { set_id, source, .. } = &part.header;
    let row = (
        pgrx::Uuid::from_bytes(*set_id.as_bytes()),
        source.name.clone(),
        done.entries,
        done.inserted,
        done.updated,
        done.deleted,
        done.skipped,
        done.conflicts,
        done.quarantined,
    );
    TableIterator::once(row)
}

/// Applies one part of a set: the numbers of `apply`, in its order.
#[pg_extern(volatile, strict)]
fn apply_part(data: &[u8], allow_backward: bool) -> Vec<i64> {
    let done = apply_parsed(&parse(data), data.len(), allow_backward);
    let Outcome { entries, inserted, updated, deleted, skipped, conflicts, quarantined } = done;
    vec![entries, inserted, updated, deleted, skipped, conflicts, quarantined]
}

fn parse(data: &[u8]) -> SetPart<'_> {
    let part = SetPart::parse(data).unwrap_or_else(|error| set_error::raise(&error));
    if first_copy::is_chunk(&part.header) {
        let hint = "Chunks of a first copy go through syncjournal-agent clone.";
        first_copy::not_a_chunk("the value is a chunk of a first copy and no sync set", hint);
    }
    part
}

fn apply_parsed(part: &SetPart<'_>, bytes: usize, allow_backward: bool) -> Outcome {
    let header = &part.header;
    let source = source::admit(header, allow_backward);
    if header.terms.switched_off {
        gates::switch_off(header, source.peer_id);
        return Outcome::default();
    }
    let position = Position::lock(header.source.node_id);
    if position.check(header) == Next::Known {
        let mut outcome = Outcome::default();
        outcome.skip(header.entries);
        return outcome;
    }
    let outcome = {
        let _settings = begin();
        let mut watch = Watch::load();
        let outcome = quarantine::run(&source, |care, excluded| {
            apply_frames(part, Session::begin(header, &source, &mut watch, (care, excluded)))
        });
        quarantine::after_call(&watch, &outcome);
        outcome
    };
    position.advance(header);
    // In the order in which confirm_sync() locks: the peer, the sets, the totals.
    position::confirm_what_arrived(header, source.peer_id);
    position::record(header, source.peer_id, bytes, &outcome);
    outcome
}

/// Begins to apply: the settings last as long as what is given.
fn begin() -> PortableSettings {
    // What the caller has written must be found: in a subtransaction it cannot be flushed.
    capture::flush_now();
    PortableSettings::enter()
}

fn apply_frames(part: &SetPart<'_>, mut session: Session<'_>) -> Result<Outcome, Vec<Violation>> {
    let mut records = part.records().unwrap_or_else(|error| set_error::raise(&error));
    loop {
        match records.next_record() {
            Ok(Some(Record::Frame { layout, id, entries, bytes })) => {
                session.frame(layout, id, entries, bytes);
            }
            Ok(Some(Record::Begin { .. } | Record::End)) => {}
            Ok(None) => return session.finish(),
            Err(error) => set_error::raise(&error),
        }
    }
}
