//! Sync sets: encode and decode is the identity; any truncated or altered byte is an error, never
//! a panic or a large allocation.

use proptest::prelude::*;
use syncjournal_core::operations::{Operations, Restriction};
use syncjournal_core::wire::{
    Header, Mode, NodeInfo, PartWriter, Record, SetError, SetPart, Terms,
};
use syncjournal_core::{Column, Format, HybridTime, RelationLayout, Snapshot, Version};
use uuid::Uuid;

fn layout(table: &str) -> RelationLayout {
    let column = |name: &str, format| Column {
        name: name.into(),
        type_schema: "pg_catalog".into(),
        type_name: "text".into(),
        format,
    };
    RelationLayout {
        schema: "public".into(),
        table: table.into(),
        identity: "sync_id".into(),
        columns: vec![column("a", Format::Binary), column("b", Format::Text)],
    }
}

fn terms() -> Terms {
    let pattern = "*.audit_*".parse().expect("a pattern");
    let operations = Operations::from_words(["insert", "truncate"]).expect("known words");
    let restrictions = vec![Restriction { pattern, operations }];
    Terms { switched_off: true, rank: Some(-7), restrictions }
}

fn header(part: u32) -> Header {
    Header {
        set_id: Uuid::from_u128(77),
        part,
        parts: 9,
        mode: Mode::Changes,
        source: NodeInfo {
            node_id: Uuid::from_u128(1),
            name: "hq".into(),
            tag: 5,
            system_identifier: u64::MAX,
        },
        destination: "branch".into(),
        destination_id: Some(Uuid::from_u128(2)),
        from: Snapshot::empty(),
        to: "10:20:11,15".parse().expect("snapshot"),
        received: Some("3:9:4".parse().expect("snapshot")),
        include: vec!["public.*".into()],
        exclude: vec!["public.audit_*".into()],
        created_at: 1_700_000_000_000_000,
        resumes: false,
        continues: true,
        terms: terms(),
        layouts: Vec::new(),
        transactions: 0,
        frames: 0,
        entries: 0,
    }
}

type Frame = (u8, u64, Vec<u8>);

fn transactions() -> impl Strategy<Value = Vec<Vec<Frame>>> {
    let frame = (0u8..3, 1u64..100, prop::collection::vec(any::<u8>(), 0..300));
    prop::collection::vec(prop::collection::vec(frame, 0..4), 0..5)
}

fn id(number: usize) -> Version {
    Version::new(HybridTime(number as u64 + 1), 1, 2, 3)
}

fn write(transactions: &[Vec<Frame>], level: Option<i32>) -> Vec<u8> {
    let mut writer = PartWriter::default();
    for (xid, frames) in transactions.iter().enumerate() {
        writer.begin(xid as u64, 100 + xid as u64);
        for (number, (table, entries, bytes)) in frames.iter().enumerate() {
            let key = i64::from(*table);
            if !writer.has_layout(key) {
                writer.add_layout(key, layout(&format!("t{table}")));
            }
            writer.frame(key, id(number), *entries, bytes);
        }
        writer.end();
    }
    writer.finish(header(3), level)
}

fn read(bytes: &[u8]) -> Result<(Header, Vec<Vec<Frame>>), SetError> {
    let part = SetPart::parse(bytes)?;
    let mut transactions: Vec<Vec<Frame>> = Vec::new();
    let mut records = part.records()?;
    while let Some(record) = records.next_record()? {
        match record {
            Record::Begin { xid, lsn } => {
                assert_eq!((xid, lsn), (transactions.len() as u64, 100 + xid));
                transactions.push(Vec::new());
            }
            Record::Frame { layout, id: frame, entries, bytes } => {
                let table = &part.header.layouts[layout].table;
                let frames = transactions.last_mut().expect("within a transaction");
                assert_eq!(frame, id(frames.len()));
                frames.push((table[1..].parse().expect("t0 to t2"), entries, bytes.to_vec()));
            }
            Record::End => {}
        }
    }
    Ok((part.header, transactions))
}

