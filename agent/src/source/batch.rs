//! Sync sets of what the stream brings.
//!
//! Transactions are gathered into one part until it is large enough or nothing more is waiting. A
//! transaction that does not fit runs on into further parts (`continues`), which are applied in
//! one transaction of the target; so neither end holds it in memory.

use super::journal_row::JournalRow;
use crate::config::Flow;
use crate::replication::Lsn;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use syncjournal_core::limits::PART_TARGET_BYTES;
use syncjournal_core::wire::{Header, Mode, NodeInfo, PartWriter, Terms};
use syncjournal_core::{RelationLayout, Snapshot, Version};
use uuid::Uuid;

/// zstd's level for sets of the stream: the fast end, since it lies in the way of every row.
const STREAM_LEVEL: i32 = 1;
/// Smaller bodies travel plain: compressing them costs more time than the bytes do.
const COMPRESS_FROM_BYTES: usize = 16 * 1024;

/// Where a part was cut off.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) data: Vec<u8>,
    pub(crate) entries: u64,
    /// The next part goes on with the same transaction: both belong in one at the target.
    pub(crate) continues: bool,
}

/// A part in the making.
#[derive(Debug)]
pub(crate) struct Batch {
    writer: PartWriter,
    source: NodeInfo,
    destination: (String, Uuid),
    lists: (Vec<String>, Vec<String>),
    terms: Terms,
    set_id: Uuid,
    part: u32,
    /// The transaction that is open in this part: xid and place.
    open: Option<(u64, u64)>,
    /// The first transaction of this part began in the part before.
    resumes: bool,
    /// The end of the last transaction that is complete.
    end: Lsn,
    /// zstd, unless both ends are on this machine.
    level: Option<i32>,
}

impl Batch {
    pub(crate) fn new(flow: &Flow, source: NodeInfo, target: Uuid, local: bool) -> Self {
        Self {
            writer: PartWriter::default(),
            source,
            destination: (flow.target.name.clone(), target),
            lists: (flow.include.clone(), flow.exclude.clone()),
            terms: Terms::default(),
            set_id: Uuid::new_v4(),
            part: 1,
            open: None,
            resumes: false,
            end: Lsn::default(),
            level: (!local).then_some(STREAM_LEVEL),
        }
    }

    /// What is said from the next part on.
    pub(crate) fn set_terms(&mut self, terms: &Terms) {
        self.terms.clone_from(terms);
    }

    /// Adds a frame that may pass.
    pub(crate) fn add(&mut self, row: &JournalRow, layout: &Arc<RelationLayout>) {
        self.add_as(row, layout, (row.frame, row.entries, &row.data));
    }

    /// Adds what may pass of a frame: its id, its entries and its bytes.
    pub(crate) fn add_as(
        &mut self,
        row: &JournalRow,
        layout: &Arc<RelationLayout>,
        (id, entries, data): (Version, u64, &[u8]),
    ) {
        if self.open.is_none() {
            self.writer.begin(row.xid, row.lsn);
            self.open = Some((row.xid, row.lsn));
        }
        let key = i64::from(row.layout);
        if !self.writer.has_layout(key) {
            self.writer.add_layout(key, RelationLayout::clone(layout));
        }
        self.writer.frame(key, id, entries, data);
    }

    /// The source's transaction ends here.
    pub(crate) fn commit(&mut self, end: Lsn) {
        if self.open.take().is_some() {
            self.writer.end();
        }
        self.end = self.end.max(end);
    }

    /// Everything before this place is in this batch or in one before it.
    pub(crate) fn reached(&mut self, place: Lsn) {
        self.end = self.end.max(place);
    }

    pub(crate) fn end(&self) -> Lsn {
        self.end
    }

    pub(crate) fn is_full(&self) -> bool {
        self.writer.len() >= PART_TARGET_BYTES
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.writer.is_empty()
    }

