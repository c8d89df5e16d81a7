//! The frames of a window of the journal, in the order in which their transactions ended.
//!
//! The order is found over narrow rows, while they are read by their transactions' numbers
//! (`syncjournal_core::order`): the first parts are on their way before the rest is read. Where too
//! many rows would have to be held for that, the rest is sorted by SQL, which spills to disk by
//! itself. The bytes are fetched for one part at a time, by primary key: beneath SQL, since frames
//! never change.

use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;

use syncjournal_core::order::Order;
use syncjournal_core::slice::{self, Audience, Cut, Piece, Recipient};
use syncjournal_core::snapshot::Window;
use syncjournal_core::version::ADOPT_BACKEND;
use syncjournal_core::{RelationLayout, Version, bundle};

use super::request::{Request, Time};
use super::source::{FrameSource, SourceFrame};
use crate::error::corrupted;
use crate::journal::{FrameIds, Stored};
use crate::pg::query::{self, Arg, Cursor, Row, View};

/// Narrow rows read at a time.
const BATCH: i64 = 1_000;

/// So many narrow rows are held (some 16 MB) until their place is certain; few in debug builds, so that
/// tests come to what is behind it.
const MOST_HELD: usize = if cfg!(debug_assertions) { 1_000 } else { 200_000 };

/// By number of the transaction, as the index has them.
const BY_NUMBER: &str = "select j.frame, j.xid, j.lsn, j.layout, j.entries, \
        pg_catalog.octet_length(j.data), j.origin, j.bundled \
    from syncjournal.journal j \
    where j.xid >= $9::xid8 and j.xid < $2::xid8 \
        and (j.xid >= $1::xid8 and j.xid <> all ($3::xid8[]) or j.xid = any ($4::xid8[])) \
        and ((j.origin <> $5 or j.xid < $8::xid8) and j.layout = any ($6::int4[]) \
            or j.layout = any ($7::int4[]) or j.bundled <> '') \
    order by j.xid";

/// Order: the last position at which a transaction wrote is nearest its commit. Of two
/// transactions that touched one row, the later wrote its part only after the earlier had ended.
const FRAMES: &str = "select j.frame, j.xid, \
        pg_catalog.max(j.lsn) over (partition by j.xid) as ended, j.layout, j.entries, \
        pg_catalog.octet_length(j.data), j.origin, j.bundled \
    from syncjournal.journal j \
    where j.xid >= $9::xid8 and j.xid < $2::xid8 \
        and (j.xid >= $1::xid8 and j.xid <> all ($3::xid8[]) or j.xid = any ($4::xid8[])) \
        and ((j.origin <> $5 or j.xid < $8::xid8) and j.layout = any ($6::int4[]) \
            or j.layout = any ($7::int4[]) or j.bundled <> '') \
    order by ended, j.xid, j.frame";

/// Reads a window.
#[derive(Debug)]
pub struct WindowSource {
    cursor: Cursor,
    batch: VecDeque<SourceFrame>,
    exhausted: bool,
    order: Order<SourceFrame>,
    /// What is left is sorted by SQL.
    sorted: bool,
    window: Bounds,
    /// What the peer has of the tables, by layout and by the time of the entry.
    audiences: HashMap<(i32, Time), Audience>,
    request: Rc<Request>,
    /// What came from the peer before this transaction it may have lost.
    resend_before: u64,
}

impl WindowSource {
    pub fn open(request: &Rc<Request>) -> Self {
        let audiences = audiences(request);
        let window = Bounds::of(request, &audiences);
        let cursor = window.open(BY_NUMBER, request);
        let resend_before = request.peer.resend_before.parse().unwrap_or_default();
        Self {
            cursor,
            batch: VecDeque::new(),
            exhausted: false,
            order: Order::default(),
            sorted: false,
            window,
            audiences,
            request: Rc::clone(request),
            resend_before,
        }
    }

    /// Reads on by the transactions' numbers, until the place of some is certain.
    fn read_on(&mut self) {
        while self.batch.is_empty() && !self.exhausted {
            pgrx::check_for_interrupts!();
            let (order, wanted) = (&mut self.order, &self.window.wanted);
            let fetched = self.cursor.fetch(BATCH, |row| {
                narrow_frames(row, wanted, |frame| {
                    order.push((frame.xid, frame.lsn), writer(row, frame.id), frame);
                });
            });
            self.exhausted = fetched < BATCH as u64;
            if self.exhausted {
                self.order.finish();
            }
            while let Some(mut frames) = self.order.pop() {
                let ended = frames.iter().map(|frame| frame.lsn).max().unwrap_or_default();
                frames.iter_mut().for_each(|frame| frame.lsn = ended);
                frames.sort_unstable_by_key(|frame| frame.id);
                self.batch.extend(frames);
            }
            if self.order.held() > MOST_HELD {
                return self.sort_the_rest();
            }
        }
    }

