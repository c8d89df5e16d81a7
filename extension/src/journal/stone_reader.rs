//! Tombstones as triggers ask for them, and `apply`: for row after row of a statement.

use std::collections::HashSet;
use std::ops::ControlFlow;

use syncjournal_core::{RowId, Version};

use crate::error::not_installed;
use crate::mixer::Mixed;
use crate::pg::catalog;
use crate::pg::probe::Probe;
use crate::pg::standing;

/// Where the stones are looked up: an open look-up by relation and row.
pub trait Stones {
    fn ask<R>(&mut self, question: impl FnOnce(&mut Probe) -> R) -> R;
}

/// The look-up that stays open for a statement, for its triggers.
#[derive(Debug)]
pub struct OfStatement;

impl Stones for OfStatement {
    fn ask<R>(&mut self, question: impl FnOnce(&mut Probe) -> R) -> R {
        let answer = standing::ask(|| catalog::own_relation(c"tombstone"), question);
        answer.unwrap_or_else(|| not_installed().raise())
    }
}

impl Stones for Probe {
    fn ask<R>(&mut self, question: impl FnOnce(&mut Probe) -> R) -> R {
        question(self)
    }
}

/// Who asks for fewer rows looks each up. Beyond, the stones' index is read one page after another, so many
/// entries every so often: for each row less than what one look-up costs, until all are read.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    few: usize,
    stride: usize,
}

impl Pace {
    /// Of a statement of the users', which may be any.
    pub const STATEMENT: Self = Self { few: 128, stride: 16 };
    /// Of what comes from elsewhere: a call mostly brings many rows.
    pub const APPLY: Self = Self { few: 32, stride: 16 };
}

const READ_AT_ONCE: usize = 256;

/// So many are kept in mind at most: 9 MiB. They fill a hash table just before it would double.
const MOST: usize = (1 << 20) / 8 * 7 - READ_AT_ONCE;

/// Which rows of a relation may have a stone, as far as the index is read.
#[derive(Debug)]
pub struct StoneReader {
    relation_id: i32,
    pace: Pace,
    asked: usize,
    /// Each folded to eight bytes: what is not among them has no stone.
    seen: HashSet<u64, Mixed>,
    /// The first that is not read yet; none: all are.
    next: Option<RowId>,
}

impl StoneReader {
    pub fn of(relation_id: i32, pace: Pace) -> Self {
        Self { relation_id, pace, asked: 0, seen: HashSet::default(), next: Some(first()) }
    }

    pub fn relation_id(&self) -> i32 {
        self.relation_id
    }

    /// The version that deleted the row. One that somebody else has set meanwhile may be missed.
    pub fn find(&mut self, row: RowId, stones: &mut impl Stones) -> Version {
        self.asked += 1;
        let Pace { few, stride } = self.pace;
        let is_due = self.asked >= few && self.asked.is_multiple_of(stride);
        if is_due && self.next.is_some() && self.seen.len() < MOST {
            self.read_on(stones);
        }
        let is_read = self.next.is_none_or(|next| row < next);
        if is_read && !self.seen.contains(&folded(row)) {
            return Version::NIL;
        }
        find(self.relation_id, row, stones)
    }

    fn read_on(&mut self, stones: &mut impl Stones) {
        let Some(from) = self.next.take() else { return };
        let Self { relation_id, seen, next, .. } = self;
        let mut left = READ_AT_ONCE;
        stones.ask(|probe| {
            probe.each_key_from(*relation_id, from.0, |uuid| {
                let row = RowId(uuid);
                if left == 0 {
                    *next = Some(row);
                    return ControlFlow::Break(());
                }
                left -= 1;
                seen.insert(folded(row));
                ControlFlow::Continue(())
            });
        });
    }
}

/// The version that deleted the row; nil if none did.
pub fn find(relation_id: i32, row: RowId, stones: &mut impl Stones) -> Version {
    let version = stones.ask(|probe| probe.read_under(relation_id, row.0, |stone| stone.uuid(3)));
    version.map_or(Version::NIL, Version::from_bytes)
}

/// Whether any row of the relation has a stone.
pub fn any(relation_id: i32, stones: &mut impl Stones) -> bool {
    stones.ask(|probe| probe.has_from(relation_id, first().0))
}

/// The nil row does not count: that tells of a truncation only.
fn first() -> RowId {
    let mut least = RowId::NIL;
    least.0[15] = 1;
    least
}

/// Both halves count: in some versions of uuids the one is mostly the same, in some the other.
fn folded(row: RowId) -> u64 {
    let number = u128::from_be_bytes(row.0);
    (number >> 64) as u64 ^ (number as u64).rotate_left(32)
}
