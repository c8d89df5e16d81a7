//! One entry and the row it meets.
//!
//! The row's own version decides nearly always: it stands at the entry's parent, or has gone past
//! the entry. Otherwise both sides moved, and the last update wins as a whole: the winner's state
//! is rebuilt from the journal, the loser's is kept in the record of the conflict.

use syncjournal_core::merge::{Fork, Relation, Winner, last_update_wins, relate};
use syncjournal_core::{Entry, Operation, Version};

use super::conflicts::{self, Conflict, ConflictType, Side};
use super::history::{History, Step, step_of};
use super::outcome::Applied;
use super::target::{Assignment, Image, Target, until_settled};
use super::tombstones::Tombstones;
use crate::pg::row_writer::Written;

/// Everything about a table that entries are applied to.
#[derive(Debug)]
pub struct Table {
    pub target: Target,
    pub tombstones: Tombstones,
    pub history: History,
    pub peer_id: i16,
    pub conflicts: i64,
}

/// An entry, and where its columns stand here.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    pub entry: &'a Entry<'a>,
    /// None where the column is not taken here.
    pub places: &'a [Option<usize>],
}

impl<'a> Incoming<'a> {
    /// The new values: of a whole row, or of the changed columns.
    pub fn assignments(self) -> impl Iterator<Item = Assignment<'a>> + Clone {
        let places = self.places;
        let whole = match self.entry.operation {
            Operation::Update => None,
            _ => Some(self.entry.values()),
        };
        let whole = whole.into_iter().flatten();
        let whole = whole.enumerate().filter_map(|(column, value)| Some((places[column]?, value)));
        let changes = self.entry.changes();
        whole.chain(changes.filter_map(|change| Some((places[change.column]?, change.new))))
    }

    /// Whether all columns that the entry names are columns of its layout.
    pub fn fits_layout(self) -> bool {
        let count = self.places.len();
        match self.entry.operation {
            Operation::Update => self.entry.changes().all(|change| change.column < count),
            _ => self.entry.values().len() <= count,
        }
    }

    fn step(self) -> Step {
        step_of(self.entry, |column| self.places.get(column).copied().flatten())
    }

    /// What the entry alone says of the row.
    fn known_image(self, columns: usize) -> Image {
        let mut image = vec![None; columns];
        for (place, value) in self.assignments() {
            image[place] = value.map(<[u8]>::to_vec);
        }
        image
    }
}

/// All columns of an image.
pub fn whole(image: &Image) -> impl Iterator<Item = Assignment<'_>> + Clone {
    image.iter().enumerate().map(|(place, value)| (place, value.as_deref()))
}

impl Table {
    /// Applies an insert, update or delete.
    pub fn change(&mut self, incoming: Incoming<'_>) -> Applied {
        until_settled(|| match self.target.find(incoming.entry.row) {
            Some(current) => self.present(incoming, current),
            None => self.absent(incoming),
        })
    }

    fn present(&mut self, incoming: Incoming<'_>, current: Version) -> Option<Applied> {
        let Entry { version, prev, operation, .. } = *incoming.entry;
        if operation == Operation::Insert && current.is_nil() {
            return self.insert_over_untracked(incoming);
        }
        let Ok(relation) = relate(current, version, prev, &mut self.history);
        match relation {
            Relation::Known => Some(Applied::Skipped),
            Relation::FastForward => self.forward(incoming),
            Relation::Behind { missing } => {
                let image = self.target.image();
                match self.history.advance(image, &missing, &incoming.step()) {
                    Some(image) => self.write_whole(incoming, &image),
                    None => self.forward(incoming),
                }
            }
            Relation::Diverged(fork) => self.diverged(incoming, current, &fork),
        }
    }

    /// The common case: the row stands where the entry expects it.
    fn forward(&mut self, incoming: Incoming<'_>) -> Option<Applied> {
        let Entry { version, row, operation, .. } = *incoming.entry;
        if operation == Operation::Delete {
            return self.delete(incoming);
        }
        let written = self.target.update(row, version, incoming.assignments());
        settled(written, Applied::Updated)
    }

