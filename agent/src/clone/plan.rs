//! What is to be done next: pure, so that order can be tested without a database.
//!
//! Tables come in an order in which parents stand before children. A table that is filled beside
//! itself may be read at any time, and takes its place when its parents have; one that is merged
//! begins then.

use std::collections::VecDeque;

/// How rows get into a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Into a heap beside the empty table, which becomes the table's own.
    Fill,
    /// One by one, as those of a full set.
    Merge,
}

impl Way {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Fill => "fill",
            Self::Merge => "merge",
        }
    }
}

/// Blocks of one of the source's tables or leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) table: usize,
    pub(super) leaf: usize,
    pub(super) first: i64,
    /// None: to the table's end, wherever that is by then.
    pub(super) end: Option<i64>,
    /// It came under this snapshot already: only what is new.
    pub(super) since: Option<String>,
    /// Rows that changed since this snapshot may have left the slices by which they came.
    pub(super) hidden_since: Option<String>,
    /// Blocks that it counts for.
    pub(super) weight: i64,
}

/// What a worker does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Work {
    Piece(Piece),
    /// All pieces of the table are there.
    Finish(usize),
    /// Its rows do not fit as they are: they come again, one by one.
    OneByOne(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Copying,
    /// Something is being done with the table as a whole.
    Busy,
    Failed,
    Finished,
}

/// How far a table is.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) way: Way,
    parents: Vec<usize>,
    /// What is left, and what there is when it begins anew.
    pending: VecDeque<Piece>,
    whole: Vec<Piece>,
    running: usize,
    phase: Phase,
}

impl Entry {
    pub(super) fn new(way: Way, pending: Vec<Piece>, whole: Vec<Piece>) -> Self {
        let (pending, parents) = (pending.into(), Vec::new());
        Self { way, parents, pending, whole, running: 0, phase: Phase::Copying }
    }
}

/// The tables, in the order in which they are dealt with.
#[derive(Debug)]
pub(super) struct Plan {
    tables: Vec<Entry>,
    order: Vec<usize>,
}

impl Plan {
    /// `parents`: by table, the tables that it refers to.
    pub(super) fn new(mut tables: Vec<Entry>, parents: &[Vec<usize>]) -> Self {
        let order = parents_first(parents);
        let mut place = vec![0; order.len()];
        order.iter().enumerate().for_each(|(at, &table)| place[table] = at);
        for (table, entry) in tables.iter_mut().enumerate() {
            // Of a circle one has to go first.
            let earlier = |parent: &&usize| place[**parent] < place[table];
            entry.parents = parents[table].iter().filter(earlier).copied().collect();
        }
        Self { tables, order }
    }

    /// The next thing that can be done; none where something else must be done first.
    pub(super) fn next(&mut self) -> Option<Work> {
        (0..self.order.len()).find_map(|at| self.next_of(self.order[at]))
    }

