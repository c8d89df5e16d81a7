//! Parts of bounded size, one after another.

use std::collections::VecDeque;
use std::rc::Rc;

use syncjournal_core::limits::PART_TARGET_BYTES;
use syncjournal_core::wire::{Header, Mode, PartWriter};
use uuid::Uuid;

use super::request::Request;
use super::sent::{self, Totals};
use super::source::{FrameSource, SourceFrame};
use super::tables::TableSource;
use super::window::WindowSource;

/// Fast, and halves a journal's bytes; a higher level costs more time than it saves on a stick.
const COMPRESSION_LEVEL: i32 = 1;

/// From here on a part of a window ends with the transaction, so that the next one is made while
/// this one is applied.
const ENOUGH_FOR_A_PART: usize = 1 << 20;

/// The first part of a set whose parts are not counted ends here, each further one at twice as much: who
/// applies them need not wait for the first.
const FIRST_PART: usize = 128 << 10;

/// So many frames are remembered from the count of the parts (some 16 MB), and not read again.
const MOST_REMEMBERED: usize = 200_000;

/// What a frame adds to a part besides its bytes, roughly: head, and begin and end around it.
const FRAME_OVERHEAD: usize = 64;

/// A finished part.
#[derive(Debug)]
pub struct Part {
    pub set_id: Uuid,
    pub number: i32,
    pub parts: i32,
    pub data: Vec<u8>,
}

/// Makes the parts as they are asked for.
pub struct PartIterator {
    request: Rc<Request>,
    set_id: Uuid,
    created_at: u64,
    /// How many there are, where they were counted beforehand.
    counted: Option<u32>,
    made: u32,
    batches: Option<Batches>,
    writer: PartWriter,
    totals: Totals,
}

impl PartIterator {
    /// Of a set whose parts are not counted, only the last says how many there are. Those of a full set
    /// always are: one that says nothing is a chunk of a first copy.
    pub fn new(request: Request, counted: bool) -> Self {
        let request = Rc::new(request);
        let (counted, batches) = if counted || request.mode == Mode::Full {
            let (parts, batches) = Batches::counted(&request);
            // A set without entries is one part all the same: it carries the position.
            (Some(parts.max(1)), batches)
        } else {
            (None, Batches::growing(&request))
        };
        Self {
            set_id: Uuid::new_v4(),
            created_at: now_micros(),
            counted,
            made: 0,
            batches: Some(batches),
            writer: PartWriter::default(),
            totals: Totals::default(),
            request,
        }
    }

    /// The part that was made last is the last one.
    fn is_last(&self) -> bool {
        match self.counted {
            Some(parts) => self.made == parts,
            None => self.batches.as_ref().is_none_or(Batches::is_at_end),
        }
    }

    /// How many parts the set has; 0: that is not known yet.
    fn parts(&self) -> u32 {
        self.counted.unwrap_or(if self.is_last() { self.made } else { 0 })
    }

    fn write(&mut self, batch: Batch) -> Vec<u8> {
        let Batch { frames, resumes, continues } = batch;
        let mut open_xid = None;
        if let Some(batches) = &mut self.batches {
            for frame in &batches.source.load(frames) {
                let key = i64::from(frame.layout_id);
                if !self.writer.has_layout(key) {
                    self.writer.add_layout(key, batches.source.layout(frame.layout_id));
                }
                if open_xid != Some(frame.xid) {
                    if open_xid.is_some() {
                        self.writer.end();
                    }
                    self.writer.begin(frame.xid, frame.lsn);
                    open_xid = Some(frame.xid);
                }
                self.writer.frame(key, frame.id, frame.entries, &frame.bytes);
            }
        }
        if open_xid.is_some() {
            self.writer.end();
        }
        self.totals.entries += self.writer.entries();
        let header = self.header(resumes, continues);
        let data = self.writer.finish(header, Some(COMPRESSION_LEVEL));
        self.totals.bytes += data.len() as u64;
        data
    }

    fn header(&self, resumes: bool, continues: bool) -> Header {
        let request = &self.request;
        Header {
            set_id: self.set_id,
            part: self.made,
            parts: self.parts(),
            mode: request.mode,
            source: request.source.clone(),
            destination: request.peer.name.clone(),
            destination_id: request.peer.node_id,
            from: request.from.clone(),
            to: request.to.clone(),
            received: request.received.clone(),
            include: request.include.clone(),
            exclude: request.exclude.clone(),
            created_at: self.created_at,
            resumes,
            continues,
            terms: request.terms.clone(),
            layouts: Vec::new(),
            transactions: 0,
            frames: 0,
            entries: 0,
        }
    }
}

