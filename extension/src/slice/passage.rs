//! What comes from elsewhere goes in and out of this node's slices, too: told of by entries for peers
//! with slices alone.
//!
//! Where an entry simply goes on top of its row, what the row was in and is in stands beside its own
//! frame, as for a user's write. A row that enters a slice needs all of its columns, and one that was
//! settled may have come to something that no entry says: these follow at the end, as they are then.

use std::collections::HashMap;

use syncjournal_core::frame::{FrameWriter, Head};
use syncjournal_core::limits::FRAME_TARGET_BYTES;
use syncjournal_core::slice::{Passage, Reach, SliceId};
use syncjournal_core::{HybridTime, Operation, RowId, Version};

use crate::journal::{self, Appender, FrameRow};

/// A row at a version, and the slices that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub version: Version,
    pub slices: Vec<SliceId>,
}

/// What is to be told of rows of one table.
#[derive(Debug, Default)]
pub struct Passages {
    /// Of the entries of the frame at hand, where it is journaled after they are laid.
    frame: Option<Vec<Passage>>,
    /// Rows of which the end is to be told, as they were before.
    rows: HashMap<RowId, Told>,
}

/// A row of which the end is to be told.
#[derive(Debug)]
pub struct Told {
    /// As it was.
    pub before: Option<Standing>,
    /// Its history had parted: others may have it where it is in none of their slices.
    pub diverged: bool,
}

impl Passages {
    /// An entry was laid on its row directly: `after` is the row at the entry's version, none where
    /// it deleted it.
    pub fn laid(&mut self, row: RowId, before: Option<Standing>, after: Option<&Standing>) {
        let old = before.as_ref().map_or(&[][..], |before| &before.slices);
        let new = after.map_or(&[][..], |after| &after.slices);
        // Where the end is to be told anyway, what comes on the way to it builds on what is not sent.
        let is_put_off = self.rows.contains_key(&row);
        match &mut self.frame {
            Some(frame) if !is_put_off && new.iter().all(|slice| old.contains(slice)) => {
                frame.push(Passage { old: old.to_vec(), new: new.to_vec() });
            }
            _ => self.put_off(row, before),
        }
    }

    /// An entry did something else, or nothing: if the row has changed, it is told of at the end.
    pub fn put_off(&mut self, row: RowId, before: Option<Standing>) {
        self.left_out();
        self.changed(row, before);
    }

    /// An entry of the frame at hand is not laid.
    pub fn left_out(&mut self) {
        if let Some(frame) = &mut self.frame {
            frame.push(Passage::default());
        }
    }

    /// A frame is at hand that is journaled after its entries are laid.
    pub fn begin_frame(&mut self) {
        self.frame = Some(Vec::new());
    }

    /// A row may have changed by no entry of the frame at hand.
    pub fn changed(&mut self, row: RowId, before: Option<Standing>) {
        self.rows.entry(row).or_insert(Told { before, diverged: false });
    }

    /// A row is about to be settled.
    pub fn diverged(&mut self, row: RowId, before: Option<Standing>) {
        self.rows.entry(row).or_insert(Told { before, diverged: false }).diverged = true;
    }

    /// What stands beside the frame at hand, whose entries are laid.
    pub fn end_frame(&mut self) -> Vec<u8> {
        Reach::Passages(self.frame.take().unwrap_or_default()).encode()
    }

    /// Rows to be told of, each as it was.
    pub fn take_rows(&mut self) -> Vec<(RowId, Told)> {
        let mut rows: Vec<_> = self.rows.drain().collect();
        rows.sort_unstable_by_key(|(row, _)| *row);
        rows
    }
}

/// Writes rows that came into slices and rows that left them as frames of this node.
#[derive(Debug)]
pub struct PassageWriter {
    layout_id: i32,
    /// For one peer alone.
    peer: Option<i16>,
    /// The peer that has them already; 0: none.
    origin: i16,
    states: FrameWriter,
    leaves: FrameWriter,
    state_passages: Vec<Passage>,
    leave_passages: Vec<Passage>,
    /// The latest that an entry names as known.
    latest: HybridTime,
}