    fn next_of(&mut self, at: usize) -> Option<Work> {
        let ready = self.tables[at].parents.iter().all(|&parent| self.is_finished(parent));
        let table = &mut self.tables[at];
        match table.phase {
            Phase::Busy | Phase::Finished => None,
            Phase::Failed if table.running > 0 => None,
            Phase::Failed => {
                table.phase = Phase::Busy;
                Some(Work::OneByOne(at))
            }
            Phase::Copying if table.pending.is_empty() => {
                if table.running > 0 || !ready {
                    return None;
                }
                table.phase = Phase::Busy;
                Some(Work::Finish(at))
            }
            Phase::Copying if ready || table.way == Way::Fill => {
                table.running += 1;
                table.pending.pop_front().map(Work::Piece)
            }
            Phase::Copying => None,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        (0..self.tables.len()).all(|table| self.is_finished(table))
    }

    fn is_finished(&self, table: usize) -> bool {
        self.tables[table].phase == Phase::Finished
    }

    pub(super) fn way(&self, table: usize) -> Way {
        self.tables[table].way
    }

    pub(super) fn done(&mut self, work: &Work) {
        match work {
            Work::Piece(piece) => self.tables[piece.table].running -= 1,
            Work::Finish(table) => self.tables[*table].phase = Phase::Finished,
            Work::OneByOne(table) => {
                let table = &mut self.tables[*table];
                table.way = Way::Merge;
                table.phase = Phase::Copying;
                table.pending = table.whole.clone().into();
            }
        }
    }

    /// It could not be done just now.
    pub(super) fn put_back(&mut self, work: &Work) {
        match work {
            Work::Piece(piece) => {
                let table = &mut self.tables[piece.table];
                table.running -= 1;
                table.pending.push_front(piece.clone());
            }
            Work::Finish(table) => self.tables[*table].phase = Phase::Copying,
            Work::OneByOne(table) => self.tables[*table].phase = Phase::Failed,
        }
    }

    /// Rows of the table do not fit as they are.
    pub(super) fn failed(&mut self, work: &Work) {
        let table = match work {
            Work::Piece(piece) => {
                self.tables[piece.table].running -= 1;
                piece.table
            }
            Work::Finish(table) | Work::OneByOne(table) => *table,
        };
        self.tables[table].phase = Phase::Failed;
    }
}

/// Parents before children; of a circle, the first goes first.
fn parents_first(parents: &[Vec<usize>]) -> Vec<usize> {
    let mut order = Vec::with_capacity(parents.len());
    let mut left: Vec<usize> = (0..parents.len()).collect();
    while !left.is_empty() {
        let is_free =
            |table: &usize| !parents[*table].iter().any(|p| p != table && left.contains(p));
        let at = left.iter().position(is_free).unwrap_or(0);
        order.push(left.remove(at));
    }
    order
}

/// Cuts what no range covers into pieces of at most `size` blocks; the last one is open.
pub(super) fn cut(
    (table, leaf): (usize, usize),
    blocks: i64,
    size: i64,
    covered: &[(i64, Option<i64>)],
) -> Vec<Piece> {
    let piece = |first: i64, end: Option<i64>| {
        let weight = (end.unwrap_or(blocks) - first).max(0);
        Piece { table, leaf, first, end, since: None, hidden_since: None, weight }
    };
    let mut covered = covered.to_vec();
    covered.sort_unstable();
    let (mut pieces, mut at) = (Vec::new(), 0);
    for (first, end) in covered {
        while at < first {
            let next = (at + size).min(first);
            pieces.push(piece(at, Some(next)));
            at = next;
        }
        let Some(end) = end else { return pieces };
        at = at.max(end);
    }
    while at + size < blocks {
        pieces.push(piece(at, Some(at + size)));
        at += size;
    }
    pieces.push(piece(at, None));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(way: Way, table: usize, pieces: usize) -> Entry {
        let all = cut((table, 0), pieces as i64 * 10, 10, &[]);
        Entry::new(way, all.clone(), all)
    }

    fn bounds(pieces: &[Piece]) -> Vec<(i64, Option<i64>)> {
        pieces.iter().map(|piece| (piece.first, piece.end)).collect()
    }

    #[test]
    fn pieces_cover_what_is_left_and_the_last_is_open() {
        assert_eq!(bounds(&cut((0, 0), 0, 10, &[])), [(0, None)]);
        assert_eq!(bounds(&cut((0, 0), 25, 10, &[])), [(0, Some(10)), (10, Some(20)), (20, None)]);
        let left = cut((0, 0), 25, 10, &[(10, Some(20)), (0, Some(4))]);
        assert_eq!(bounds(&left), [(4, Some(10)), (20, None)]);
        assert!(cut((0, 0), 25, 10, &[(0, Some(10)), (10, None)]).is_empty());
    }

    #[test]
    fn parents_stand_before_children_also_in_a_circle() {
        assert_eq!(parents_first(&[vec![1], vec![2], vec![]]), [2, 1, 0]);
        assert_eq!(parents_first(&[vec![1], vec![0], vec![1]]), [0, 1, 2]);
    }

    #[test]
    fn a_filled_child_waits_with_its_finish_only() {
        let tables = vec![entry(Way::Fill, 0, 1), entry(Way::Fill, 1, 1)];
        let mut plan = Plan::new(tables, &[vec![], vec![0]]);
        let (Some(parent), Some(child)) = (plan.next(), plan.next()) else { panic!() };
        plan.done(&child);
        assert_eq!(plan.next(), None);
        plan.done(&parent);
        let finish = plan.next().expect("the parent can be finished");
        assert_eq!((&finish, plan.next()), (&Work::Finish(0), None));
        plan.done(&finish);
        assert_eq!(plan.next(), Some(Work::Finish(1)));
        assert!(!plan.is_over());
        plan.done(&Work::Finish(1));
        assert!(plan.is_over());
    }

    #[test]
    fn a_merged_child_begins_when_its_parent_is_finished() {
        let tables = vec![entry(Way::Merge, 0, 1), entry(Way::Fill, 1, 1)];
        let mut plan = Plan::new(tables, &[vec![1], vec![]]);
        let Some(parent) = plan.next() else { panic!() };
        assert_eq!(plan.next(), None);
        plan.done(&parent);
        let finish = plan.next().expect("the parent can be finished");
        plan.done(&finish);
        assert!(matches!(plan.next(), Some(Work::Piece(piece)) if piece.table == 0));
    }

    #[test]
    fn what_is_put_back_comes_again() {
        let mut plan = Plan::new(vec![entry(Way::Merge, 0, 1)], &[vec![]]);
        let Some(piece) = plan.next() else { panic!() };
        plan.put_back(&piece);
        assert_eq!(plan.next().as_ref(), Some(&piece));
        plan.done(&piece);
        let Some(finish) = plan.next() else { panic!() };
        plan.put_back(&finish);
        assert_eq!(plan.next(), Some(finish));
    }

    #[test]
    fn rows_that_do_not_fit_begin_anew_when_nobody_is_at_the_table() {
        let mut plan = Plan::new(vec![entry(Way::Fill, 0, 3)], &[vec![]]);
        let (Some(first), Some(second)) = (plan.next(), plan.next()) else { panic!() };
        plan.failed(&first);
        assert_eq!(plan.next(), None);
        plan.done(&second);
        let again = plan.next().expect("nobody is there any more");
        assert_eq!(again, Work::OneByOne(0));
        plan.done(&again);
        assert_eq!(plan.way(0), Way::Merge);
        let pieces: Vec<_> = std::iter::from_fn(|| plan.next()).collect();
        assert_eq!(pieces.len(), 3);
    }
}
