//! Slices at the target: rows that leave those which the source sends, and what comes in and goes out
//! of this node's own.

use syncjournal_core::merge::{Settled, Winner};
use syncjournal_core::slice::{Passage, SliceId};
use syncjournal_core::{Entry, Operation, RowId, Version};

use super::conflicts::{Conflict, ConflictType, Side};
use super::entry::{Table, settled};
use super::left;
use super::outcome::Applied;
use super::target::{Target, until_settled};
use crate::node;
use crate::pg::query::{self, Arg, View};
use crate::slice::{Known, Leave, PassageWriter, Slices, Standing, Told};

/// A row that the source sends no longer.
#[derive(Clone, Copy, Debug)]
pub struct Leaving {
    row: RowId,
    /// What took it out, at the source.
    version: Version,
    /// What it was there before, or the last that came from elsewhere.
    parents: [Version; 2],
}

impl Leaving {
    pub fn of(entry: &Entry<'_>) -> Self {
        Self { row: entry.row, version: entry.version, parents: [entry.prev, entry.merged] }
    }
}

impl Target {
    /// Whether the table has slices of this node's.
    pub fn has_slices(&self) -> bool {
        self.leaves.first().is_some_and(|leaf| leaf.tracked.slices.is_some())
    }

    /// The slices of this node's that the table has.
    pub fn all_slices(&self) -> Vec<SliceId> {
        let slices = self.leaves.first().and_then(|leaf| leaf.tracked.slices.as_ref());
        slices.map_or_else(Vec::new, Slices::all)
    }

    /// Where a row stands, and the slices that it is in; afterwards it is the current one.
    pub fn slices_of(&mut self, row: RowId) -> Option<Standing> {
        let version = self.find(row)?;
        let leaf = &self.leaves[self.at];
        let slices = leaf.tracked.slices.as_ref();
        let slices = slices.map(|slices| slices.of_row(leaf.writer.current().columns()));
        Some(Standing { version, slices: slices.unwrap_or_default() })
    }
}

impl Table {
    /// Takes away rows that have left: silently, for elsewhere they are as they were. To be called
    /// when all entries are laid and settled, so that what comes back is known by its version.
    pub fn take_leave(&mut self) {
        let mut gone = Vec::new();
        for leaving in std::mem::take(&mut self.leaving) {
            pgrx::check_for_interrupts!();
            let has_slices = self.target.has_slices();
            let before = if has_slices { self.target.slices_of(leaving.row) } else { None };
            let applied = until_settled(|| self.leave(leaving));
            if has_slices {
                self.passages.changed(leaving.row, before);
            }
            self.outcome.count(applied);
            self.moved(leaving.row);
            if self.target.find(leaving.row).is_none() {
                gone.push((leaving.row, leaving.version));
            }
        }
        left::note(self.target.relation_id, &gone);
    }

    fn leave(&mut self, leaving: Leaving) -> Option<Applied> {
        let Leaving { row, version, parents } = leaving;
        let Some(current) = self.target.find(row) else { return Some(Applied::Skipped) };
        // A later version is on its way to the source, which says whether the row is in then.
        if current > version {
            return Some(Applied::Skipped);
        }
        let is_known = current == version || parents.contains(&current);
        let unseen = !is_known && current.node_tag() == node::tag();
        let local = unseen.then(|| self.target.image());
        let applied = settled(self.target.delete(), Applied::Deleted)?;
        if let Some(local) = local {
            self.conflict(&Conflict {
                kind: ConflictType::DeleteOriginDiffers,
                row,
                base: Side::default(),
                local: Side { version: Some(current), image: Some(local) },
                remote: Side { version: Some(version), image: None },
                settled: Settled::Winner(Winner::Remote),
            });
        }
        Some(applied)
    }

    /// An entry has been laid, or not, on a row that stood as `before` says.
    pub fn note_passage(&mut self, entry: &Entry<'_>, before: Option<Standing>, applied: Applied) {
        let after = self.target.slices_of(entry.row);
        let is_on_top = match (applied, &after) {
            (Applied::Inserted | Applied::Updated, Some(after)) => after.version == entry.version,
            (Applied::Deleted, None) => true,
            _ => false,
        };
        if is_on_top && entry.operation != Operation::State {
            self.passages.laid(entry.row, before, after.as_ref());
        } else {
            self.passages.put_off(entry.row, before);
        }
    }

    /// Journals what rows came to that no entry tells of by itself, for peers with slices.
    pub fn journal_passages(&mut self) {
        let rows = self.passages.take_rows();
        if rows.is_empty() {
            return;
        }
        let writer = |origin| PassageWriter::new(self.target.layout_id, None, origin);
        // Whoever sent the entry has the row as it is, unless it was settled here, or had left there:
        // an entry is passed on by those, too, who have not the row.
        let its_slices = slices_of_peer(self.peer_id, self.target.relation_id);
        let (mut plain, mut settled) = (writer(self.peer_id), writer(0));
        for (row, Told { before, diverged }) in rows {
            let after = self.target.slices_of(row);
            if after == before && !diverged {
                continue;
            }
            let passage = Passage {
                old: match (diverged, &before) {
                    (true, _) => self.target.all_slices(),
                    (false, Some(before)) => before.slices.clone(),
                    (false, None) => Vec::new(),
                },
                new: after.as_ref().map_or_else(Vec::new, |after| after.slices.clone()),
            };
            let in_its = |slices: &[SliceId]| slices.iter().any(|slice| its_slices.contains(slice));
            let may_lack = in_its(&passage.new) && !in_its(&passage.old);
            let writer = if diverged || may_lack { &mut settled } else { &mut plain };
            let was_at = before.map_or(Version::NIL, |before| before.version);
            let is_out = passage.old.iter().any(|slice| !passage.new.contains(slice));
            if let Some(after) = after.as_ref().filter(|after| !after.slices.is_empty()) {
                let image = self.target.image();
                let known = Known { before: was_at, ..Known::default() };
                writer.state(
                    (row, after.version, known),
                    passage.clone(),
                    image.len(),
                    |place, out| {
                        image[place].as_ref().is_some_and(|value| {
                            out.extend_from_slice(value);
                            true
                        })
                    },
                );
            }
            if is_out {
                let is_gone = after.is_none();
                let version = match &after {
                    Some(after) => after.version,
                    None => self.tombstones.find(row).unwrap_or(was_at),
                };
                let known = Known { before: was_at, ..Known::default() };
                writer.leave((row, version, known), Leave { passage, is_gone });
            }
        }
        plain.finish();
        settled.finish();
    }
}

/// By which slices of this node's a peer has a table; none where it has all of it.
fn slices_of_peer(peer_id: i16, relation_id: i32) -> Vec<SliceId> {
    let sql = "select s.slice_id from syncjournal.registered_peer p \
        join syncjournal.slice s on s.slice_name = any (p.slices) \
        where p.peer_id = $1 and s.relation_id = $2";
    let mut found = Vec::new();
    query::run(View::Newest, sql, &[Arg::Int2(peer_id), Arg::Int4(relation_id)], |row| {
        found.extend(row.int4(1).map(|slice| slice as SliceId));
    });
    found
}
