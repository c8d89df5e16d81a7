//! The present rows of the selected tables, as frames of `State` entries.
//!
//! Tables are read beneath SQL under the calling statement's snapshot, so that all of them are
//! seen at one moment, which is the position that the set leads to. Rows are read in strides of a
//! part: nothing is open between two parts.

use std::rc::Rc;

use pgrx::pg_sys::Oid;
use syncjournal_core::frame::{FrameWriter, Head};
use syncjournal_core::limits::{FRAME_MAX_ENTRIES, FRAME_TARGET_BYTES};
use syncjournal_core::slice::{Audience, SliceId};
use syncjournal_core::{Operation, RelationLayout, RowId, Version};

use super::request::Request;
use super::source::{FrameSource, SourceFrame};
use crate::apply::references::Stored;
use crate::error::corrupted;
use crate::journal;
use crate::layout::{self, Tracked};
use crate::pg::open_table::OpenTable;
use crate::pg::query::{self, View};
use crate::pg::row_view::RowView;
use crate::pg::table_scan::{RowAddress, TableScan};
use crate::pg::{memory, routing, transaction};
use crate::value::PortableSettings;

/// Reads tables one after another.
#[derive(Debug)]
pub struct TableSource {
    lsn: u64,
    /// Plain tables and leaf partitions still to be read, the present one last; where the peer has one
    /// by slices alone, which.
    tables: Vec<(Oid, Option<Vec<SliceId>>)>,
    next_row: RowAddress,
    open: Option<Stride>,
}

/// An open stride of the table at hand.
#[derive(Debug)]
struct Stride {
    scan: TableScan,
    /// Where the next stride begins.
    next_row: RowAddress,
    tracked: Rc<Tracked>,
    waiting: Stored,
    slices: Option<Vec<SliceId>>,
    _settings: PortableSettings,
}

impl TableSource {
    pub fn open(request: &Request) -> Self {
        let mut roots = Vec::new();
        let sql = "select t.relid::oid::int8, n.nspname::text, c.relname::text, t.relation_id \
            from syncjournal.tracked_relation t \
                join pg_catalog.pg_class c on c.oid = t.relid \
                join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
            order by t.relation_id desc";
        query::run(View::Statement, sql, &[], |row| {
            let name = |column| row.text(column).unwrap_or_default();
            let oid = row.int8(1).and_then(|oid| u32::try_from(oid).ok()).map(Oid::from);
            let names = (name(2), name(3));
            match (oid, request.audience(request.now(), row.int4(4), (&names.0, &names.1))) {
                (None, _) | (_, Audience::Nothing) => {}
                (Some(oid), audience) => roots.push((oid, open_slices(&audience))),
            }
        });
        let mut tables = Vec::new();
        for (root, slices) in roots {
            let root = OpenTable::for_reading(root);
            let leaves = match root.is_partitioned() {
                true => routing::leaves(&root),
                false => vec![root.oid()],
            };
            tables.extend(leaves.into_iter().map(|leaf| (leaf, slices.clone())));
            root.close();
        }
        Self {
            lsn: transaction::wal_insert_position(),
            tables,
            next_row: RowAddress::first(),
            open: None,
        }
    }

    /// The table at hand, open; `None` behind the last one.
    fn stride(&mut self) -> Option<&mut Stride> {
        if self.open.is_none() {
            let (table, slices) = self.tables.last().cloned()?;
            let tracked = layout::tracked(table).unwrap_or_else(|| {
                corrupted(format_args!("table {table} is tracked no longer")).raise()
            });
            let scan = TableScan::open(OpenTable::for_reading(table), self.next_row);
            let waiting = Stored::of(&tracked);
            let settings = PortableSettings::enter();
            let next_row = self.next_row;
            self.open =
                Some(Stride { scan, next_row, tracked, waiting, slices, _settings: settings });
        }
        self.open.as_mut()
    }

    fn next_table(&mut self) {
        if let Some(stride) = self.open.take() {
            stride.scan.close();
        }
        self.tables.pop();
        self.next_row = RowAddress::first();
    }

    fn frame(&self, layout_id: i32, writer: &mut FrameWriter) -> SourceFrame {
        let entries = u64::from(writer.entries());
        let (id, bytes) = writer.finish(journal::fresh_prefix());
        let len = bytes.len();
        SourceFrame { id, row: id, xid: 0, lsn: self.lsn, layout_id, entries, len, bytes }
    }
}

impl FrameSource for TableSource {
    fn next_frame(&mut self) -> Option<SourceFrame> {
        loop {
            pgrx::check_for_interrupts!();
            let mut writer = FrameWriter::default();
            let stride = self.stride()?;
            let layout_id = stride.tracked.layout_id;
            let filled = memory::scratch(|| fill(stride, &mut writer));
            if !filled {
                self.next_table();
            }
            if !writer.is_empty() {
                return Some(self.frame(layout_id, &mut writer));
            }
        }
    }

    fn load(&mut self, frames: Vec<SourceFrame>) -> Vec<SourceFrame> {
        frames
    }

    fn layout(&mut self, layout_id: i32) -> RelationLayout {
        layout::by_id(layout_id).definition.clone()
    }

    fn pause(&mut self) {
        if let Some(stride) = self.open.take() {
            self.next_row = stride.next_row;
            stride.scan.close();
        }
    }

    fn close(mut self: Box<Self>) {
        self.pause();
    }
}

/// Fills one frame; says whether the table may hold more rows.
fn fill(stride: &mut Stride, writer: &mut FrameWriter) -> bool {
    let Stride { scan, next_row, tracked, waiting, slices, .. } = stride;
    while writer.len() < FRAME_TARGET_BYTES && (writer.entries() as usize) < FRAME_MAX_ENTRIES {
        let Some(row) = scan.next_row() else { return false };
        if slices.as_ref().is_none_or(|slices| is_in(tracked, &row, slices)) {
            write_row((tracked, waiting), row, writer);
        }
        *next_row = scan.behind();
    }
    true
}

/// The slices by which the peer has a table, of those that are brought at present.
pub fn open_slices(audience: &Audience) -> Option<Vec<SliceId>> {
    let Audience::Slices { slices, locked, .. } = audience else { return None };
    Some(slices.iter().copied().filter(|slice| !locked.contains(slice)).collect())
}

/// Whether a row is in one of the slices.
pub fn is_in(tracked: &Tracked, row: &RowView<'_>, slices: &[SliceId]) -> bool {
    let here = tracked.slices.as_ref().map(|known| known.of_row(row.columns()));
    here.is_some_and(|here| here.iter().any(|slice| slices.contains(slice)))
}

/// Adds a row, as it is now.
pub fn write_row(
    (tracked, waiting): (&Tracked, &Stored),
    row: RowView<'_>,
    writer: &mut FrameWriter,
) {
    let identity = row.uuid(tracked.identity).unwrap_or_else(|| layout::missing_identity(tracked));
    let version = row.uuid(tracked.version).map_or(Version::NIL, Version::from_bytes);
    let index = u16::try_from(writer.entries()).unwrap_or(u16::MAX);
    let head = Head {
        state: Some(version),
        ..Head::new(index, Operation::State, RowId(identity), Version::NIL)
    };
    let mut out = writer.row(&head, tracked.columns.len());
    for column in &tracked.columns {
        out.value_or_null(|bytes| {
            row.encode(column, bytes) || waiting.append(RowId(identity), column, bytes)
        });
    }
}
