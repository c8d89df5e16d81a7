//! A row of a full set: what it is at the source, at its version there.

use syncjournal_core::merge::{Relation, Winner, relate};
use syncjournal_core::{Entry, Version};

use super::conflicts::{Conflict, ConflictType, Side};
use super::entry::{Incoming, Table, settled};
use super::outcome::Applied;
use super::target::until_settled;
use crate::node;

impl Table {
    /// Brings a row to the state that the source has.
    pub fn state(&mut self, incoming: Incoming<'_>) -> Applied {
        until_settled(|| match self.target.find(incoming.entry.row) {
            Some(current) => self.state_present(incoming, current),
            None => self.state_absent(incoming),
        })
    }

    fn state_present(&mut self, incoming: Incoming<'_>, current: Version) -> Option<Applied> {
        let version = incoming.entry.version;
        if version.is_nil() && current.is_nil() {
            return self.both_untracked(incoming);
        }
        // The row here is the source's, or has been changed since both were the same.
        if version.is_nil() || current == version {
            return Some(Applied::Skipped);
        }
        if current.is_nil() {
            return self.take_over(incoming);
        }
        let Ok(relation) = relate(current, version, version, &mut self.history);
        match relation {
            Relation::Known => Some(Applied::Skipped),
            Relation::FastForward | Relation::Behind { .. } => self.take_over(incoming),
            Relation::Diverged(_) if current > version => Some(Applied::Skipped),
            // The source's state is later. That it never saw what was written here can only be
            // told of this node's own entries; what others wrote travels to the source by itself.
            Relation::Diverged(_) if current.node_tag() == node::tag() => {
                self.overwrite(incoming, Some(current), ConflictType::UpdateOriginDiffers)
            }
            Relation::Diverged(_) => self.take_over(incoming),
        }
    }

    fn take_over(&mut self, incoming: Incoming<'_>) -> Option<Applied> {
        let Entry { version, row, .. } = *incoming.entry;
        let written = self.target.update(row, version, incoming.assignments());
        settled(written, Applied::Updated)
    }

    /// Neither side has changed the row since it tracks the table: the same row, if both hold the
    /// same. Where they do not, a full set makes this side like the source, and says so.
    fn both_untracked(&mut self, incoming: Incoming<'_>) -> Option<Applied> {
        let here = self.target.image();
        if incoming.assignments().all(|(place, value)| here[place].as_deref() == value) {
            return Some(Applied::Skipped);
        }
        self.overwrite(incoming, None, ConflictType::InsertExists)
    }

    fn overwrite(
        &mut self,
        incoming: Incoming<'_>,
        current: Option<Version>,
        kind: ConflictType,
    ) -> Option<Applied> {
        let local = self.target.image();
        let mut remote = local.clone();
        for (place, value) in incoming.assignments() {
            remote[place] = value.map(<[u8]>::to_vec);
        }
        let applied = self.take_over(incoming)?;
        self.conflict(Conflict {
            kind,
            row: incoming.entry.row,
            base: Side::default(),
            local: Side { version: current, image: Some(local) },
            remote: Side { version: Some(incoming.entry.version), image: Some(remote) },
            winner: Some(Winner::Remote),
        });
        Some(applied)
    }

    fn state_absent(&mut self, incoming: Incoming<'_>) -> Option<Applied> {
        let Entry { version, row, .. } = *incoming.entry;
        if let Some(stone) = self.tombstones.find(row) {
            let Ok(relation) = relate(stone, version, version, &mut self.history);
            if version.is_nil() || relation == Relation::Known || stone > version {
                return Some(Applied::Skipped);
            }
        }
        if self.tombstones.truncated().is_some_and(|truncated| truncated > version) {
            return Some(Applied::Skipped);
        }
        let written = self.target.insert(row, version, incoming.assignments());
        settled(written, Applied::Inserted)
    }
}