    fn delete(&mut self, incoming: Incoming<'_>) -> Option<Applied> {
        let applied = settled(self.target.delete(), Applied::Deleted)?;
        self.tombstones.deleted(incoming.entry.row, incoming.entry.version);
        Some(applied)
    }

    fn write_whole(&mut self, incoming: Incoming<'_>, image: &Image) -> Option<Applied> {
        let Entry { version, row, .. } = *incoming.entry;
        settled(self.target.update(row, version, whole(image)), Applied::Updated)
    }

    /// The row was there when the table was tracked, and elsewhere it was made anew.
    fn insert_over_untracked(&mut self, incoming: Incoming<'_>) -> Option<Applied> {
        let local = self.target.image();
        let remote = incoming.known_image(local.len());
        let applied = self.forward(incoming)?;
        if local != remote {
            let version = incoming.entry.version;
            self.conflict(Conflict {
                kind: ConflictType::InsertExists,
                row: incoming.entry.row,
                base: Side::default(),
                local: Side { version: None, image: Some(local) },
                remote: Side { version: Some(version), image: Some(remote) },
                winner: Some(Winner::Remote),
            });
        }
        Some(applied)
    }

    /// Both sides moved: the later version's state stays, as a whole.
    fn diverged(
        &mut self,
        incoming: Incoming<'_>,
        current: Version,
        fork: &Fork,
    ) -> Option<Applied> {
        let Entry { version, row, operation, .. } = *incoming.entry;
        let local = self.target.image();
        let states = self.history.remote_state(Some(local.clone()), fork, &incoming.step());
        let (base, remote, known) = match states {
            Some((base, remote)) => (base, remote, true),
            None => (None, Some(incoming.known_image(local.len())), false),
        };
        let mut winner = Some(last_update_wins(current, version));
        let applied = match winner {
            Some(Winner::Remote) if !known => {
                winner = None;
                Applied::Skipped
            }
            Some(Winner::Remote) => match &remote {
                Some(image) => self.write_whole(incoming, image)?,
                None => self.delete(incoming)?,
            },
            Some(Winner::Local) | None => Applied::Skipped,
        };
        self.conflict(Conflict {
            kind: match operation {
                Operation::Delete => ConflictType::DeleteOriginDiffers,
                Operation::Update => ConflictType::UpdateOriginDiffers,
                _ => ConflictType::InsertExists,
            },
            row,
            base: Side { version: fork.base, image: base },
            local: Side { version: Some(current), image: Some(local) },
            remote: Side { version: Some(version), image: remote },
            winner,
        });
        Some(applied)
    }

    fn absent(&mut self, incoming: Incoming<'_>) -> Option<Applied> {
        let entry = incoming.entry;
        let stone = self.tombstones.find(entry.row);
        match entry.operation {
            Operation::Delete => Some(self.delete_absent(incoming, stone)),
            Operation::Update => self.update_absent(incoming, stone),
            _ => self.insert_absent(incoming, stone),
        }
    }

    fn insert_absent(&mut self, incoming: Incoming<'_>, stone: Option<Version>) -> Option<Applied> {
        let Entry { version, prev, row, .. } = *incoming.entry;
        if let Some(stone) = stone {
            let Ok(relation) = relate(stone, version, prev, &mut self.history);
            if relation == Relation::Known {
                return Some(Applied::Skipped);
            }
            if stone > version {
                return Some(self.stays_deleted(incoming, stone, None));
            }
        }
        if self.tombstones.truncated().is_some_and(|truncated| truncated > version) {
            return Some(Applied::Skipped);
        }
        let written = self.target.insert(row, version, incoming.assignments());
        settled(written, Applied::Inserted)
    }

