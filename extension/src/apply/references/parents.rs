//! The rows that an entry refers to.

use std::cell::Cell;
use std::rc::Rc;

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::Datum;
use syncjournal_core::{Column, RowId};

use super::pending::{self, Pending};
use crate::apply::target::{Assignment, Image};
use crate::error::Failure;
use crate::journal::tombstone;
use crate::layout::{self, Tracked};
use crate::pg::catalog;
use crate::pg::parent::Key;
use crate::pg::reference::{LOST, Reference};

/// What the entry in hand refers to; each row is looked up once.
#[derive(Debug, Default)]
pub struct Parents {
    found: Vec<(usize, [u8; 16], Option<Key>)>,
    /// Optional references of this call whose row was not there.
    pub pending: Vec<Pending>,
    /// Whether earlier calls have left some of this table.
    pub any_stored: bool,
}

thread_local! {
    static MISSING: Cell<Option<[u8; 16]>> = const { Cell::new(None) };
}

/// The row whose absence was the last error.
pub fn take_missing() -> Option<RowId> {
    MISSING.take().map(RowId)
}

impl Parents {
    pub fn of(tracked: &Tracked) -> Self {
        let any_stored = tracked.has_references && pending::any(tracked.relation_id);
        Self { any_stored, ..Self::default() }
    }

    /// Another entry is in hand.
    pub fn forget(&mut self) {
        self.found.clear();
    }

    /// Whether a row that the values refer to is not here.
    pub fn are_missing<'a>(
        &mut self,
        tracked: &Tracked,
        row: RowId,
        values: impl Iterator<Item = Assignment<'a>>,
    ) -> bool {
        let mut missing = false;
        for (column, reference, identity) in references(tracked, values) {
            let wanted = identity.filter(|id| *id != LOST && !is_itself(reference, row, *id));
            missing |= wanted.is_some_and(|id| self.key_of(column, reference, id).is_none());
        }
        missing
    }

    /// Looks up what the values refer to, before they are set. What is missing is pending, where it
    /// may be.
    pub fn look_up<'a>(
        &mut self,
        tracked: &Tracked,
        row: RowId,
        values: impl Iterator<Item = Assignment<'a>>,
    ) {
        for (column, reference, identity) in references(tracked, values) {
            let wanted = identity.filter(|id| !is_itself(reference, row, *id));
            let found = wanted.map(|id| (id, self.key_of(column, reference, id).is_some()));
            let relation_id = tracked.relation_id;
            match found {
                Some((id, false)) if reference.is_required => refuse(tracked, reference, row, id),
                Some((id, false)) if id != LOST => {
                    let carrier = reference.column.clone();
                    self.pending.push(Pending { relation_id, row, carrier, parent: RowId(id) });
                }
                _ => {
                    self.pending.retain(|p| p.row != row || p.carrier != reference.column);
                    if self.any_stored {
                        pending::settle(relation_id, row, &reference.column);
                    }
                }
            }
        }
    }

    /// Lets a reference point to the row of this identity, or nowhere where it is not here.
    pub fn set(
        &self,
        (column, reference): (usize, &Reference),
        row: RowId,
        value: Option<&[u8]>,
        (values, nulls): (&mut [Datum], &mut [bool]),
    ) {
        let Some(identity) = value.and_then(identity) else {
            return reference.set(values, nulls, None);
        };
        if let Some(own) = reference.own_key.as_ref().filter(|_| identity == row.0) {
            // Where a partition is still being chosen, the row has no key yet.
            let is_keyed = own.iter().all(|number| !nulls[number - 1]);
            return match is_keyed {
                true => reference.set_to_itself(values, nulls, own),
                false => reference.set(values, nulls, None),
            };
        }
        let known = self.found.iter().find(|(of, id, _)| (*of, *id) == (column, identity));
        reference.set(values, nulls, known.and_then(|(_, _, key)| key.as_ref()));
    }

    /// What waits for its row stands for it in the row's image.
    pub fn restore(&self, relation_id: i32, row: RowId, columns: &[Column], image: &mut Image) {
        let place = |carrier: &str| columns.iter().position(|column| column.name == carrier);
        let mut put = |carrier: &str, parent: [u8; 16]| {
            if let Some(value) = place(carrier).and_then(|place| image.get_mut(place))
                && value.is_none()
            {
                *value = Some(parent[..].into());
            }
        };
        for waiting in self.pending.iter().filter(|waiting| waiting.row == row) {
            put(&waiting.carrier, waiting.parent.0);
        }
        if self.any_stored {
            pending::of_row(relation_id, row).iter().for_each(|(carrier, id)| put(carrier, *id));
        }
    }

    fn key_of(&mut self, column: usize, reference: &Reference, id: [u8; 16]) -> Option<&Key> {
        let place = self.found.iter().position(|(of, known, _)| (*of, *known) == (column, id));
        let place = place.unwrap_or_else(|| {
            self.found.push((column, id, reference.parent.key_of(id)));
            self.found.len() - 1
        });
        self.found[place].2.as_ref()
    }
}

/// The references among some values, each with the identity that it is to have.
fn references<'a, 't>(
    tracked: &'t Tracked,
    values: impl Iterator<Item = Assignment<'a>>,
) -> impl Iterator<Item = (usize, &'t Reference, Option<[u8; 16]>)> {
    values.filter_map(|(column, value)| {
        let reference = tracked.columns[column].reference.as_deref()?;
        Some((column, reference, value.and_then(identity)))
    })
}

/// What is no identity is none that is known here.
fn identity(value: &[u8]) -> Option<[u8; 16]> {
    Some(value.try_into().unwrap_or(LOST))
}

fn is_itself(reference: &Reference, row: RowId, identity: [u8; 16]) -> bool {
    reference.own_key.is_some() && identity == row.0
}

fn refuse(tracked: &Tracked, reference: &Reference, row: RowId, parent: [u8; 16]) -> ! {
    MISSING.set(Some(parent));
    let table = catalog::qualified_name(tracked.root);
    let to = catalog::qualified_name(reference.parent.relid);
    let is_deleted = layout::tracked(reference.parent.relid)
        .is_some_and(|of: Rc<Tracked>| !tombstone::of(of.relation_id, RowId(parent)).is_nil());
    let why = if is_deleted { "was deleted here" } else { "has not come yet" };
    let Reference { column, .. } = reference;
    Failure::new(
        PgSqlErrorCode::ERRCODE_FOREIGN_KEY_VIOLATION,
        format!("row {row} of table \"{table}\" refers to a row that is not here"),
    )
    .detail(format!(
        "Column \"{column}\" may not be null, and row {} of table \"{to}\" {why}.",
        RowId(parent)
    ))
    .hint("It is tried again by itself when that row comes, or by syncjournal.retry_quarantine().")
    .raise()
}