/// Versions at which who gets a row may have it, without having anything of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// What was sent last; nil: nothing.
    pub before: Version,
    /// What came from another node last, or was sent to others last; nil: nothing.
    pub foreign: Version,
}

impl PassageWriter {
    pub fn new(layout_id: i32, peer: Option<i16>, origin: i16) -> Self {
        Self {
            layout_id,
            peer,
            origin,
            states: FrameWriter::default(),
            leaves: FrameWriter::default(),
            state_passages: Vec::new(),
            leave_passages: Vec::new(),
            latest: HybridTime(0),
        }
    }

    fn head(&mut self, index: u32, operation: Operation, at: (RowId, Version, Known)) -> Head {
        let (row, version, Known { before, foreign }) = at;
        let index = u16::try_from(index).unwrap_or(u16::MAX);
        self.latest = self.latest.max(before.time()).max(foreign.time());
        Head { state: Some(version), merged: foreign, ..Head::new(index, operation, row, before) }
    }

    /// The row as it is; `write` gives the values of its columns.
    pub fn state(
        &mut self,
        row: (RowId, Version, Known),
        passage: Passage,
        columns: usize,
        mut write: impl FnMut(usize, &mut Vec<u8>) -> bool,
    ) {
        let head = self.head(self.states.entries(), Operation::State, row);
        let mut out = self.states.row(&head, columns);
        let mut payload = Vec::new();
        for column in 0..columns {
            payload.clear();
            let written = write(column, &mut payload);
            out.value(written.then_some(&payload));
        }
        self.state_passages.push(passage);
        if is_full(&self.states) {
            self.write_states();
        }
    }

    /// The row is out of slices that it was in, by this version.
    pub fn leave(&mut self, row: (RowId, Version, Known), leave: Leave) {
        let head = self.head(self.leaves.entries(), Operation::Leave, row);
        let mut out = self.leaves.row(&head, usize::from(leave.is_gone));
        if leave.is_gone {
            out.null();
        }
        self.leave_passages.push(leave.passage);
        if is_full(&self.leaves) {
            self.write_leaves();
        }
    }

    /// Journals what is left.
    pub fn finish(mut self) {
        self.write_states();
        self.write_leaves();
    }

    fn write_states(&mut self) {
        let passages = std::mem::take(&mut self.state_passages);
        let reach = self.reach(passages);
        write(&mut self.states, (self.layout_id, self.origin, self.latest), reach);
    }

    fn write_leaves(&mut self) {
        let passages = std::mem::take(&mut self.leave_passages);
        let reach = self.reach(passages);
        write(&mut self.leaves, (self.layout_id, self.origin, self.latest), reach);
    }

    fn reach(&self, passages: Vec<Passage>) -> Reach {
        self.peer.map_or(Reach::SlicesOnly(passages), Reach::Peer)
    }
}

/// What a row that goes has behind it.
#[derive(Debug)]
pub struct Leave {
    pub passage: Passage,
    /// It is deleted, and not only out of slices.
    pub is_gone: bool,
}

fn is_full(writer: &FrameWriter) -> bool {
    writer.len() >= FRAME_TARGET_BYTES || writer.entries() >= u32::from(u16::MAX)
}

/// Journals a frame of this node that no statement has made.
pub fn write(
    writer: &mut FrameWriter,
    (layout_id, origin, parents): (i32, i16, HybridTime),
    reach: Reach,
) {
    if writer.is_empty() {
        return;
    }
    let entries = writer.entries();
    let (id, data) = writer.finish(journal::fresh_prefix_after(parents));
    let reach = reach.encode();
    let frame = FrameRow { id, layout_id, origin, entries, data: &data, reach: &reach };
    let mut appender = Appender::open();
    appender.append(&frame);
    appender.flush();
}
