//! A row of a full set: what it is at the source, at its version there.

use syncjournal_core::merge::{Found, Settled, Standing, Winner, compare};
use syncjournal_core::{Entry, Operation, RowId, Version};

use super::conflicts::{Conflict, ConflictType, Side};
use super::entry::{Incoming, Table, settled};
use super::host::RowHost;
use super::outcome::Applied;
use super::past::owned;
use super::skipped;
use super::target::{Image, until_settled};
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
        if !self.permits.allow(Operation::Update) {
            return Some(self.refuse(Operation::Update, incoming.entry));
        }
        // The source says what it had sent before, where that was held back meanwhile.
        if [incoming.entry.prev, incoming.entry.merged].contains(&current) && !current.is_nil() {
            return self.take_over(incoming);
        }
        match self.relation(incoming.entry.row, current, version) {
            // Its entry has come by another way: the merge rules know what to do.
            Relation::Apart if self.holds(incoming.entry.row, version) => Some(Applied::Postponed),
            Relation::Known => Some(Applied::Skipped),
            Relation::Behind => self.take_over(incoming),
            Relation::Apart if current > version => {
                let image = self.target.image();
                Some(self.skip(incoming, image))
            }
            // The source's state is later. That it never saw what was written here can only be
            // told of this node's own entries; what others wrote travels to the source by itself,
            // unless nothing goes there.
            Relation::Apart if self.is_one_way || current.node_tag() == node::tag() => {
                self.overwrite(incoming, Some(current), ConflictType::UpdateOriginDiffers)
            }
            Relation::Apart => self.take_over(incoming),
        }
    }

    /// What is here is later. The source goes on from its own row until it hears of that, so what
    /// that was is kept: its entry never comes.
    fn skip(&mut self, incoming: Incoming<'_>, mut image: Image) -> Applied {
        let Entry { row, version, .. } = *incoming.entry;
        if !self.holds(row, version) {
            for (place, value) in incoming.assignments() {
                image[place] = owned(value);
            }
            let at = (self.target.relation_id, row, version);
            skipped::keep(at, self.target.layout_id, &image);
        }
        Applied::Skipped
    }

    fn holds(&mut self, row: RowId, version: Version) -> bool {
        matches!(self.past.find(row, version), Found::Write(_))
    }

    /// How the row here stands to a state of the source, whose history may never have come.
    fn relation(&mut self, row: RowId, current: Version, version: Version) -> Relation {
        if current.is_nil() {
            return Relation::Behind;
        }
        let mut host = RowHost::new(row, &mut self.past, &mut self.target, &self.rules);
        let Ok(sides) = compare(current, version, &mut host);
        if sides.left_covers() && !(sides.standing() == Standing::Equal && version > current) {
            return Relation::Known;
        }
        if sides.right_covers() { Relation::Behind } else { Relation::Apart }
    }

    /// Neither side has changed the row since it tracks the table: the same row, if both hold the
    /// same. Where they do not, a full set makes this side like the source, and says so.
    fn both_untracked(&mut self, incoming: Incoming<'_>) -> Option<Applied> {
        let here = self.target.image();
        if incoming.assignments().all(|(place, value)| here[place].as_deref() == value) {
            return Some(Applied::Skipped);
        }
        if !self.permits.allow(Operation::Update) {
            return Some(self.refuse(Operation::Update, incoming.entry));
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
            remote[place] = owned(value);
        }
        let applied = self.take_over(incoming)?;
        self.conflict(&Conflict {
            kind,
            row: incoming.entry.row,
            base: Side::default(),
            local: Side { version: current, image: Some(local) },
            remote: Side { version: Some(incoming.entry.version), image: Some(remote) },
            settled: Settled::Winner(Winner::Remote),
        });
        Some(applied)
    }

    fn state_absent(&mut self, incoming: Incoming<'_>) -> Option<Applied> {
        let Entry { version, row, .. } = *incoming.entry;
        if let Some(stone) = self.tombstones.find(row) {
            if version.is_nil() || self.relation(row, stone, version) == Relation::Known {
                return Some(Applied::Skipped);
            }
            if stone > version {
                let image = vec![None; self.past.columns()];
                return Some(self.skip(incoming, image));
            }
        }
        if self.truncations.cover(row, version) {
            return Some(Applied::Skipped);
        }
        if !self.permits.allow(Operation::Insert) {
            return Some(self.refuse(Operation::Insert, incoming.entry));
        }
        let written = self.target.insert(row, version, incoming.assignments());
        settled(written, Applied::Inserted)
    }
}

/// How a row here stands to the source's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    /// The source's is behind this one.
    Known,
    /// This one is behind the source's.
    Behind,
    /// Neither is known to be behind the other.
    Apart,
}
