//! Tombstones as triggers ask for them, and `apply`: for row after row of a statement.

use std::ops::ControlFlow;

use syncjournal_core::{RowId, Version};

use crate::error::not_installed;
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

/// Who asks for fewer rows looks each up. Beyond, the stones are read one after another, so many every
/// so often: for each row less than what one look-up costs, until all are read.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    few: usize,
    stride: usize,
}

impl Pace {
    /// Of a statement of the users', which may be any.
    pub const STATEMENT: Self = Self { few: 256, stride: 64 };
    /// Of what comes from elsewhere: a call mostly brings many rows.
    pub const APPLY: Self = Self { few: 32, stride: 32 };
}

const READ_AT_ONCE: usize = 256;

/// So many are kept in mind at most: 8 MiB.
const MOST: usize = 1 << 20;

/// Which rows of a relation have a stone, as far as they are read.
#[derive(Debug)]
pub struct StoneReader {
    relation_id: i32,
    pace: Pace,
    asked: usize,
    /// The first eight bytes of each, in order.
    seen: Vec<u64>,
    /// The first that is not read yet; none: all are.
    next: Option<RowId>,
}

impl StoneReader {
    pub fn of(relation_id: i32, pace: Pace) -> Self {
        Self { relation_id, pace, asked: 0, seen: Vec::new(), next: Some(first()) }
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
        if is_read && self.seen.binary_search(&beginning(row)).is_err() {
            return Version::NIL;
        }
        find(self.relation_id, row, stones)
    }

    fn read_on(&mut self, stones: &mut impl Stones) {
        let Some(from) = self.next.take() else { return };
        let Self { relation_id, seen, next, .. } = self;
        let full = seen.len() + READ_AT_ONCE;
        stones.ask(|probe| {
            probe.each_from(*relation_id, from.0, |stone| {
                let row = RowId(stone.uuid(2));
                if seen.len() == full {
                    *next = Some(row);
                    return ControlFlow::Break(());
                }
                seen.push(beginning(row));
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

fn beginning(row: RowId) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = row.0;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}