    /// From here on the server sorts, all of the window.
    fn sort_the_rest(&mut self) {
        let cursor = self.window.open(FRAMES, &self.request);
        std::mem::replace(&mut self.cursor, cursor).close();
        self.sorted = true;
        self.order.forget();
    }

    fn read_sorted(&mut self) {
        while self.batch.is_empty() && !self.exhausted {
            pgrx::check_for_interrupts!();
            let (order, wanted) = (&self.order, &self.window.wanted);
            let batch = &mut self.batch;
            let fetched = self.cursor.fetch(BATCH, |row| {
                narrow_frames(row, wanted, |frame| {
                    if !order.has_given(frame.xid, frame.lsn) {
                        batch.push_back(frame);
                    }
                });
            });
            self.exhausted = fetched < BATCH as u64;
        }
    }

    /// What the peer may have of a frame.
    fn cut(&self, frame: &SourceFrame, stored: &Stored) -> Cut {
        let Stored { origin, lsn, ref reach, .. } = *stored;
        let peer_id = self.request.peer.peer_id;
        let key = (frame.layout_id, self.request.time_of(frame.xid));
        let audience = self.audiences.get(&key).unwrap_or(&Audience::Nothing);
        let is_origin = origin == peer_id && frame.xid >= self.resend_before;
        let audience = self.request.audience_at(audience, (frame.xid, lsn));
        let to = Recipient { peer_id, audience: &audience, is_origin };
        slice::cut(frame.id, &frame.bytes, reach, to)
            .unwrap_or_else(|error| corrupted(format_args!("frame {}: {error}", frame.id)).raise())
    }
}

impl FrameSource for WindowSource {
    fn next_frame(&mut self) -> Option<SourceFrame> {
        if self.sorted {
            self.read_sorted();
        } else {
            self.read_on();
        }
        self.batch.pop_front()
    }