proptest! {
    #[test]
    fn what_was_written_is_read(transactions in transactions(), packed: bool) {
        let bytes = write(&transactions, packed.then_some(1));
        let (found, read) = read(&bytes).expect("a set");
        prop_assert_eq!(&read, &transactions);
        let frames = transactions.iter().map(|frames| frames.len() as u64).sum::<u64>();
        let entries = transactions.iter().flatten().map(|frame| frame.1).sum::<u64>();
        prop_assert_eq!((found.frames, found.entries), (frames, entries));
        let layouts = found.layouts.clone();
        let transactions = found.transactions;
        prop_assert_eq!(Header { layouts, transactions, frames, entries, ..header(3) }, found);
    }

    #[test]
    fn an_altered_byte_is_an_error(
        transactions in transactions(), packed: bool, at in any::<prop::sample::Index>(), by in 1u8..,
    ) {
        let mut bytes = write(&transactions, packed.then_some(1));
        let at = at.index(bytes.len());
        bytes[at] ^= by;
        prop_assert!(read(&bytes).is_err());
    }

    #[test]
    fn a_truncated_set_is_an_error(
        transactions in transactions(), packed: bool, cut in any::<prop::sample::Index>(),
    ) {
        let bytes = write(&transactions, packed.then_some(1));
        prop_assert!(read(&bytes[..cut.index(bytes.len())]).is_err());
    }

    /// Damage that a hostile sender covers with a right checksum: an error or a set, no panic.
    #[test]
    fn a_forged_checksum_does_not_panic(
        transactions in transactions(), packed: bool,
        at in any::<prop::sample::Index>(), by in 1u8.., longer in 0usize..3,
    ) {
        let mut bytes = write(&transactions, packed.then_some(1));
        bytes.truncate(bytes.len() - 16);
        let at = at.index(bytes.len());
        bytes[at] ^= by;
        bytes.extend(std::iter::repeat_n(at as u8, longer));
        let sum = xxhash_rust::xxh3::xxh3_128(&bytes).to_be_bytes();
        bytes.extend_from_slice(&sum);
        if let Ok(part) = SetPart::parse(&bytes)
            && let Ok(mut records) = part.records()
        {
            while let Ok(Some(_)) = records.next_record() {}
        }
    }

    #[test]
    fn any_bytes_are_a_set_or_an_error(bytes: Vec<u8>) {
        prop_assert!(read(&bytes).is_err());
    }
}

#[test]
fn a_newer_format_is_told_apart() {
    let mut bytes = write(&[], None);
    bytes[8] = 3;
    assert!(matches!(read(&bytes), Err(SetError::NewerFormat { found: 3, supported: 2 })));
}

/// A claimed length of a gigabyte costs nothing when the bytes are not there.
#[test]
fn a_lie_about_a_length_does_not_allocate() {
    let mut writer = PartWriter::default();
    writer.begin(0, 100);
    writer.add_layout(0, layout("t"));
    writer.frame(0, id(0), 1, &[7; 200]);
    writer.end();
    let mut bytes = writer.finish(header(1), None);
    bytes.truncate(bytes.len() - 16);
    let at = bytes.len() - 203;
    assert_eq!(&bytes[at..at + 2], &[0xc8, 1], "the frame's length");
    // Nearly 1 GiB, in the place of the two bytes of 200.
    bytes.splice(at..at + 2, [0xff, 0xff, 0xff, 0xff, 3]);
    let body = u64::from_le_bytes(bytes[16..24].try_into().expect("eight")) + 3;
    bytes[16..24].copy_from_slice(&body.to_le_bytes());
    bytes[24..32].copy_from_slice(&body.to_le_bytes());
    let sum = xxhash_rust::xxh3::xxh3_128(&bytes).to_be_bytes();
    bytes.extend_from_slice(&sum);
    assert!(matches!(read(&bytes), Err(SetError::Damaged(_))));
}
