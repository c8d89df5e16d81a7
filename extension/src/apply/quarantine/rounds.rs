//! The work of a call, tried until nothing stands against it.

use super::problem::Problem;
use super::violation::{Excluded, Violation};
use crate::apply::source::Source;
use crate::pg::subtransaction::{Caught, Undone, attempt};

/// How a call lays its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// All at once: one that fails takes all with it.
    Together,
    /// Each by itself, where its frame does not go as a whole.
    Apart,
}

/// So often a call begins anew because another one brought the same frame at the same moment.
const MOST_COLLISIONS: u32 = 3;

/// Runs `work` in a subtransaction: with all entries together, and where one fails once more with
/// each apart. Rows that stand against a constraint at its end are left out the next time.
pub fn run<T>(
    source: &Source,
    mut work: impl FnMut(Care, &Excluded) -> Result<T, Vec<Violation>>,
) -> T {
    let mut care = Care::Together;
    let mut excluded = Excluded::default();
    let mut collisions = 0;
    loop {
        match attempt(|| work(care, &excluded)) {
            Ok(done) => return done,
            Err(Undone::Given(violations)) => {
                let stops = |found: &&Violation| source.stops_on(&found.problem.sqlstate);
                if let Some(found) = violations.iter().find(stops) {
                    found.problem.clone().raise();
                }
                excluded.add(violations);
            }
            // Keys of the users' tables are checked at the end. What is taken at once is a frame's
            // place in the journal, by a call that has committed since: now it is skipped.
            Err(Undone::Error(error)) if is_duplicate(&error) && collisions < MOST_COLLISIONS => {
                collisions += 1;
            }
            Err(Undone::Error(error)) => {
                let waits = Problem::of(&error).is_some_and(|p| !source.stops_on(&p.sqlstate));
                if care == Care::Apart || !waits {
                    error.rethrow();
                }
                care = Care::Apart;
            }
        }
    }
}

fn is_duplicate(error: &Caught) -> bool {
    Problem::of(error).is_some_and(|problem| problem.sqlstate == "23505")
}

/// What `work` does by itself. An error that may wait comes back as its problem.
pub fn alone<T>(source: &Source, work: impl FnOnce() -> T) -> Result<T, Problem> {
    match attempt(|| Ok::<_, ()>(work())) {
        Ok(done) => Ok(done),
        Err(Undone::Error(error)) => match Problem::of(&error) {
            Some(problem) if !source.stops_on(&problem.sqlstate) => Err(problem),
            _ => error.rethrow(),
        },
        Err(Undone::Given(())) => unreachable!("the work asks for nothing"),
    }
}
