//! The bytes of each format, committed: whatever changes, they are read for ever, and read the same.
//!
//! `UPDATE_GOLDEN=1 cargo test -p syncjournal-core --test golden_set` writes the file anew; that is
//! right only before a format has been released.

use std::fmt::Write as _;
use std::path::PathBuf;

use syncjournal_core::frame::{self, FrameWriter, Head};
use syncjournal_core::operations::{Operations, Restriction};
use syncjournal_core::wire::{Header, Mode, NodeInfo, PartWriter, Record, SetPart, Terms};
use syncjournal_core::{Column, Format, HybridTime, Operation, RelationLayout, RowId, Version};
use uuid::Uuid;

fn file(format: u16) -> PathBuf {
    let name = format!("tests/golden/format-{format}.sjset");
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn layout() -> RelationLayout {
    let column = |name: &str, type_name: &str, format| Column {
        name: name.into(),
        type_schema: "pg_catalog".into(),
        type_name: type_name.into(),
        format,
    };
    RelationLayout {
        schema: "shop".into(),
        table: "item".into(),
        identity: "sync_id".into(),
        columns: vec![
            column("id", "int4", Format::Binary),
            column("label", "text", Format::Binary),
            column("kind", "regtype", Format::Text),
        ],
    }
}

/// One entry of every operation.
fn frame() -> (Version, Vec<u8>) {
    let prefix = Version::new(HybridTime::from_unix_micros(1_700_000_000_000_000), 77, 4, 0);
    let older = Version::new(HybridTime::from_unix_micros(1_600_000_000_000_000), 78, 5, 6);
    let row = RowId([0x11; 16]);
    let mut writer = FrameWriter::default();
    let mut values = writer.row(&Head::new(2, Operation::Insert, row, Version::NIL), 3);
    values.value(Some(&[0, 0, 0, 9]));
    values.value(Some("größer".repeat(40).as_bytes()));
    values.null();
    let mut changes = writer.update(&Head::new(3, Operation::Update, row, prefix.with_index(2)), 1);
    let change = changes.column(1);
    change.value(Some(b"old"));
    change.null();
    let mut values = writer.row(&Head::new(7, Operation::Delete, row, older), 3);
    (0..3).for_each(|_| values.null());
    writer.row(&Head::new(8, Operation::Truncate, RowId::NIL, Version::NIL), 0);
    let state = Head { state: Some(older), ..Head::new(9, Operation::State, row, Version::NIL) };
    let mut values = writer.row(&state, 3);
    (0..3).for_each(|_| values.value(Some(b"")));
    writer.finish(prefix)
}

fn part(terms: Terms) -> Vec<u8> {
    let mut writer = PartWriter::default();
    writer.begin(1_234, 0x16_B374_8000);
    writer.add_layout(0, layout());
    let (id, bytes) = frame();
    writer.frame(0, id, 5, &bytes);
    writer.end();
    let header = Header {
        set_id: Uuid::from_u128(0x1234_5678),
        part: 1,
        parts: 1,
        mode: Mode::Changes,
        source: NodeInfo {
            node_id: Uuid::from_u128(1),
            name: "hq".into(),
            tag: 77,
            system_identifier: 7_000_000_000_000_000_000,
        },
        destination: "branch".into(),
        destination_id: None,
        from: "1:1:".parse().expect("snapshot"),
        to: "1230:1240:1231,1235".parse().expect("snapshot"),
        received: Some("3:9:4".parse().expect("snapshot")),
        include: vec!["*.*".into()],
        exclude: vec!["*.audit_*".into()],
        created_at: 1_700_000_000_000_001,
        resumes: false,
        continues: false,
        terms,
        layouts: Vec::new(),
        transactions: 0,
        frames: 0,
        entries: 0,
    };
    writer.finish(header, None)
}

/// Everything that a reader sees, as text.
fn seen(bytes: &[u8]) -> String {
    let part = SetPart::parse(bytes).expect("a set");
    let mut out = format!("{:?}\n", part.header);
    let mut records = part.records().expect("a body");
    while let Some(record) = records.next_record().expect("a record") {
        writeln!(out, "{record:?}").expect("text");
        if let Record::Frame { id, bytes, .. } = record {
            for entry in frame::entries(id, bytes) {
                let entry = entry.expect("an entry");
                writeln!(out, "{entry:?} {:?}", entry.changes().collect::<Vec<_>>()).expect("text");
            }
        }
    }
    out
}

#[test]
fn every_format_is_read_for_ever() {
    let pattern = "shop.item".parse().expect("a pattern");
    let operations = Operations::from_words(["insert", "update"]).expect("known words");
    let restrictions = vec![Restriction { pattern, operations }];
    let said = Terms { switched_off: true, rank: Some(-3), restrictions };
    for (format, terms) in [(1, Terms::default()), (2, said)] {
        let part = part(terms);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(file(format), &part).expect("write the golden file");
        }
        let golden = std::fs::read(file(format)).expect("the golden file");
        assert_eq!(
            golden[8..10],
            format.to_le_bytes(),
            "what needs no newer format is written in an old one"
        );
        assert_eq!(seen(&golden), seen(&part));
        assert_eq!(golden, part, "format {format} is written as it was");
    }
}
