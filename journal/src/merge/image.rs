//! What a row looked like at a version: undone from a state in hand, or redone from a whole row.

use crate::merge::history::{Change, Found, Host, MergeError, RowState, Rules, Write};
use crate::version::Version;

/// The row at `target`.
///
/// Steps back from the state at hand (undoing) and from the target (to be redone), always from the
/// later, until they meet or the target's side comes upon a write that holds the whole row.
///
/// # Errors
/// [`MergeError::Missing`] where the journal ends before either; what the look-up fails with.
pub fn state_at<H: Host + ?Sized>(
    rules: &Rules,
    target: Version,
    known: Option<&RowState>,
    host: &mut H,
) -> Result<RowState, MergeError<H::Error>> {
    let mut undone = known.cloned();
    let mut redo = Vec::new();
    let mut at = target;
    let start = loop {
        match undone.take() {
            Some(state) if state.version == at => break state,
            Some(state) if state.version > at => {
                undone = step_back(state, host)?;
                continue;
            }
            keep => undone = keep,
        }
        if at.is_nil() {
            break RowState::absent();
        }
        let Found::Write(write) = host.find(at)? else {
            let Some(columns) = host.standing_at(at)? else {
                return Err(MergeError::Missing(at));
            };
            break RowState { version: at, alive: true, columns };
        };
        let whole = holds_whole_row(rules, &write);
        at = write.prev;
        redo.push(write);
        if whole {
            break RowState::absent();
        }
        if at.is_nil() && undone.is_none() {
            return Err(MergeError::Missing(at));
        }
    };
    // Some of a row's columns are no row: as it was before it was first written is not known here.
    if let (true, Some(first)) = (start.version.is_nil() && !start.alive, redo.last())
        && matches!(first.change, Change::Update(_))
        && !holds_whole_row(rules, first)
    {
        return Err(MergeError::Missing(Version::NIL));
    }
    Ok(redo.iter().rev().fold(start, |state, write| state.after(write)))
}

/// The state before the one given; `None` where the journal cannot tell.
fn step_back<H: Host + ?Sized>(
    state: RowState,
    host: &mut H,
) -> Result<Option<RowState>, H::Error> {
    let Found::Write(write) = host.find(state.version)? else {
        return Ok(None);
    };
    let version = write.prev;
    Ok(match &write.change {
        Change::Insert(_) if version.is_nil() => Some(RowState::absent()),
        // What the deleted row had before it was inserted again is written in its delete.
        Change::Insert(_) => match host.find(version)? {
            Found::Write(write) => match &write.change {
                Change::Delete(values) => {
                    Some(RowState { version, alive: false, columns: values.clone() })
                }
                Change::Insert(_) | Change::Update(_) => None,
            },
            Found::Settled | Found::Missing => None,
        },
        Change::Delete(values) if write.has_two_parents() => match host.find(version)? {
            Found::Write(before) => match &before.change {
                Change::Delete(values) => {
                    Some(RowState { version, alive: false, columns: values.clone() })
                }
                Change::Insert(_) | Change::Update(_) => {
                    Some(RowState { version, alive: true, columns: values.clone() })
                }
            },
            Found::Settled | Found::Missing => None,
        },
        Change::Delete(values) => Some(RowState { version, alive: true, columns: values.clone() }),
        Change::Update(changes) => {
            let mut columns = state.columns;
            for change in changes {
                if let Some(value) = columns.get_mut(change.column) {
                    value.clone_from(&change.old);
                }
            }
            Some(RowState { version, alive: state.alive, columns })
        }
    })
}

fn holds_whole_row(rules: &Rules, write: &Write) -> bool {
    match &write.change {
        Change::Insert(_) | Change::Delete(_) => true,
        // Merges carry the whole row, and so does the first update of a row that was there before
        // it was tracked: what came before may be pruned, or differ from database to database.
        Change::Update(changes) => changes.len() >= rules.columns,
    }
}
