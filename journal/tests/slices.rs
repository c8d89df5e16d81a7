//! What a peer with slices is sent of frames, against a model of the sets of rows that it has.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use syncjournal_core::frame::{self, FrameWriter, Head};
use syncjournal_core::slice::{Audience, Cut, Passage, Reach, Recipient, SliceId, cut};
use syncjournal_core::{Entry, HybridTime, Operation, RowId, Version};

/// The slices that there are; each row may be in any of them.
const SLICES: SliceId = 4;
const ROWS: u8 = 6;

/// What a user does to a row: it is in these slices then, or gone.
type Step = (u8, Option<BTreeSet<SliceId>>);

/// A row at the source.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    version: Version,
    slices: BTreeSet<SliceId>,
}

/// Frames with their reaches, and the table that they lead to.
#[derive(Debug, Default)]
struct Source {
    frames: Vec<(Version, Vec<u8>, Vec<u8>)>,
    rows: BTreeMap<u8, Row>,
}

fn slices() -> impl Strategy<Value = BTreeSet<SliceId>> {
    prop::collection::btree_set(0..SLICES, 0..3)
}

/// Transactions of a few steps.
fn work() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let step = (0..ROWS, prop::option::weighted(0.8, slices()));
    prop::collection::vec(prop::collection::vec(step, 1..6), 1..12)
}

fn listed(slices: &BTreeSet<SliceId>) -> Vec<SliceId> {
    slices.iter().copied().collect()
}

impl Source {
    /// One transaction, journaled as the capture does it.
    fn commit(&mut self, number: usize, steps: &[Step]) {
        let prefix = Version::new(HybridTime(1_000 + number as u64), 7, 1, 0);
        let (mut writer, mut passages) = (FrameWriter::default(), Vec::new());
        for (index, (row, to)) in steps.iter().enumerate() {
            let index = u16::try_from(index).expect("a few steps");
            let version = prefix.with_index(index);
            let before = self.rows.get(row).cloned();
            let prev = before.as_ref().map_or(Version::NIL, |row| row.version);
            let old = before.as_ref().map(|row| listed(&row.slices)).unwrap_or_default();
            let new = to.as_ref().map(listed).unwrap_or_default();
            let payload = payload(to);
            let head = |operation| Head::new(index, operation, RowId([*row; 16]), prev);
            match (before, to) {
                (None, None) => continue,
                (None, Some(_)) => {
                    writer.row(&head(Operation::Insert), 1).value(Some(&payload));
                }
                (Some(_), None) => {
                    writer.row(&head(Operation::Delete), 1).value(Some(b"old"));
                }
                (Some(_), Some(_)) => {
                    let mut changes = writer.update(&head(Operation::Update), 1);
                    let column = changes.column(0);
                    column.value(Some(b"old"));
                    column.value(Some(&payload));
                }
            }
            passages.push(Passage { old, new });
            match to {
                Some(slices) => {
                    self.rows.insert(*row, Row { version, slices: slices.clone() });
                }
                None => {
                    self.rows.remove(row);
                }
            }
        }
        if !writer.is_empty() {
            let (id, bytes) = writer.finish(prefix);
            self.frames.push((id, bytes, Reach::Passages(passages).encode()));
        }
    }
}

/// What the row's column holds: the slices that it is in.
fn payload(slices: &Option<BTreeSet<SliceId>>) -> Vec<u8> {
    slices.iter().flatten().map(|slice| *slice as u8).collect()
}

/// What a subscriber has.
#[derive(Clone, Debug, Default, PartialEq)]
struct Subscriber(BTreeMap<u8, (Version, Vec<u8>)>);

