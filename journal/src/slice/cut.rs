//! What one peer may have of a frame.

use std::borrow::Cow;

use crate::decode::DecodeError;
use crate::entry::{Entry, Operation};
use crate::frame::{self, FrameWriter, Head};
use crate::slice::{Passage, Reach, SliceId};
use crate::version::Version;

/// What a peer has of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Audience {
    /// Nothing.
    #[default]
    Nothing,
    /// Every row.
    Table,
    /// The rows of some slices.
    Slices {
        slices: Vec<SliceId>,
        /// Of these, such as are not brought at present: they hold a row back, and take none away.
        locked: Vec<SliceId>,
        /// Of these, such as let a row stay that leaves them.
        keep: Vec<SliceId>,
    },
}

/// Whom a frame is cut for.
#[derive(Clone, Copy, Debug)]
pub struct Recipient<'a> {
    pub peer_id: i16,
    pub audience: &'a Audience,
    /// The frame came from this very peer.
    pub is_origin: bool,
}

/// A frame that holds some of another's entries, under their own versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub id: Version,
    pub entries: u32,
    pub bytes: Vec<u8>,
}

/// What there is for a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    Nothing,
    /// The frame as it is.
    Whole,
    /// To be laid in this order.
    Pieces(Vec<Piece>),
}

/// What becomes of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Dropped,
    Kept,
    /// The row is new to the peer: it gets it whole.
    Entered,
    /// The row goes away there.
    Left,
}

/// Cuts a frame for a peer.
///
/// # Errors
/// [`DecodeError`] where frame or reach are damaged.
pub fn cut(id: Version, bytes: &[u8], reach: &[u8], to: Recipient<'_>) -> Result<Cut, DecodeError> {
    let reach = match reach {
        [] => Reach::Table,
        _ => Reach::decode(reach)?,
    };
    match (reach, to.audience) {
        // Also what hides the last of a table.
        (Reach::Peer(peer), _) if peer == to.peer_id => Ok(Cut::Whole),
        (Reach::Peer(_) | Reach::Notice, _) | (_, Audience::Nothing) => Ok(Cut::Nothing),
        (Reach::SlicesOnly(_), Audience::Table) => Ok(Cut::Nothing),
        (_, Audience::Table) if to.is_origin => Ok(Cut::Nothing),
        (_, Audience::Table) => Ok(Cut::Whole),
        (Reach::Passages(passages) | Reach::SlicesOnly(passages), Audience::Slices { .. }) => {
            pieces(id, bytes, &passages, to)
        }
        // From before the table had slices: nobody has rows by them yet.
        (Reach::Table, Audience::Slices { .. }) => pieces(id, bytes, &[], to),
    }
}

fn pieces(
    id: Version,
    bytes: &[u8],
    passages: &[Passage],
    to: Recipient<'_>,
) -> Result<Cut, DecodeError> {
    let (mut kept, mut left) = (FrameWriter::piece(), FrameWriter::piece());
    let (nowhere, mut whole, mut last) = (Passage::default(), true, id);
    for (place, entry) in frame::entries(id, bytes).enumerate() {
        let entry = entry?;
        let fate = fate(&entry, passages.get(place).unwrap_or(&nowhere), to);
        last = id.with_index(entry.index);
        whole &= fate == Fate::Kept;
        match fate {
            Fate::Dropped => {}
            Fate::Kept if entry.operation == Operation::Leave => copy(&entry, &mut left),
            Fate::Kept => copy(&entry, &mut kept),
            Fate::Entered => enter(&entry, &mut kept),
            Fate::Left => leave(&entry, &mut left),
        }
    }
    if whole {
        return Ok(Cut::Whole);
    }
    // A row that goes and comes back is judged by versions; leaves last, so that both are known.
    let mut made = Vec::new();
    for mut writer in [kept, left] {
        if !writer.is_empty() {
            let entries = writer.entries();
            let (id, bytes) = writer.finish(last);
            made.push(Piece { id, entries, bytes });
        }
    }
    Ok(if made.is_empty() { Cut::Nothing } else { Cut::Pieces(made) })
}