    fn load(&mut self, frames: Vec<SourceFrame>) -> Vec<SourceFrame> {
        let mut journal = FrameIds::open();
        let mut loaded = Vec::with_capacity(frames.len());
        for mut frame in frames {
            let Some(mut stored) = journal.stored(frame.row, frame.id) else {
                corrupted(format_args!("frame {} is in the journal no longer", frame.id)).raise()
            };
            frame.bytes = std::mem::take(&mut stored.data);
            match self.cut(&frame, &stored) {
                Cut::Nothing => {}
                Cut::Whole => loaded.push(frame),
                Cut::Pieces(pieces) => {
                    let piece = |piece: Piece| frame.with(piece.id, piece.entries, piece.bytes);
                    loaded.extend(pieces.into_iter().map(piece));
                }
            }
        }
        loaded
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

/// Visits the frames of a row of the journal that may go to the peer, without their bytes.
fn narrow_frames(row: &Row, wanted: &Wanted, mut visit: impl FnMut(SourceFrame)) {
    let id = Version::from_bytes(row.uuid(1).unwrap_or_default());
    let xid = row.int8(2).unwrap_or_default() as u64;
    let origin = row.int2(7).unwrap_or_default();
    let mut entries = u64::try_from(row.int4(5).unwrap_or_default()).unwrap_or_default();
    let mut visit = |id: Version, layout_id: i32, entries: u64, len: usize, row_id: Version| {
        if wanted.has(layout_id, origin, xid) {
            let lsn = row.int8(3).unwrap_or_default() as u64;
            let bytes = Vec::new();
            visit(SourceFrame { id, row: row_id, xid, lsn, layout_id, entries, len, bytes });
        }
    };
    let mut others = Vec::new();
    row.bytes(8, |bundled| {
        for member in bundle::members(id, bundled) {
            let member = member
                .unwrap_or_else(|error| corrupted(format_args!("frame {id}: {error}")).raise());
            entries = entries.saturating_sub(u64::from(member.entries));
            others.push((
                member.id,
                member.layout_id,
                u64::from(member.entries),
                member.data.len(),
            ));
        }
    });
    let len = usize::try_from(row.int4(6).unwrap_or_default()).unwrap_or_default();
    visit(id, row.int4(4).unwrap_or_default(), entries, len, id);
    for (member, layout_id, entries, len) in others {
        visit(member, layout_id, entries, len, id);
    }
}

/// The backend of this server that wrote a frame, where its id tells that: it was made here, and its
/// version given out and not derived.
fn writer(row: &Row, id: Version) -> Option<u16> {
    let is_own = row.int2(7) == Some(0) && id.backend() < ADOPT_BACKEND;
    is_own.then_some(id.backend())
}

/// Which frames go to the peer, or are to be looked at: as the statements ask, for frames that share a row.
#[derive(Debug)]
struct Wanted {
    whole: HashSet<i32>,
    looked_at: HashSet<i32>,
    peer_id: i16,
    resend_before: u64,
}

impl Wanted {
    fn has(&self, layout_id: i32, origin: i16, xid: u64) -> bool {
        self.looked_at.contains(&layout_id)
            || self.whole.contains(&layout_id)
                && (origin != self.peer_id || xid < self.resend_before)
    }
}

/// What the statements ask by, as text.
#[derive(Debug)]
struct Bounds {
    wanted: Wanted,
    begin: String,
    end: String,
    running: String,
    late: String,
    /// Layouts of which whole frames go to the peer, and those of which each is looked at.
    whole: String,
    looked_at: String,
    /// The lowest number that may be in the window.
    least: String,
}

impl Bounds {
    fn of(request: &Request, audiences: &HashMap<(i32, Time), Audience>) -> Self {
        let Window { begin, end, running, late } = request.from.window(&request.to);
        let wanted = Wanted {
            whole: layouts(audiences, |whole| whole),
            looked_at: layouts(audiences, |whole| !whole),
            peer_id: request.peer.peer_id,
            resend_before: request.peer.resend_before.parse().unwrap_or_default(),
        };
        Self {
            begin: begin.to_string(),
            end: end.to_string(),
            running: array(&running),
            late: array(&late),
            whole: array(&wanted.whole),
            looked_at: array(&wanted.looked_at),
            wanted,
            least: late.iter().copied().chain([begin]).min().unwrap_or(begin).to_string(),
        }
    }

    fn open(&self, sql: &'static str, request: &Request) -> Cursor {
        let args = [
            Arg::Text(&self.begin),
            Arg::Text(&self.end),
            Arg::Text(&self.running),
            Arg::Text(&self.late),
            Arg::Int2(request.peer.peer_id),
            Arg::Text(&self.whole),
            Arg::Text(&self.looked_at),
            Arg::Text(&request.peer.resend_before),
            Arg::Text(&self.least),
        ];
        Cursor::open(sql, &args)
    }
}

/// What the peer has, and had, of each table that may travel, by layout.
fn audiences(request: &Request) -> HashMap<(i32, Time), Audience> {
    let sql =
        "select layout_id, schema_name, table_name, relation_id from syncjournal.relation_layout";
    let mut audiences = HashMap::new();
    query::run(View::Statement, sql, &[], |row| {
        let (schema, table) = (row.text(2).unwrap_or_default(), row.text(3).unwrap_or_default());
        for (layout, time) in
            row.int4(1).into_iter().flat_map(|id| request.times().map(move |t| (id, t)))
        {
            let audience = request.audience(time, row.int4(4), (&schema, &table));
            audiences.insert((layout, time), audience);
        }
    });
    audiences
}

/// The layouts of which whole frames go to the peer, whenever they were written, or those of which
/// each frame is to be looked at.
fn layouts(
    audiences: &HashMap<(i32, Time), Audience>,
    is_wanted: impl Fn(bool) -> bool,
) -> HashSet<i32> {
    let mut whole: HashMap<i32, (bool, bool)> = HashMap::new();
    for ((layout, _), audience) in audiences {
        let (always, ever) = whole.entry(*layout).or_insert((true, false));
        *always &= *audience == Audience::Table;
        *ever |= *audience != Audience::Nothing;
    }
    let passing = whole.into_iter().filter(|(_, (always, ever))| *ever && is_wanted(*always));
    passing.map(|(layout, _)| layout).collect()
}

/// An array as SQL reads it; only for numbers and uuids.
fn array<'a, T: ToString + 'a>(items: impl IntoIterator<Item = &'a T>) -> String {
    let items: Vec<String> = items.into_iter().map(T::to_string).collect();
    format!("{{{}}}", items.join(","))
}
