//! The frames of a window of the journal, in the order in which their transactions ended.
//!
//! The order is found over narrow rows (a sort that spills to disk by itself); the bytes are
//! fetched for one part at a time, by primary key: beneath SQL, since frames never change.

use std::collections::VecDeque;

use syncjournal_core::snapshot::Window;
use syncjournal_core::{RelationLayout, Version};

use super::request::Request;
use super::source::{FrameSource, SourceFrame};
use crate::error::corrupted;
use crate::journal::FrameIds;
use crate::pg::query::{self, Arg, Cursor, Row, View};

/// Narrow rows read at a time.
const BATCH: i64 = 1_000;

/// Order: the last position at which a transaction wrote is nearest its commit. Of two
/// transactions that touched one row, the later wrote its part only after the earlier had ended.
const FRAMES: &str = "select j.frame, j.xid, \
        pg_catalog.max(j.lsn) over (partition by j.xid) as ended, j.layout, j.entries, \
        pg_catalog.octet_length(j.data) \
    from syncjournal.journal j \
    where (j.xid >= $1::xid8 and j.xid < $2::xid8 and j.xid <> all ($3::xid8[]) \
            or j.xid = any ($4::xid8[])) \
        and (j.origin <> $5 or j.xid < $7::xid8) and j.layout = any ($6::int4[]) \
    order by ended, j.xid, j.frame";

/// Reads a window.
#[derive(Debug)]
pub struct WindowSource {
    cursor: Cursor,
    batch: VecDeque<SourceFrame>,
    exhausted: bool,
}

impl WindowSource {
    pub fn open(request: &Request) -> Self {
        let window = request.from.window(&request.to);
        let Window { begin, end, running, late } = &window;
        let args = [
            begin.to_string(),
            end.to_string(),
            array(running),
            array(late),
            array(&selected_layouts(request)),
        ];
        let cursor = Cursor::open(
            FRAMES,
            &[
                Arg::Text(&args[0]),
                Arg::Text(&args[1]),
                Arg::Text(&args[2]),
                Arg::Text(&args[3]),
                Arg::Int2(request.peer.peer_id),
                Arg::Text(&args[4]),
                Arg::Text(&request.peer.resend_before),
            ],
        );
        Self { cursor, batch: VecDeque::new(), exhausted: false }
    }
}

impl FrameSource for WindowSource {
    fn next_frame(&mut self) -> Option<SourceFrame> {
        if self.batch.is_empty() && !self.exhausted {
            pgrx::check_for_interrupts!();
            let batch = &mut self.batch;
            let fetched = self.cursor.fetch(BATCH, |row| batch.push_back(narrow_frame(row)));
            self.exhausted = fetched < BATCH as u64;
        }
        self.batch.pop_front()
    }

    fn load(&mut self, frames: &mut [SourceFrame]) {
        let mut stored = FrameIds::open();
        for frame in frames {
            let bytes = stored.bytes_of(frame.id);
            frame.bytes = bytes.unwrap_or_else(|| {
                corrupted(format_args!("frame {} is in the journal no longer", frame.id)).raise()
            });
        }
    }

    fn layout(&mut self, layout_id: i32) -> RelationLayout {
        let sql = "select definition from syncjournal.relation_layout where layout_id = $1";
        let read = |row: &Row| row.bytes(1, |bytes| RelationLayout::decode(bytes).ok()).flatten();
        query::first(View::Statement, sql, &[Arg::Int4(layout_id)], read).flatten().unwrap_or_else(
            || corrupted(format_args!("layout {layout_id} is unknown or damaged")).raise(),
        )
    }

    fn close(self: Box<Self>) {
        self.cursor.close();
    }
}

fn narrow_frame(row: &Row) -> SourceFrame {
    SourceFrame {
        id: Version::from_bytes(row.uuid(1).unwrap_or_default()),
        xid: row.int8(2).unwrap_or_default() as u64,
        lsn: row.int8(3).unwrap_or_default() as u64,
        layout_id: row.int4(4).unwrap_or_default(),
        entries: u64::try_from(row.int4(5).unwrap_or_default()).unwrap_or_default(),
        len: usize::try_from(row.int4(6).unwrap_or_default()).unwrap_or_default(),
        bytes: Vec::new(),
    }
}

/// The layouts of tables that may travel.
fn selected_layouts(request: &Request) -> Vec<i32> {
    let sql = "select layout_id, schema_name, table_name from syncjournal.relation_layout";
    let mut selected = Vec::new();
    query::run(View::Statement, sql, &[], |row| {
        let (schema, table) = (row.text(2).unwrap_or_default(), row.text(3).unwrap_or_default());
        if request.selects(&schema, &table) {
            selected.extend(row.int4(1));
        }
    });
    selected
}

/// An array as SQL reads it; only for numbers and uuids.
fn array<T: ToString>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(T::to_string).collect();
    format!("{{{}}}", items.join(","))
}