    /// Both deleted it, or it was never here: it is gone either way.
    fn delete_absent(&mut self, incoming: Incoming<'_>, stone: Option<Version>) -> Applied {
        let Entry { version, row, .. } = *incoming.entry;
        if stone.is_none_or(|stone| stone < version) {
            self.tombstones.deleted(row, version);
        }
        let truncated = self.tombstones.truncated();
        if stone.is_none() && truncated.is_none() {
            let columns = self.target.layout().columns.len();
            let remote = incoming.known_image(columns);
            self.conflict(Conflict {
                kind: ConflictType::DeleteMissing,
                row,
                base: Side::default(),
                local: Side::default(),
                remote: Side { version: Some(version), image: Some(remote) },
                winner: Some(Winner::Remote),
            });
        }
        Applied::Skipped
    }

    fn update_absent(&mut self, incoming: Incoming<'_>, stone: Option<Version>) -> Option<Applied> {
        let Entry { version, prev, .. } = *incoming.entry;
        // A row that came back after its tombstone may have gone again by a truncation.
        let Some(death) = stone.max(self.tombstones.truncated()) else {
            return Some(self.never_here(incoming));
        };
        let mut state = None;
        if let Some(stone) = stone {
            let Ok(relation) = relate(stone, version, prev, &mut self.history);
            match relation {
                Relation::Known => return Some(Applied::Skipped),
                Relation::Diverged(fork) => {
                    state = self.history.remote_state(None, &fork, &incoming.step());
                }
                Relation::FastForward | Relation::Behind { .. } => {}
            }
        }
        let image = match state {
            Some((_, remote)) => remote,
            None => self
                .history
                .replay(prev)
                .and_then(|image| self.history.advance(image, &[], &incoming.step())),
        };
        if death > version {
            return Some(self.stays_deleted(incoming, death, image));
        }
        self.resurrect(incoming, death, image)
    }

    /// The deletion here is the later one.
    fn stays_deleted(
        &mut self,
        incoming: Incoming<'_>,
        death: Version,
        image: Option<Image>,
    ) -> Applied {
        let columns = self.target.layout().columns.len();
        let image = image.unwrap_or_else(|| incoming.known_image(columns));
        self.update_deleted(incoming, death, image, Some(Winner::Local));
        Applied::Skipped
    }

    /// The update is later than the deletion here: the row comes back.
    fn resurrect(
        &mut self,
        incoming: Incoming<'_>,
        death: Version,
        image: Option<Image>,
    ) -> Option<Applied> {
        let Entry { version, row, .. } = *incoming.entry;
        let Some(image) = image else {
            let columns = self.target.layout().columns.len();
            self.update_deleted(incoming, death, incoming.known_image(columns), None);
            return Some(Applied::Skipped);
        };
        let applied = settled(self.target.insert(row, version, whole(&image)), Applied::Inserted)?;
        self.update_deleted(incoming, death, image, Some(Winner::Remote));
        Some(applied)
    }

    fn update_deleted(
        &mut self,
        incoming: Incoming<'_>,
        death: Version,
        remote: Image,
        winner: Option<Winner>,
    ) {
        self.conflict(Conflict {
            kind: ConflictType::UpdateDeleted,
            row: incoming.entry.row,
            base: Side { version: Some(incoming.entry.prev), image: None },
            local: Side { version: Some(death), image: None },
            remote: Side { version: Some(incoming.entry.version), image: Some(remote) },
            winner,
        });
    }

    /// An update of a row that never came: what is known of it waits for a person.
    fn never_here(&mut self, incoming: Incoming<'_>) -> Applied {
        let Entry { version, prev, row, .. } = *incoming.entry;
        let remote = incoming.known_image(self.target.layout().columns.len());
        self.conflict(Conflict {
            kind: ConflictType::UpdateMissing,
            row,
            base: Side { version: Some(prev), image: None },
            local: Side::default(),
            remote: Side { version: Some(version), image: Some(remote) },
            winner: None,
        });
        Applied::Skipped
    }

    pub fn conflict(&mut self, conflict: Conflict) {
        self.conflicts += 1;
        conflicts::record(&mut self.target, self.peer_id, &conflict);
    }
}

/// What a change came to; `None` where the row must be looked up again.
pub fn settled(written: Written, applied: Applied) -> Option<Applied> {
    match written {
        Written::Done => Some(applied),
        Written::Suppressed => Some(Applied::Skipped),
        Written::Moved => None,
    }
}
