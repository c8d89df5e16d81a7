//! Constraints that are checked at the end of a call, and the rows that stand against them.

use std::collections::HashMap;
use std::rc::Rc;

use pgrx::PgSqlErrorCode;
use syncjournal_core::{RowId, Version};

use super::problem::Problem;
use crate::apply::collision::Remedy;
use crate::apply::foreign_keys;
use crate::apply::layer::Laid;
use crate::layout;
use crate::pg::catalog;
use crate::pg::postponed::Suspect;
use crate::pg::subtransaction::{Undone, attempt};

/// After so many rounds what still stands against a constraint takes its whole table along: every
/// round may uncover rows that only held because of those before.
const PATIENCE: usize = 8;

/// A row that stands against a constraint when all entries of a call have been laid.
#[derive(Debug)]
pub struct Violation {
    pub relation_id: i32,
    pub row: RowId,
    pub problem: Problem,
    /// Where its key is another's: what is in its way.
    pub rivals: Option<Rivals>,
    /// What the table does about it by itself.
    pub remedy: Option<Remedy>,
}

/// A row whose key is taken, and those that have it.
#[derive(Clone, Debug)]
pub struct Rivals {
    pub version: Version,
    /// What the row would be, as JSON.
    pub json: String,
    pub others: Vec<(RowId, String)>,
}

impl Rivals {
    /// The rows in the way.
    pub fn rows(&self) -> Vec<RowId> {
        self.others.iter().map(|(row, _)| *row).collect()
    }
}

/// The rows whose entries are left out of a call.
#[derive(Debug, Default)]
pub struct Excluded {
    rows: HashMap<(i32, RowId), Rc<Violation>>,
    relations: HashMap<i32, Rc<Violation>>,
    /// Rows that are laid nevertheless, since one of two that have their natural key makes way.
    collisions: HashMap<(i32, RowId), Rc<Violation>>,
    rounds: usize,
}

impl Excluded {
    pub fn find(&self, relation_id: i32, row: RowId) -> Option<&Rc<Violation>> {
        if self.rounds == 0 {
            return None;
        }
        self.rows.get(&(relation_id, row)).or_else(|| self.relations.get(&relation_id))
    }

    /// Another round was in vain.
    pub fn add(&mut self, violations: Vec<Violation>) {
        self.rounds += 1;
        for violation in violations.into_iter().map(Rc::new) {
            let key = (violation.relation_id, violation.row);
            let makes_way = matches!(violation.remedy, Some(Remedy::Adopt | Remedy::Rename));
            if makes_way && self.rounds <= PATIENCE && !self.collisions.contains_key(&key) {
                self.collisions.insert(key, violation);
                continue;
            }
            // It was of no use.
            self.collisions.remove(&key);
            if self.rounds > PATIENCE {
                self.relations.insert(violation.relation_id, Rc::clone(&violation));
            }
            self.rows.insert(key, violation);
        }
    }

    /// Rows in whose favour, or as which, a row is to make way.
    pub fn collisions(&self) -> impl Iterator<Item = &Rc<Violation>> {
        self.collisions.values()
    }
}

/// What stands against constraints, now that all entries of the call have been laid.
pub fn violations(laid: &Laid) -> Vec<Violation> {
    let mut violations = duplicates(&laid.suspects);
    violations.extend(foreign_keys::broken(&laid.touched).into_iter().map(|broken| {
        let code = PgSqlErrorCode::ERRCODE_FOREIGN_KEY_VIOLATION;
        let problem = Problem::new(code, broken.message).detail(broken.detail).hint(
            "It is tried again by itself when the other row has come or gone, or by \
                syncjournal.retry_quarantine().",
        );
        let (relation_id, row) = (broken.relation_id, broken.row);
        Violation { relation_id, row, problem, rivals: None, remedy: None }
    }));
    violations
}

/// The rows whose keys are taken still, now that all entries of the call have been laid. Takes them
/// out of their tables: the call is rolled back if there are any.
fn duplicates(suspects: &[Suspect]) -> Vec<Violation> {
    let mut violations: Vec<Violation> = Vec::new();
    if suspects.is_empty() || problem_with(suspects).is_none() {
        return violations;
    }
    // The last to take a key stands against those before.
    for suspect in suspects.iter().rev() {
        let Some(problem) = problem_with(std::slice::from_ref(suspect)) else { continue };
        let Some(tracked) = layout::tracked(suspect.table()) else { problem.raise() };
        let columns = (tracked.identity, tracked.version);
        let explained = match attempt(|| Ok::<_, ()>(suspect.explain(columns))) {
            Ok(explained) => explained,
            Err(Undone::Error(error)) => error.rethrow(),
            Err(Undone::Given(())) => None,
        };
        let Some(violator) = explained else { problem.raise() };
        let remedy = Remedy::of(&tracked, &violator);
        let others = violator.others.into_iter().map(|(row, json)| (RowId(row), json)).collect();
        violations.push(Violation {
            relation_id: tracked.relation_id,
            row: RowId(violator.row),
            remedy,
            rivals: Some(Rivals {
                version: violator.version.map_or(Version::NIL, Version::from_bytes),
                json: violator.json,
                others,
            }),
            problem: problem.hint(format!(
                "Row {} of table \"{}\" has a key of another row here: change one of the two. What \
                    is in quarantine is tried again by itself, or by \
                    syncjournal.retry_quarantine().",
                RowId(violator.row),
                catalog::qualified_name(suspect.table()),
            )),
        });
    }
    violations
}

fn problem_with(suspects: &[Suspect]) -> Option<Problem> {
    match attempt(|| {
        Suspect::check(suspects);
        Ok::<_, ()>(())
    }) {
        Ok(()) | Err(Undone::Given(())) => None,
        Err(Undone::Error(error)) => Some(Problem::of(&error).unwrap_or_else(|| error.rethrow())),
    }
}
