//! A source transaction that runs on into the next part: until that part is applied, the target's
//! transaction may not commit, for then half of it would be seen.
//!
//! Kept in the backend, with the savepoint that each step was made in, so that a rollback to a
//! savepoint takes the step back together with the rows.

use std::cell::RefCell;

use pgrx::PgSqlErrorCode;
use uuid::Uuid;

use crate::error::Failure;
use crate::pg::transaction::{self, SubtransactionEvent, TransactionEvent};

/// After a step: the part that must follow, if one must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    pub set_id: Uuid,
    pub part: u32,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    nest_level: i32,
    expected: Option<Expected>,
}

thread_local! {
    static STEPS: RefCell<Vec<Step>> = const { RefCell::new(Vec::new()) };
}

/// The part that must follow in this transaction.
pub fn expected() -> Option<Expected> {
    STEPS.with(|steps| steps.borrow().last()?.expected)
}

/// A part has been applied.
pub fn step(expected: Option<Expected>) {
    STEPS.with(|steps| {
        let mut steps = steps.borrow_mut();
        if expected.is_some() || !steps.is_empty() {
            steps.push(Step { nest_level: transaction::nest_level(), expected });
        }
    });
}

/// Refuses the commit of half a transaction.
pub fn on_transaction(event: TransactionEvent) {
    if event != TransactionEvent::BeforeEnd {
        STEPS.with(|steps| steps.borrow_mut().clear());
        return;
    }
    if let Some(Expected { set_id, part }) = expected() {
        Failure::new(
            PgSqlErrorCode::ERRCODE_ACTIVE_SQL_TRANSACTION,
            "a source transaction has been applied only in part",
        )
        .detail(format!("It runs on into part {part} of set {set_id}."))
        .hint("Apply all parts of the set in one transaction: begin; ...; commit.")
        .raise();
    }
}

/// Follows savepoints.
pub fn on_subtransaction(event: SubtransactionEvent) {
    let level = transaction::nest_level();
    STEPS.with(|steps| {
        let mut steps = steps.borrow_mut();
        match event {
            SubtransactionEvent::BeforeRelease => {}
            SubtransactionEvent::Released => {
                for step in steps.iter_mut().filter(|step| step.nest_level >= level) {
                    step.nest_level = level - 1;
                }
            }
            SubtransactionEvent::RolledBack => steps.retain(|step| step.nest_level < level),
        }
    });
}
