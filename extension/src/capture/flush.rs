//! From the buffer to the journal: entries are sorted into frames.

use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use syncjournal_core::frame::{FrameWriter, Head};
use syncjournal_core::slice::{Reach, put_passage};
use syncjournal_core::{HybridTime, Operation, RowId, Version, limits};

use crate::capture::buffer::{Batch, Pending};
use crate::error::Failure;
use crate::journal::{Appender, FrameRow, tombstone};
use crate::pg::catalog;
use crate::pg::reference::Hole;

/// An upper bound of what stands in front of an entry's values.
const HEAD_BYTES: usize = 48;

/// Journals a batch. `split_until`: frames of up to this time are split where an index is missing,
/// since that entry may still come: of a statement that is under way while a trigger of its own
/// made others. Then each row's entries have ascending frame ids whatever comes later.
pub fn flush(mut batch: Batch, split_until: Option<HybridTime>) {
    if batch.entries.is_empty() {
        return;
    }
    if let Some(hole) = batch.fill_holes() {
        lost_parent(&hole);
    }
    let mut entries = std::mem::take(&mut batch.entries);
    // Nearly always in order already: only nested triggers come before the outer statement.
    entries.sort_by_key(|entry| entry.version);
    let mut appender = Appender::open();
    let mut writer = FrameWriter::default();
    let mut reach = Vec::new();
    let mut last: Option<&Pending> = None;
    for entry in &entries {
        let (values, passage) = (batch.values(entry), batch.passage(entry));
        let size = writer.len() + reach.len() + HEAD_BYTES + values.len() + passage.len();
        if let Some(before) = last
            && ends_frame(before, entry, size, split_until)
        {
            finish(&mut appender, &mut writer, &mut reach, before);
        }
        add_passage(&mut reach, writer.entries(), passage);
        writer.encoded(&entry.head, entry.count, values);
        last = Some(entry);
    }
    if let Some(before) = last {
        finish(&mut appender, &mut writer, &mut reach, before);
    }
    appender.flush();
    tombstone::bury(entries.iter().filter_map(fate));
    let truncates = entries.iter().filter(|entry| entry.head.operation == Operation::Truncate);
    tombstone::record(truncates.map(|entry| (entry.relation_id, entry.version)));
}

/// What an entry says of the row's tombstone, if anything. A row whose own identity is the nil uuid
/// leaves none: that one would tell of a truncation.
fn fate(entry: &Pending) -> Option<(i32, RowId, Option<Version>)> {
    let Head { operation, row, prev, .. } = entry.head;
    let stone = match operation {
        Operation::Delete if row != RowId::NIL => Some(entry.version),
        Operation::Truncate => Some(entry.version),
        Operation::Insert if !prev.is_nil() => None,
        _ => return None,
    };
    Some((entry.relation_id, row, stone))
}

fn ends_frame(
    before: &Pending,
    entry: &Pending,
    size: usize,
    split_until: Option<HybridTime>,
) -> bool {
    let (last, next) = (before.version, entry.version);
    let is_hole = next.index() != last.index() + 1;
    last.prefix() != next.prefix()
        || before.layout_id != entry.layout_id
        || size > limits::FRAME_TARGET_BYTES
        || is_hole && split_until.is_some_and(|until| next.time() <= until)
}

/// Adds what slices an entry's row was in and is in, behind those of so many others. Nothing as long
/// as no entry of the frame is of a table with slices.
fn add_passage(reach: &mut Vec<u8>, others: u32, passage: &[u8]) {
    if reach.is_empty() && !passage.is_empty() {
        reach.push(Reach::PASSAGES_BEGIN);
        (0..others).for_each(|_| put_passage(reach, &[], &[]));
    }
    match (reach.is_empty(), passage.is_empty()) {
        (true, _) => {}
        (false, true) => put_passage(reach, &[], &[]),
        (false, false) => reach.extend_from_slice(passage),
    }
}

/// Writes the frame to which `entry` was the last to be added.
fn finish(appender: &mut Appender, writer: &mut FrameWriter, reach: &mut Vec<u8>, entry: &Pending) {
    let entries = writer.entries();
    let (id, data) = writer.finish(entry.version);
    check_size(id, &data);
    let layout_id = entry.layout_id;
    let frame =
        FrameRow { id, layout_id, origin: 0, entries, data: &data, reach: reach.as_slice() };
    appender.append(&frame);
    reach.clear();
}

/// What a row refers to is not there, nor will be.
pub fn lost_parent(hole: &Hole) -> ! {
    let Hole { column, parent, told, .. } = hole;
    let table = catalog::qualified_name(parent.relid);
    Failure::new(
        PgSqlErrorCode::ERRCODE_FOREIGN_KEY_VIOLATION,
        format!("the row of table \"{table}\" that column \"{column}\" refers to does not exist"),
    )
    .detail(format!("{told} is not present in table \"{table}\"."))
    .hint(
        "Keys of that table are local, so the column travels as the identity of the row: insert it \
            in the same transaction, or set the column null.",
    )
    .raise()
}

fn check_size(id: Version, data: &[u8]) {
    if data.len() as u64 > limits::FRAME_MAX_BYTES {
        Failure::new(
            PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            "the change of one row is too large for the journal",
        )
        .detail(format!(
            "Entry {id} takes {} bytes, {} are possible.",
            data.len(),
            limits::FRAME_MAX_BYTES
        ))
        .hint("Change fewer large columns at a time, or leave them out by exclude_columns.")
        .raise();
    }
}