    /// The last transaction has not ended yet.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Makes the part. The last one of a set takes the target from `from` to `to`; within a
    /// transaction there is no position to be at. `received` is how far the source was with the
    /// target when it was at `to`.
    pub(crate) fn cut(
        &mut self,
        from: &Snapshot,
        to: &Snapshot,
        received: Option<Snapshot>,
    ) -> Cut {
        let continues = self.open.is_some();
        if continues {
            self.writer.end();
        }
        let header = Header {
            set_id: self.set_id,
            part: self.part,
            // How many there will be is known with the last one.
            parts: if continues { 0 } else { self.part },
            mode: Mode::Stream,
            source: self.source.clone(),
            destination: self.destination.0.clone(),
            destination_id: Some(self.destination.1),
            from: from.clone(),
            to: to.clone(),
            received,
            include: self.lists.0.clone(),
            exclude: self.lists.1.clone(),
            created_at: now_micros(),
            resumes: self.resumes,
            continues,
            terms: self.terms.clone(),
            layouts: Vec::new(),
            transactions: 0,
            frames: 0,
            entries: 0,
        };
        let entries = self.writer.entries();
        let level = self.level.filter(|_| self.writer.len() >= COMPRESS_FROM_BYTES);
        let data = self.writer.finish(header, level);
        self.resumes = continues;
        match self.open {
            Some((xid, lsn)) => {
                self.part += 1;
                self.writer.begin(xid, lsn);
            }
            None => {
                self.part = 1;
                self.set_id = Uuid::new_v4();
            }
        }
        Cut { data, entries, continues }
    }
}

fn now_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use bytes::Bytes;
    use syncjournal_core::wire::{Record, SetPart};

    fn batch() -> Batch {
        let flow = Config::example_flow();
        Batch::new(&flow, NodeInfo::default(), Uuid::from_u128(2), false)
    }

    fn row(xid: u64, bytes: usize) -> JournalRow {
        JournalRow {
            frame: Version::from_bytes([1; 16]),
            xid,
            lsn: 7,
            layout: 3,
            origin: 0,
            entries: 2,
            data: Bytes::from(vec![5; bytes]),
            reach: Bytes::new(),
        }
    }

    fn layout() -> Arc<RelationLayout> {
        Arc::new(RelationLayout {
            schema: "public".into(),
            table: "item".into(),
            identity: "id".into(),
            columns: Vec::new(),
        })
    }

    fn transactions(part: &SetPart<'_>) -> Vec<(u64, u64)> {
        let mut found: Vec<(u64, u64)> = Vec::new();
        let mut records = part.records().unwrap();
        while let Some(record) = records.next_record().unwrap() {
            match record {
                Record::Begin { xid, .. } => found.push((xid, 0)),
                Record::Frame { .. } => found.last_mut().unwrap().1 += 1,
                Record::End => {}
            }
        }
        found
    }

    #[test]
    fn small_transactions_share_a_part() {
        let mut batch = batch();
        for xid in [10, 11, 12] {
            batch.add(&row(xid, 50_000), &layout());
            batch.add(&row(xid, 10), &layout());
            batch.commit(Lsn(xid));
        }
        let (from, to) = (Snapshot::empty(), "5:5:".parse().unwrap());
        let cut = batch.cut(&from, &to, None);
        assert!(!cut.continues);
        assert_eq!(cut.entries, 12);
        let part = SetPart::parse(&cut.data).unwrap();
        assert_eq!((part.header.part, part.header.parts), (1, 1));
        assert_eq!(part.header.to, to);
        assert_eq!(transactions(&part), [(10, 2), (11, 2), (12, 2)]);
        assert!(batch.is_empty() && !batch.is_open());
    }

    #[test]
    fn a_large_transaction_runs_on() {
        let mut batch = batch();
        let position = Snapshot::empty();
        let mut cuts = Vec::new();
        for _ in 0..3 {
            while !batch.is_full() {
                batch.add(&row(20, 1 << 20), &layout());
            }
            cuts.push(batch.cut(&position, &position, None));
        }
        assert!(batch.is_open());
        batch.commit(Lsn(9));
        cuts.push(batch.cut(&position, &position, None));
        assert!(!batch.is_open());
        let parts: Vec<_> = cuts.iter().map(|cut| SetPart::parse(&cut.data).unwrap()).collect();
        let flags: Vec<_> =
            parts.iter().map(|p| (p.header.part, p.header.resumes, p.header.continues)).collect();
        assert_eq!(flags, [(1, false, true), (2, true, true), (3, true, true), (4, true, false)]);
        assert!(parts.iter().all(|part| part.header.set_id == parts[0].header.set_id));
        assert_eq!(transactions(&parts[3]), [(20, 0)]);
    }
}