impl Subscriber {
    /// As `apply` does it; fails where an entry does not fit what is there.
    fn take(&mut self, frames: &[(Version, Vec<u8>)]) -> Result<(), TestCaseError> {
        for (id, bytes) in frames {
            for entry in frame::entries(*id, bytes) {
                self.entry(&entry.expect("well-formed"))?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry<'_>) -> Result<(), TestCaseError> {
        let row = entry.row.0[0];
        let here = self.0.get(&row).map_or(Version::NIL, |(version, _)| *version);
        let whole = || entry.values().next().flatten().unwrap_or_default().to_vec();
        match entry.operation {
            Operation::Insert | Operation::State => {
                self.0.insert(row, (entry.version, whole()));
            }
            Operation::Update => {
                prop_assert_eq!(here, entry.prev, "an update goes on top of what is there");
                let new = entry.changes().next().and_then(|change| change.new);
                self.0.insert(row, (entry.version, new.unwrap_or_default().to_vec()));
            }
            Operation::Delete => {
                prop_assert_eq!(here, entry.prev, "a delete reaches who has the row");
                self.0.remove(&row);
            }
            // A later version has come back.
            Operation::Leave if here > entry.version => {}
            Operation::Leave => {
                self.0.remove(&row);
            }
            Operation::Truncate => prop_assert!(false, "nobody truncates here"),
        }
        Ok(())
    }
}

fn made(source: &Source, audience: &Audience) -> Vec<Vec<(Version, Vec<u8>)>> {
    let to = Recipient { peer_id: 3, audience, is_origin: false };
    let cut_one =
        |(id, bytes, reach): &(Version, Vec<u8>, Vec<u8>)| match cut(*id, bytes, reach, to)
            .expect("well-formed")
        {
            Cut::Nothing => Vec::new(),
            Cut::Whole => vec![(*id, bytes.clone())],
            Cut::Pieces(pieces) => {
                pieces.into_iter().map(|piece| (piece.id, piece.bytes)).collect()
            }
        };
    source.frames.iter().map(cut_one).collect()
}

fn entries(frames: &[(Version, Vec<u8>)]) -> Vec<Version> {
    let of = |(id, bytes): &(Version, Vec<u8>)| {
        frame::entries(*id, bytes).map(|entry| entry.expect("well-formed").version).collect()
    };
    frames.iter().flat_map(|frame| -> Vec<Version> { of(frame) }).collect()
}

proptest! {
    #[test]
    fn a_subscriber_has_the_rows_of_its_slices(work in work(), wanted in slices()) {
        let mut source = Source::default();
        for (number, steps) in work.iter().enumerate() {
            source.commit(number, steps);
        }
        let audience =
            Audience::Slices { slices: listed(&wanted), locked: Vec::new(), keep: Vec::new() };
        let mut subscriber = Subscriber::default();
        for frames in made(&source, &audience) {
            subscriber.take(&frames)?;
        }
        let expected: BTreeMap<u8, (Version, Vec<u8>)> = source
            .rows
            .iter()
            .filter(|(_, row)| !row.slices.is_disjoint(&wanted))
            .map(|(id, row)| (*id, (row.version, payload(&Some(row.slices.clone())))))
            .collect();
        prop_assert_eq!(subscriber.0, expected);
    }

    #[test]
    fn one_that_keeps_loses_deleted_rows_alone(work in work(), wanted in slices()) {
        let mut source = Source::default();
        for (number, steps) in work.iter().enumerate() {
            source.commit(number, steps);
        }
        let all = listed(&wanted);
        let audience = Audience::Slices { slices: all.clone(), locked: Vec::new(), keep: all };
        let mut has = BTreeSet::new();
        for frames in made(&source, &audience) {
            for (id, bytes) in &frames {
                for entry in frame::entries(*id, bytes) {
                    let entry = entry.expect("well-formed");
                    prop_assert_ne!(entry.operation, Operation::Leave);
                    match entry.operation {
                        Operation::Delete => has.remove(&entry.row.0[0]),
                        _ => has.insert(entry.row.0[0]),
                    };
                }
            }
        }
        for (id, row) in &source.rows {
            prop_assert!(row.slices.is_disjoint(&wanted) || has.contains(id));
        }
    }

    #[test]
    fn what_is_cut_is_sound(work in work(), wanted in slices(), locked in slices()) {
        let mut source = Source::default();
        for (number, steps) in work.iter().enumerate() {
            source.commit(number, steps);
        }
        let (slices, keep) = (listed(&wanted), Vec::new());
        let audience = Audience::Slices { slices, locked: listed(&locked), keep };
        for ((id, bytes, _), frames) in source.frames.iter().zip(made(&source, &audience)) {
            let whole = entries(&[(*id, bytes.clone())]);
            let sent = entries(&frames);
            // Nothing that the frame does not say, none twice, each piece in the frame's order.
            prop_assert!(sent.iter().all(|version| whole.contains(version)));
            prop_assert_eq!(sent.iter().collect::<BTreeSet<_>>().len(), sent.len());
            for frame in &frames {
                prop_assert!(entries(std::slice::from_ref(frame)).is_sorted());
                prop_assert_eq!(frame.0.prefix(), id.prefix());
            }
        }
        // Nothing goes by slices that are all locked, and everything to who has the table.
        let closed =
            Audience::Slices { slices: listed(&wanted), locked: listed(&wanted), keep: Vec::new() };
        prop_assert!(made(&source, &closed).iter().all(Vec::is_empty));
        let all: Vec<_> = source.frames.iter().map(|(id, bytes, _)| vec![(*id, bytes.clone())]).collect();
        prop_assert_eq!(made(&source, &Audience::Table), all);
    }
}
