//! A piece of one table, for a first copy by several sessions that share a snapshot.
//!
//! Each chunk is a part of a full set that nobody counts: it has no number of parts, so `apply`
//! refuses it, and it says nothing of a position.

use pgrx::pg_sys::Oid;
use pgrx::prelude::*;
use syncjournal_core::Snapshot;
use syncjournal_core::frame::{FrameWriter, Head};
use syncjournal_core::limits::{FRAME_MAX_ENTRIES, FRAME_TARGET_BYTES};
use syncjournal_core::slice::{Audience, SliceId};
use syncjournal_core::wire::{Header, PartWriter};
use syncjournal_core::{Operation, RowId, Version};
use uuid::Uuid;

use super::parts::now_micros;
use super::request::Request;
use super::tables::{is_in, open_slices, write_row};
use crate::apply::references::Stored;
use crate::error::Failure;
use crate::journal;
use crate::layout::{self, Tracked};
use crate::pg::open_table::OpenTable;
use crate::pg::row_view::RowView;
use crate::pg::table_scan::TableScan;
use crate::pg::{catalog, memory, transaction};
use crate::value::PortableSettings;

/// What a chunk aims at: large enough that what is done once a chunk does not count.
const CHUNK_BYTES: usize = 1 << 20;
/// Fast; over a network halving the bytes is worth it.
const COMPRESSION_LEVEL: i32 = 1;
/// Numbers below are not of transactions: rows that have them are from before all snapshots.
const FIRST_TRANSACTION: u32 = 3;

/// The rows in some blocks of a tracked table or leaf, chunk by chunk; see sql/48_clone_source.sql.
#[pg_extern(volatile)]
fn clone_read(
    peer: Option<&str>,
    leaf: Oid,
    first_block: i64,
    end_block: Option<i64>,
    since: Option<&str>,
    compress: bool,
    hidden_since: Option<&str>,
) -> SetOfIterator<'static, Vec<u8>> {
    let request = Request::check(peer, Some("full"), None, None);
    let audience = audience(&request, leaf);
    let block = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
    let (since, hidden_since) = (since.map(parse), hidden_since.map(parse));
    SetOfIterator::new(Chunks {
        request,
        leaf,
        slices: all_slices(&audience),
        open: open_slices(&audience),
        stays: is_kept(&audience),
        next: Some(block(first_block)),
        end: end_block.map(block),
        since,
        hidden_since,
        level: compress.then_some(COMPRESSION_LEVEL),
    })
}

/// What a peer has of a tracked table or leaf, which must be something.
fn audience(request: &Request, leaf: Oid) -> Audience {
    let Some(tracked) = layout::tracked(leaf) else {
        let name = catalog::qualified_name(leaf);
        Failure::new(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("table \"{name}\" is not tracked"),
        )
        .hint("Track it by syncjournal.track(), or leave it out of the link.")
        .raise()
    };
    let definition = layout::by_id(tracked.layout_id);
    let (schema, table) = (&definition.definition.schema, &definition.definition.table);
    let audience = request.audience(request.now(), Some(tracked.relation_id), (schema, table));
    if audience == Audience::Nothing {
        Failure::new(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("peer \"{}\" may not have table \"{schema}.{table}\"", request.peer.name),
        )
        .hint("Let it: syncjournal.alter_peer(name, include => ...).")
        .raise();
    }
    audience
}

/// The slices by which a peer has a tracked table, if it has it by some alone.
pub fn slices_for(peer: Option<&str>, table: Oid) -> Option<Vec<SliceId>> {
    let request = Request::check(peer, Some("full"), None, None);
    open_slices(&audience(&request, table))
}

fn parse(snapshot: &str) -> Snapshot {
    snapshot.parse().unwrap_or_else(|error: syncjournal_core::snapshot::InvalidSnapshot| {
        Failure::new(PgSqlErrorCode::ERRCODE_INVALID_TEXT_REPRESENTATION, error.to_string())
            .hint("Give a value of type pg_snapshot.")
            .raise()
    })
}

/// All slices by which the peer has a table, locked or not.
fn all_slices(audience: &Audience) -> Option<Vec<SliceId>> {
    let Audience::Slices { slices, .. } = audience else { return None };
    Some(slices.clone())
}

/// Whether rows that leave stay, whichever of the slices they were in.
fn is_kept(audience: &Audience) -> bool {
    let Audience::Slices { slices, keep, .. } = audience else { return false };
    slices.iter().all(|slice| keep.contains(slice))
}

/// Adds that a row is in none of the peer's slices, as it stands now.
fn write_leave(tracked: &Tracked, row: &RowView<'_>, frame: &mut FrameWriter) {
    let identity = row.uuid(tracked.identity).unwrap_or_else(|| layout::missing_identity(tracked));
    let version = row.uuid(tracked.version).map_or(Version::NIL, Version::from_bytes);
    let index = u16::try_from(frame.entries()).unwrap_or(u16::MAX);
    let head = Head::new(index, Operation::Leave, RowId(identity), Version::NIL);
    frame.row(&Head { state: Some(version), ..head }, 0);
}

