//! What the local journal knows of a row's past: parents of versions, and the states between them.

use std::collections::HashMap;
use std::convert::Infallible;

use syncjournal_core::merge::{Fork, Lineage};
use syncjournal_core::{Entry, Operation, RelationLayout, Version, frame};

use super::target::Image;
use crate::error::corrupted;
use crate::{journal, layout};

/// Reads the past of rows of one table.
#[derive(Debug)]
pub struct History {
    /// The layout in which images are.
    layout: RelationLayout,
    /// For each layout of the journal the columns here, none where the column is gone.
    places: HashMap<i32, Vec<Option<usize>>>,
}

/// A step of a row's past, in the columns of the table's layout.
#[derive(Debug)]
pub struct Step {
    operation: Operation,
    columns: Vec<StepColumn>,
}

/// Old and new value of a column; of a whole row both are the same.
#[derive(Debug)]
struct StepColumn {
    place: usize,
    old: Option<Vec<u8>>,
    new: Option<Vec<u8>>,
}

impl Lineage for History {
    type Error = Infallible;

    fn parent(&mut self, version: Version) -> Result<Option<Version>, Infallible> {
        Ok(with_entry(version, |entry, _| entry.prev))
    }
}

impl History {
    pub fn of(layout: &RelationLayout) -> Self {
        Self { layout: layout.clone(), places: HashMap::new() }
    }

    /// The row before and after: undoes the local branch of a fork and redoes the remote one.
    /// `None` where the journal does not reach back far enough.
    pub fn remote_state(
        &mut self,
        current: Option<Image>,
        fork: &Fork,
        last: &Step,
    ) -> Option<(Option<Image>, Option<Image>)> {
        let base = self.base_state(current, fork);
        let mut state = match base.clone() {
            Some(base) => base,
            // Whole rows need no base.
            None if last.operation != Operation::Update => None,
            None => return None,
        };
        for version in &fork.remote {
            let step = self.step(*version)?;
            state = self.redo(state, &step)?;
        }
        Some((base.flatten(), self.redo(state, last)?))
    }

    /// The row where both sides parted; `None` where that is not known.
    fn base_state(&mut self, current: Option<Image>, fork: &Fork) -> Option<Option<Image>> {
        fork.base?;
        let mut state = current;
        for version in &fork.local {
            let step = self.step(*version)?;
            state = self.undo(state, &step)?;
        }
        Some(state)
    }

    /// A row's state after further versions and a last step.
    pub fn advance(&mut self, current: Image, missing: &[Version], last: &Step) -> Option<Image> {
        let mut state = Some(current);
        for version in missing {
            let step = self.step(*version)?;
            state = self.redo(state, &step)?;
        }
        self.redo(state, last)?
    }

    /// The row as it was at a version, from its insert on.
    pub fn replay(&mut self, version: Version) -> Option<Image> {
        let mut chain = Vec::new();
        let mut at = version;
        loop {
            let (step, prev) =
                with_entry(at, |entry, layout_id| (self.own_step(entry, layout_id), entry.prev))?;
            let is_whole = step.operation != Operation::Update;
            chain.push(step);
            if is_whole {
                break;
            }
            at = prev;
        }
        let mut state = None;
        for step in chain.iter().rev() {
            state = self.redo(state, step)?;
        }
        state
    }

    fn step(&mut self, version: Version) -> Option<Step> {
        with_entry(version, |entry, layout_id| self.own_step(entry, layout_id))
    }

    fn own_step(&mut self, entry: &Entry<'_>, layout_id: i32) -> Step {
        let Self { layout, places } = self;
        let places = places.entry(layout_id).or_insert_with(|| {
            let stored = layout::by_id(layout_id);
            stored.definition.columns.iter().map(|column| layout.position(&column.name)).collect()
        });
        step_of(entry, |column| places.get(column).copied().flatten())
    }

    fn redo(&self, state: Option<Image>, step: &Step) -> Option<Option<Image>> {
        match step.operation {
            Operation::Insert | Operation::State => Some(Some(self.whole(step))),
            Operation::Update => {
                let mut image = state?;
                for column in &step.columns {
                    image[column.place].clone_from(&column.new);
                }
                Some(Some(image))
            }
            Operation::Delete | Operation::Truncate => Some(None),
        }
    }

    fn undo(&self, state: Option<Image>, step: &Step) -> Option<Option<Image>> {
        match step.operation {
            Operation::Insert => Some(None),
            Operation::Update => {
                let mut image = state?;
                for column in &step.columns {
                    image[column.place].clone_from(&column.old);
                }
                Some(Some(image))
            }
            Operation::Delete => Some(Some(self.whole(step))),
            Operation::State | Operation::Truncate => None,
        }
    }

    fn whole(&self, step: &Step) -> Image {
        let mut image = vec![None; self.layout.columns.len()];
        for column in &step.columns {
            image[column.place].clone_from(&column.new);
        }
        image
    }
}

/// An entry's step, its columns numbered by `place`.
pub fn step_of(entry: &Entry<'_>, mut place: impl FnMut(usize) -> Option<usize>) -> Step {
    let owned = |value: Option<&[u8]>| value.map(<[u8]>::to_vec);
    let mut columns = Vec::new();
    let mut add = |column, old, new| {
        if let Some(place) = place(column) {
            columns.push(StepColumn { place, old: owned(old), new: owned(new) });
        }
    };
    if entry.operation == Operation::Update {
        entry.changes().for_each(|change| add(change.column, change.old, change.new));
    } else {
        entry.values().enumerate().for_each(|(column, value)| add(column, value, value));
    }
    Step { operation: entry.operation, columns }
}

/// Calls `read` with the entry of a version and the number of its layout, if the journal has it.
fn with_entry<R>(version: Version, read: impl FnOnce(&Entry<'_>, i32) -> R) -> Option<R> {
    let found = journal::frame_of(version)?;
    for entry in frame::entries(found.id, &found.data) {
        let entry = entry
            .unwrap_or_else(|error| corrupted(format_args!("frame {}: {error}", found.id)).raise());
        if entry.index == version.index() {
            return Some(read(&entry, found.layout_id));
        }
    }
    None
}