impl Iterator for PartIterator {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        let batch = self.batches.as_mut()?.next_batch();
        if batch.is_none() && self.made > 0 {
            self.batches.take()?.close();
            return None;
        }
        self.made += 1;
        let data = self.write(batch.unwrap_or_default());
        if self.is_last() {
            sent::record(&self.request, self.set_id, self.made, self.totals);
        }
        let number = i32::try_from(self.made).unwrap_or(i32::MAX);
        let parts = i32::try_from(self.parts()).unwrap_or(i32::MAX);
        Some(Part { set_id: self.set_id, number, parts, data })
    }
}

fn open(request: &Rc<Request>) -> Box<dyn FrameSource> {
    match request.mode {
        Mode::Full => Box::new(TableSource::open(request)),
        Mode::Changes | Mode::Stream => Box::new(WindowSource::open(request)),
    }
}

/// The frames of one part.
#[derive(Debug, Default)]
struct Batch {
    frames: Vec<SourceFrame>,
    resumes: bool,
    continues: bool,
}

/// Cuts the frames of a source into batches: between transactions, and within one only where it
/// alone is larger than a part. Both readings of a set cut alike.
struct Batches {
    source: Box<dyn FrameSource>,
    /// Read already, and for the next batch.
    pending: VecDeque<SourceFrame>,
    last_xid: u64,
    /// How large parts are at most.
    most: usize,
    /// All that are left, where they are few enough to be remembered.
    counted: Option<VecDeque<Batch>>,
}

impl Batches {
    fn new(request: &Rc<Request>) -> Self {
        let mut source = open(request);
        let pending = source.next_frame().into_iter().collect();
        Self { source, pending, last_xid: 0, most: PART_TARGET_BYTES, counted: None }
    }

    /// The first ones small.
    fn growing(request: &Rc<Request>) -> Self {
        Self { most: FIRST_PART, ..Self::new(request) }
    }

    /// Nothing is left.
    fn is_at_end(&self) -> bool {
        self.pending.is_empty() && self.counted.as_ref().is_none_or(VecDeque::is_empty)
    }

    /// How many there are, and they themselves.
    fn counted(request: &Rc<Request>) -> (u32, Self) {
        let mut batches = Self::new(request);
        let (mut count, mut frames) = (0, 0);
        let mut remembered = VecDeque::new();
        while let Some(batch) = batches.cut() {
            count += 1;
            frames += batch.frames.len();
            // Frames of a full set come with their bytes.
            if request.mode == Mode::Full || frames > MOST_REMEMBERED {
                remembered.clear();
            } else {
                remembered.push_back(batch);
            }
        }
        if remembered.len() == count as usize {
            batches.counted = Some(remembered);
            return (count, batches);
        }
        batches.close();
        (count, Self::new(request))
    }

    fn next_batch(&mut self) -> Option<Batch> {
        match &mut self.counted {
            Some(counted) => counted.pop_front(),
            None => self.cut(),
        }
    }

    fn cut(&mut self) -> Option<Batch> {
        let mut frames = Vec::from(std::mem::take(&mut self.pending));
        // Rows read as they are now belong to no transaction (number 0).
        let first_xid = frames.first()?.xid;
        let resumes = first_xid != 0 && first_xid == self.last_xid;
        let mut bytes = frames.iter().map(size_in_part).sum::<usize>();
        while let Some(frame) = self.source.next_frame() {
            bytes += size_in_part(&frame);
            let begins = frame.xid != 0 && frames.last().is_some_and(|last| last.xid != frame.xid);
            if bytes > self.most || begins && bytes > ENOUGH_FOR_A_PART {
                self.pending = whole_transactions(&mut frames, &frame);
                self.pending.push_back(frame);
                break;
            }
            frames.push(frame);
        }
        self.source.pause();
        self.most = PART_TARGET_BYTES.min(2 * self.most);
        self.last_xid = frames.last().map_or(0, |frame| frame.xid);
        let goes_on = |next: &SourceFrame| next.xid != 0 && next.xid == self.last_xid;
        let continues = self.pending.front().is_some_and(goes_on);
        Some(Batch { frames, resumes, continues })
    }

    fn close(self) {
        self.source.close();
    }
}

fn size_in_part(frame: &SourceFrame) -> usize {
    frame.len + FRAME_OVERHEAD
}

/// Takes the last transaction off `frames` where `next` goes on with it and others stand before it.
fn whole_transactions(frames: &mut Vec<SourceFrame>, next: &SourceFrame) -> VecDeque<SourceFrame> {
    let before = frames.iter().rposition(|frame| next.xid == 0 || frame.xid != next.xid);
    before.map_or_else(VecDeque::new, |last| frames.split_off(last + 1).into())
}

/// Microseconds since 1970.
pub fn now_micros() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