/// Makes the chunks as they are asked for. Nothing is open in between: each begins at a block.
struct Chunks {
    request: Request,
    leaf: Oid,
    /// Where the peer has the table by slices alone: which, and those that are not locked.
    slices: Option<Vec<SliceId>>,
    open: Option<Vec<SliceId>>,
    /// Rows that leave these slices stay.
    stays: bool,
    /// Where the next chunk begins.
    next: Option<u32>,
    end: Option<u32>,
    since: Option<Snapshot>,
    /// Rows that an earlier reading may have met in the peer's slices, and that are in them no more, are
    /// told of: those changed since this one.
    hidden_since: Option<Snapshot>,
    level: Option<i32>,
}

/// What is being written of a chunk.
#[derive(Default)]
struct Frames {
    rows: FrameWriter,
    /// Rows that left the slices: they have frames of their own.
    leaves: FrameWriter,
}

/// Why a frame is given out.
enum Filled {
    /// It is full.
    Frame,
    /// The chunk is, and another block has begun.
    Chunk,
    /// There are no more rows.
    All,
}

impl Iterator for Chunks {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        while let Some(first) = self.next {
            let mut writer = PartWriter::default();
            self.next = memory::scratch(|| self.read(first, &mut writer));
            if writer.entries() > 0 {
                return Some(writer.finish(self.header(), self.level));
            }
        }
        None
    }
}

impl Chunks {
    /// Reads whole blocks until the chunk is full; says where the next one begins.
    fn read(&self, first: u32, writer: &mut PartWriter) -> Option<u32> {
        let tracked = layout::tracked(self.leaf)?;
        let waiting = Stored::of(&tracked);
        let key = i64::from(tracked.layout_id);
        writer.add_layout(key, layout::by_id(tracked.layout_id).definition.clone());
        writer.begin(0, transaction::wal_insert_position());
        let _settings = PortableSettings::enter();
        let mut scan = TableScan::of_blocks(OpenTable::for_reading(self.leaf), first, self.end);
        let (mut block, mut frames) = (first, Frames::default());
        let rest = loop {
            pgrx::check_for_interrupts!();
            let may_end = writer.len() >= CHUNK_BYTES;
            let filled = memory::scratch(|| {
                self.fill(&mut scan, (&tracked, &waiting), &mut frames, may_end.then_some(block))
            });
            block = scan.block();
            for frame in [&mut frames.rows, &mut frames.leaves] {
                if !frame.is_empty() {
                    let entries = u64::from(frame.entries());
                    let (id, bytes) = frame.finish(journal::fresh_prefix());
                    writer.frame(key, id, entries, &bytes);
                }
            }
            match filled {
                Filled::Frame => {}
                Filled::Chunk => break Some(block),
                Filled::All => break None,
            }
        };
        writer.end();
        scan.close();
        rest
    }

    /// Fills a frame; not with rows behind the block `last`, if one is given.
    fn fill(
        &self,
        scan: &mut TableScan,
        row: (&Tracked, &Stored),
        frames: &mut Frames,
        last: Option<u32>,
    ) -> Filled {
        let has_room = |frame: &FrameWriter| {
            frame.len() < FRAME_TARGET_BYTES && (frame.entries() as usize) < FRAME_MAX_ENTRIES
        };
        while has_room(&frames.rows) && has_room(&frames.leaves) {
            if !scan.advance() {
                return Filled::All;
            }
            if last.is_some_and(|last| scan.block() > last) {
                return Filled::Chunk;
            }
            let slices = &self.slices;
            if slices.as_ref().is_some_and(|slices| !is_in(row.0, &scan.row(), slices)) {
                let since = self.hidden_since.as_ref().filter(|_| !self.stays);
                if since.is_some_and(|since| !self.is_seen(since, scan.writer())) {
                    write_leave(row.0, &scan.row(), &mut frames.leaves);
                }
                continue;
            }
            let since = self.since.as_ref();
            let is_new = since.is_none_or(|since| !self.is_seen(since, scan.writer()));
            let open = self.open.as_ref();
            if is_new && open.is_none_or(|open| is_in(row.0, &scan.row(), open)) {
                write_row(row, scan.row(), &mut frames.rows);
            }
        }
        Filled::Frame
    }

    /// Whether an earlier reading under `since` has met the row where it stands now. Numbers of
    /// subtransactions stand in rows too, and are in no snapshot: all above its lower end may be new.
    fn is_seen(&self, since: &Snapshot, writer: u32) -> bool {
        if writer < FIRST_TRANSACTION {
            return true;
        }
        let now = self.request.to.xmax();
        let number = now & !u64::from(u32::MAX) | u64::from(writer);
        let number = if number > now { number.saturating_sub(1 << 32) } else { number };
        number < since.xmin()
    }

    fn header(&self) -> Header {
        let Request { peer, mode, source, to, .. } = &self.request;
        Header {
            set_id: Uuid::new_v4(),
            part: 1,
            parts: 0,
            mode: *mode,
            source: source.clone(),
            destination: peer.name.clone(),
            destination_id: peer.node_id,
            from: Snapshot::empty(),
            to: to.clone(),
            received: None,
            terms: self.request.terms.clone(),
            include: Vec::new(),
            exclude: Vec::new(),
            created_at: now_micros(),
            resumes: false,
            continues: false,
            layouts: Vec::new(),
            transactions: 0,
            frames: 0,
            entries: 0,
        }
    }
}
