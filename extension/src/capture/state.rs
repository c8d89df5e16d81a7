//! What the backend remembers between triggers, and the transaction's events that end it.

use std::cell::RefCell;
use std::mem::ManuallyDrop;

use pgrx::prelude::*;
use syncjournal_core::frame::Head;
use syncjournal_core::{HybridTime, Operation, RowId, Version};

use crate::capture::allocate::Allocator;
use crate::capture::buffer::{Batch, Buffer};
use crate::capture::earlier::{Asked, Reading};
use crate::capture::flush;
use crate::layout::{self, Tracked};
use crate::pg::catalog;
use crate::pg::reference;
use crate::pg::standing;
use crate::pg::transaction::{self, SubtransactionEvent, TransactionEvent};

#[derive(Debug, Default)]
pub struct State {
    pub allocator: Allocator,
    pub buffer: Buffer,
    /// Tracked relations that a TRUNCATE has emptied, and nothing was written to since.
    pub emptied: Vec<i32>,
    /// Relations whose rows have identities of our making, and to which one with its own was added.
    pub given: Vec<i32>,
    /// What was asked of tombstones.
    pub stones: Vec<Asked>,
    pub reading: Option<Reading>,
    /// Frames up to this time were flushed before their statement's end.
    split_until: Option<HybridTime>,
    /// The transaction is about to end: whatever still comes is journaled at once.
    is_ending: bool,
}

thread_local! {
    static STATE: ManuallyDrop<RefCell<State>> =
        ManuallyDrop::new(RefCell::new(State::default()));
}

/// Lends the state; `work` must not call anything that may fire a trigger.
pub fn with<R>(work: impl FnOnce(&mut State) -> R) -> R {
    STATE.with(|state| work(&mut state.borrow_mut()))
}

/// Begins to listen to the events of transactions. Called once, when the library is loaded.
pub fn register() {
    transaction::on_events(on_transaction, on_subtransaction);
}

/// A version for a new entry of the relation, later than `prev`.
pub fn allocate(tracked: &Tracked, prev: Version) -> Version {
    with(|state| {
        state.emptied.retain(|relation| *relation != tracked.relation_id);
        state.allocator.allocate(tracked, prev)
    })
}

/// A version for a merge that this node's function makes, later than `after`.
pub fn merge_version(after: Version) -> Version {
    with(|state| state.allocator.merge_version(after))
}

/// A version for what a person decides, later than `after`.
pub fn lone_version(after: Version) -> Version {
    with(|state| state.allocator.lone_version(after))
}

/// Buffers an entry, and journals what is due. `passage`: empty for a table without slices.
pub fn add(
    tracked: &Tracked,
    version: Version,
    (operation, row, prev): (Operation, RowId, Version),
    values: (usize, &[u8]),
    passage: &[u8],
) {
    let level = transaction::nest_level();
    let head = Head::new(version.index(), operation, row, prev);
    let relation = (tracked.relation_id, tracked.layout_id);
    if operation == Operation::Delete {
        reference::forgive_holes(0);
    }
    let holes = reference::take_holes();
    let is_due = with(|state| {
        state.buffer.push(level, version, relation, head, values, passage);
        if !holes.is_empty() {
            state.buffer.leave_holes(version, holes);
        }
        state.is_ending || state.buffer.is_full(level)
    });
    if is_due {
        flush_early(level);
    }
}

/// Journals what savepoint `level` wrote while statements are under way.
fn flush_early(level: i32) {
    if with(|state| state.buffer.has_holes()) && !can_fill_holes() {
        return;
    }
    let (batch, split_until) = with(|state| {
        let batch = state.buffer.take(level);
        let newest = batch.entries.iter().map(|entry| entry.version.time()).max();
        state.split_until = state.split_until.max(newest);
        (batch, state.split_until)
    });
    flush::flush(batch, split_until);
}

/// Whether all that entries refer to is there by now: before that they are not journaled.
fn can_fill_holes() -> bool {
    let holes = with(|state| state.buffer.lend_holes());
    let are_open = holes.iter().any(|(_, hole)| hole.is_new && hole.identity().is_none());
    with(|state| state.buffer.return_holes(holes, are_open));
    !are_open
}

/// Journals what triggers have just written in this savepoint: apply may have to read it next.
pub fn flush_now() {
    if !with(|state| state.buffer.is_empty()) {
        flush_early(transaction::nest_level());
    }
}

/// Journals what this transaction has written so far, as far as it is not a savepoint's that may
/// yet be rolled back. For who is about to read the journal, in a later command.
#[pg_extern(volatile)]
fn flush_capture() {
    flush_early(transaction::nest_level());
    transaction::next_command();
}

fn on_transaction(event: TransactionEvent) {
    match event {
        TransactionEvent::BeforeEnd => {
            if !with(|state| state.buffer.is_empty()) {
                flush_rest();
            }
            standing::close();
        }
        TransactionEvent::Done | TransactionEvent::RolledBack => end(),
    }
}

fn flush_rest() {
    if catalog::own_relation(c"journal").is_none() {
        // The extension was dropped in this very transaction.
        return;
    }
    let lost = with(|state| state.buffer.take_moves());
    for moved in lost {
        crate::capture::trigger_capture::deleted_on_the_way(moved);
    }
    let (batch, split_until): (Batch, _) = with(|state| {
        state.is_ending = true;
        (state.buffer.take(1), state.split_until)
    });
    flush::flush(batch, split_until);
}

/// Runs when the transaction is over: must not call Postgres, must not fail.
fn end() {
    layout::transaction_over();
    standing::forget();
    with(|state| {
        state.allocator.end_transaction();
        state.buffer.clear();
        state.emptied.clear();
        state.given.clear();
        state.stones.clear();
        state.reading = None;
        state.split_until = None;
        state.is_ending = false;
    });
}

fn on_subtransaction(event: SubtransactionEvent) {
    let level = transaction::nest_level();
    match event {
        SubtransactionEvent::BeforeRelease => {
            if with(|state| state.buffer.is_heavy()) {
                flush_early(level);
            }
        }
        SubtransactionEvent::Released => with(|state| state.buffer.released(level)),
        SubtransactionEvent::RolledBack => {
            let lost_layouts = layout::rolled_back();
            with(|state| {
                state.buffer.rolled_back(level);
                state.allocator.lost_locks();
                if lost_layouts {
                    state.allocator.close_frames();
                }
                state.emptied.clear();
            });
        }
    }
}
