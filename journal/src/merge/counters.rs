//! Counters: the differences that each write made are added, each once.

use std::sync::Arc;

use crate::merge::history::{Change, Host, MergeError, RowState, Rules, Value, Write};
use crate::merge::image;

/// What one write added to a counter.
struct Difference {
    column: usize,
    old: Value,
    new: Value,
}

/// Whether one of the writes changed a counter.
pub fn touched(rules: &Rules, writes: &[Arc<Write>]) -> bool {
    !rules.counters.is_empty()
        && writes.iter().filter(|write| !write.has_two_parents()).any(|write| match &write.change {
            Change::Insert(_) => true,
            Change::Delete(_) => false,
            Change::Update(changes) => {
                changes.iter().any(|change| rules.is_counter(change.column) && change.is_real())
            }
        })
}

/// Adds to the counters of `state` what `writes` added to theirs.
///
/// # Errors
/// As [`image::state_at`]; what the arithmetic fails with.
pub fn add<H: Host + ?Sized>(
    rules: &Rules,
    state: &RowState,
    writes: &[Arc<Write>],
    host: &mut H,
) -> Result<Vec<Value>, MergeError<H::Error>> {
    let mut columns = state.columns.clone();
    if rules.counters.is_empty() {
        return Ok(columns);
    }
    columns.resize(columns.len().max(rules.columns), None);
    for write in writes {
        for Difference { column, old, new } in differences(rules, write, host)? {
            columns[column] = host.add(column, &columns[column], &new, &old)?;
        }
    }
    Ok(columns)
}

/// A write with two parents has no difference of its own: its counters are the sum of its parents'.
/// A delete takes nothing away, and a later insert of the same row counts from what was deleted,
/// so that an update which brings the row back finds the counter whole.
fn differences<H: Host + ?Sized>(
    rules: &Rules,
    write: &Write,
    host: &mut H,
) -> Result<Vec<Difference>, MergeError<H::Error>> {
    if write.has_two_parents() {
        return Ok(Vec::new());
    }
    match &write.change {
        Change::Delete(_) => Ok(Vec::new()),
        Change::Update(changes) => Ok(changes
            .iter()
            .filter(|change| rules.is_counter(change.column))
            .map(|change| Difference {
                column: change.column,
                old: change.old.clone(),
                new: change.new.clone(),
            })
            .collect()),
        Change::Insert(values) => {
            let before = match write.prev.is_nil() {
                true => Vec::new(),
                false => image::state_at(rules, write.prev, None, host)?.columns,
            };
            Ok(rules
                .counters
                .iter()
                .map(|&column| Difference {
                    column,
                    old: before.get(column).cloned().flatten(),
                    new: values.get(column).cloned().flatten(),
                })
                .collect())
        }
    }
}
