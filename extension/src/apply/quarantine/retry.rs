//! Entries in quarantine, tried again: at the end of a call, by the agent, by hand.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use pgrx::PgSqlErrorCode;
use pgrx::prelude::*;
use syncjournal_core::{Operation, RowId, Version, frame};

use super::problem::Problem;
use super::rounds::{Care, alone, run};
use super::shelf::{failed_again, release};
use super::violation::{Excluded, Rivals, Violation, violations};
use super::waiting::{self, Waiting, Wanted, Watch};
use crate::apply::begin;
use crate::apply::collision::{self, Remedy};
use crate::apply::layer::{Laid, Layer};
use crate::apply::outcome::Outcome;
use crate::apply::references;
use crate::apply::route::{Fit, Route};
use crate::apply::source::{self, Source};
use crate::error::{Failure, corrupted};
use crate::layout;
use crate::pg::context::{self, ErrorContext};
use crate::pg::query::{self, Arg};

/// A call tries so many at most.
const MOST_AFTER_CALL: i64 = 200;

/// So many are tried together.
const BATCH: i64 = 1000;

/// The agent's retries end after this time; the rest waits for its next.
const PATIENCE: Duration = Duration::from_secs(3);

/// Who asks for all by hand waits longer.
const LONG_PATIENCE: Duration = Duration::from_secs(3600);

/// What one entry releases, another may have waited for.
const MOST_PASSES: usize = 5;

/// What became of an entry.
enum Fate {
    Released,
    /// It stays out for good, as the table's `on_key_collision` has it.
    Skipped(Rc<Violation>),
    /// And the rows in its way.
    Failed(Problem, Vec<RowId>),
}

impl Fate {
    fn of(violation: &Rc<Violation>) -> Self {
        if violation.remedy == Some(Remedy::Skip) {
            return Self::Skipped(Rc::clone(violation));
        }
        let rows = violation.rivals.as_ref().map(Rivals::rows);
        Self::Failed(violation.problem.clone(), rows.unwrap_or_default())
    }
}

/// Tries what the call may have made way for, and what is due.
pub fn after_call(watch: &Watch, outcome: &Outcome) {
    if !watch.any {
        return;
    }
    waiting::wake();
    // What waits since this call may be what another has waited for: a parent with its new key,
    // and the child that follows it.
    let Outcome { inserted, updated, deleted, quarantined, .. } = *outcome;
    let keys = inserted + updated + deleted + quarantined > 0;
    retry(waiting::due(&Wanted { ids: &watch.found, keys, most: MOST_AFTER_CALL }));
}

/// Tries one entry, or all; gives the number of those that went.
#[pg_extern(volatile)]
fn retry_quarantine(quarantine_id: Option<i64>) -> i64 {
    let _settings = begin();
    if let Some(id) = quarantine_id {
        let found = waiting::asked_for(Some(id), (Version::NIL, 0), 1);
        if found.is_empty() {
            Failure::new(
                PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
                format!("there is no entry {id} in quarantine"),
            )
            .hint("View syncjournal.quarantine lists those that are.")
            .raise();
        }
        return retry(found);
    }
    let mut total = 0;
    references::fill_all(Instant::now() + LONG_PATIENCE);
    for _ in 0..MOST_PASSES {
        let released = retry_all();
        total += released;
        if released == 0 {
            break;
        }
    }
    total
}

fn retry_all() -> i64 {
    let (mut released, mut behind) = (0, (Version::NIL, 0));
    loop {
        let found = waiting::asked_for(None, behind, BATCH);
        let Some(last) = found.last() else { return released };
        behind = (last.version, last.quarantine_id);
        released += retry(found);
    }
}

/// Tries what is due by its time, or since the schema has changed: for the agent, now and then.
#[pg_extern(volatile)]
fn retry_due_quarantine() -> i64 {
    let _settings = begin();
    let begun = Instant::now();
    let mut released = 0;
    waiting::wake();
    references::fill_all(begun + PATIENCE);
    let none = std::collections::HashSet::new();
    loop {
        let found = waiting::due(&Wanted { ids: &none, keys: false, most: BATCH });
        if found.is_empty() || begun.elapsed() > PATIENCE {
            return released;
        }
        released += retry(found);
    }
}