fn fate(entry: &Entry<'_>, passage: &Passage, to: Recipient<'_>) -> Fate {
    let Audience::Slices { slices, locked, keep } = to.audience else { return Fate::Dropped };
    let in_any = |rows: &[SliceId]| rows.iter().any(|slice| slices.contains(slice));
    let in_open = |rows: &[SliceId]| {
        rows.iter().any(|slice| slices.contains(slice) && !locked.contains(slice))
    };
    let (was, is) = (in_open(&passage.old), in_open(&passage.new));
    let leaves = was && !in_any(&passage.new);
    let stays = || passage.old.iter().any(|slice| keep.contains(slice));
    match entry.operation {
        // Which rows it took is for each to find out, and it takes those of all slices.
        Operation::Truncate if to.is_origin || !locked.is_empty() => Fate::Dropped,
        Operation::Truncate => Fate::Kept,
        Operation::Leave if leaves && (entry.is_gone() || !stays()) => Fate::Kept,
        Operation::Update if leaves && !stays() => Fate::Left,
        _ if to.is_origin => Fate::Dropped,
        Operation::Delete if was => Fate::Kept,
        Operation::Insert | Operation::State if is => Fate::Kept,
        Operation::Update if is && was => Fate::Kept,
        Operation::Update if is => Fate::Entered,
        _ => Fate::Dropped,
    }
}

fn copy(entry: &Entry<'_>, out: &mut FrameWriter) {
    let head = Head {
        index: entry.index,
        operation: entry.operation,
        row: entry.row,
        prev: entry.prev,
        merged: entry.merged,
        state: entry.operation.names_version().then_some(entry.version),
    };
    match entry.operation {
        Operation::Update => {
            let mut out = out.update(&head, entry.values().len());
            for change in entry.changes() {
                let values = out.column(change.column);
                values.value(change.old);
                values.value(change.new);
            }
        }
        _ => {
            let mut out = out.row(&head, entry.values().len());
            entry.values().for_each(|value| out.value(value));
        }
    }
}

/// The row as the update leaves it: one by which a row enters a slice carries all columns.
fn enter(entry: &Entry<'_>, out: &mut FrameWriter) {
    let head = Head {
        state: Some(entry.version),
        ..Head::new(entry.index, Operation::State, entry.row, Version::NIL)
    };
    let columns: Vec<_> = entry.changes().map(|change| (change.column, change.new)).collect();
    let count = columns.last().map_or(0, |(column, _)| column + 1);
    let mut out = out.row(&head, count);
    let mut columns = columns.into_iter().peekable();
    for place in 0..count {
        let here = columns.next_if(|(column, _)| *column == place);
        out.value(here.and_then(|(_, value)| value));
    }
}

fn leave(entry: &Entry<'_>, out: &mut FrameWriter) {
    let head = Head {
        state: Some(entry.version),
        ..Head::new(entry.index, Operation::Leave, entry.row, entry.prev)
    };
    out.row(&head, 0);
}

impl Piece {
    /// The entries of `frame`, which a whole one has among others, that `is_wanted`.
    ///
    /// # Errors
    /// [`DecodeError`] where the frame is damaged.
    pub fn of(
        id: Version,
        bytes: &[u8],
        mut is_wanted: impl FnMut(&Entry<'_>) -> bool,
    ) -> Result<Option<Self>, DecodeError> {
        let mut out = FrameWriter::piece();
        let mut last = id;
        for entry in frame::entries(id, bytes) {
            let entry = entry?;
            if is_wanted(&entry) {
                last = id.with_index(entry.index);
                copy(&entry, &mut out);
            }
        }
        let entries = out.entries();
        Ok((entries > 0).then(|| {
            let (id, bytes) = out.finish(last);
            Self { id, entries, bytes }
        }))
    }
}

impl Cut {
    /// The frames that are to travel.
    #[must_use]
    pub fn frames<'a>(
        self,
        id: Version,
        entries: u32,
        bytes: &'a [u8],
    ) -> Vec<(Version, u32, Cow<'a, [u8]>)> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Whole => vec![(id, entries, Cow::Borrowed(bytes))],
            Self::Pieces(pieces) => pieces
                .into_iter()
                .map(|piece| (piece.id, piece.entries, Cow::Owned(piece.bytes)))
                .collect(),
        }
    }
}