fn retry(all: Vec<Waiting>) -> i64 {
    let mut by_peer: Vec<(i16, Vec<Waiting>)> = Vec::new();
    for entry in all {
        match by_peer.iter_mut().find(|(peer, _)| *peer == entry.peer_id) {
            Some((_, entries)) => entries.push(entry),
            None => by_peer.push((entry.peer_id, vec![entry])),
        }
    }
    let mut released = 0;
    for (peer_id, entries) in by_peer {
        let source = source::of_peer(peer_id);
        let count = run(&source, |care, excluded| round(&source, &entries, care, excluded));
        query::execute(
            "update syncjournal.peer_activity set entries_applied = entries_applied + $2 \
            where peer_id = $1 and $2 > 0",
            &[Arg::Int2(peer_id), Arg::Int8(count)],
        );
        released += count;
    }
    released
}

fn round(
    source: &Source,
    entries: &[Waiting],
    care: Care,
    excluded: &Excluded,
) -> Result<i64, Vec<Violation>> {
    let mut routes: HashMap<i32, Rc<Route>> = HashMap::new();
    let mut layer = (care == Care::Together).then(|| Layer::new(source));
    let mut laid = Laid::default();
    let mut fates = Vec::new();
    for waiting in entries {
        pgrx::check_for_interrupts!();
        let route = routes.entry(waiting.layout_id).or_insert_with(|| {
            Rc::new(Route::of(&layout::by_id(waiting.layout_id).definition, source))
        });
        let fate = match &**route {
            Route::NotWanted => continue,
            Route::Unfit { problem, .. } => Fate::Failed(problem.clone(), Vec::new()),
            Route::Table(fit) => match (excluded.find(fit.relation_id, waiting.row), &mut layer) {
                (Some(violation), _) => Fate::of(violation),
                (None, Some(layer)) => lay(waiting, fit, layer),
                (None, None) => lay_alone(source, waiting, fit, &mut laid),
            },
        };
        fates.push((waiting, fate));
    }
    if let Some(mut layer) = layer {
        layer.settle_postponed();
        laid.add(layer.close());
    }
    laid.add(collision::make_way(source, excluded.collisions())?);
    let is_here = |(waiting, fate): &(&Waiting, Fate)| match fate {
        Fate::Released => Some(waiting.row),
        Fate::Failed(..) | Fate::Skipped(_) => None,
    };
    let arrived = fates.iter().filter_map(is_here).collect();
    let new = std::mem::take(&mut laid.pending);
    laid.add(references::fill(source.keys.as_ref(), new, &arrived));
    let violations = violations(&laid);
    if !violations.is_empty() {
        return Err(violations);
    }
    let mut released = 0;
    for (waiting, fate) in fates {
        match fate {
            Fate::Released => {
                release(waiting.quarantine_id);
                released += 1;
            }
            Fate::Skipped(violation) => {
                collision::record_skip(source, &violation);
                release(waiting.quarantine_id);
                released += 1;
            }
            Fate::Failed(problem, rows) => failed_again(waiting.quarantine_id, &problem, &rows),
        }
    }
    Ok(released)
}

fn lay_alone(source: &Source, waiting: &Waiting, fit: &Rc<Fit>, laid: &mut Laid) -> Fate {
    let one = alone(source, || {
        let mut layer = Layer::new(source);
        let fate = lay(waiting, fit, &mut layer);
        layer.settle_postponed();
        (fate, layer.close())
    });
    match one {
        Ok((fate, done)) => {
            laid.add(done);
            fate
        }
        Err(problem) => {
            let waits_for = problem.waits_for.into_iter().collect();
            Fate::Failed(problem, waits_for)
        }
    }
}

fn lay(waiting: &Waiting, fit: &Rc<Fit>, layer: &mut Layer) -> Fate {
    let Some((id, bytes, index)) = waiting.frame() else {
        let gone = "the entry is in the journal no longer";
        return Fate::Failed(Problem::new(PgSqlErrorCode::ERRCODE_NO_DATA, gone), Vec::new());
    };
    let _context = ErrorContext::enter(&fit.told);
    context::set_row(Some(waiting.row.0));
    for entry in frame::entries(id, &bytes) {
        let entry = entry.unwrap_or_else(|error| corrupted(format_args!("{id}: {error}")).raise());
        if entry.index != index {
            continue;
        }
        if matches!(entry.operation, Operation::State | Operation::Leave | Operation::Truncate) {
            layer.entry(fit, &entry);
            return Fate::Released;
        }
        return match layer.settle(fit, waiting.row, waiting.version) {
            Ok(_) => Fate::Released,
            Err(unsettled) => Fate::Failed(unsettled.problem(), Vec::new()),
        };
    }
    corrupted(format_args!("frame {id} has no entry {index}")).raise()
}
