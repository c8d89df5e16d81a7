//! Frames: encode and decode is the identity; whatever is broken is an error.

use proptest::prelude::*;
use syncjournal_core::frame::{self, FrameWriter, Head};
use syncjournal_core::{DecodeError, HybridTime, Operation, RowId, Version};

type Value = Option<Vec<u8>>;

/// An entry as the test sees it.
#[derive(Clone, Debug, PartialEq)]
struct Model {
    index: u16,
    operation: Operation,
    row: [u8; 16],
    prev: u64,
    state: u64,
    values: Vec<Value>,
    changes: Vec<(usize, Value, Value)>,
}

fn value() -> impl Strategy<Value = Value> {
    prop::option::of(prop_oneof![
        9 => prop::collection::vec(any::<u8>(), 0..40),
        1 => prop::collection::vec(any::<u8>(), 100..400),
    ])
}

fn model(index: u16) -> impl Strategy<Value = Model> {
    let operation = prop_oneof![
        Just(Operation::Insert),
        Just(Operation::Update),
        Just(Operation::Delete),
        Just(Operation::Truncate),
        Just(Operation::State),
    ];
    let changes = prop::collection::btree_map(0usize..50, (value(), value()), 0..5);
    (operation, any::<[u8; 16]>(), 0u64..9, 0u64..20, prop::collection::vec(value(), 0..6), changes)
        .prop_map(move |(operation, row, prev, state, values, changes)| {
            let rows = !matches!(operation, Operation::Update | Operation::Truncate);
            Model {
                index,
                operation,
                row,
                prev,
                state: if operation == Operation::State { state } else { 0 },
                values: if rows { values } else { Vec::new() },
                changes: match operation {
                    Operation::Update => {
                        changes.into_iter().map(|(column, (old, new))| (column, old, new)).collect()
                    }
                    _ => Vec::new(),
                },
            }
        })
}

fn models() -> impl Strategy<Value = Vec<Model>> {
    prop::collection::btree_set(0u16..3_000, 1..12)
        .prop_flat_map(|indexes| indexes.into_iter().map(model).collect::<Vec<_>>())
}

fn at(time: u64) -> Version {
    if time == 0 { Version::NIL } else { Version::new(HybridTime(time), 7, 7, 7) }
}

const PREFIX: Version = Version::new(HybridTime(10), 42, 3, 0);

fn write(models: &[Model]) -> (Version, Vec<u8>) {
    let mut writer = FrameWriter::default();
    models.iter().for_each(|model| write_one(&mut writer, model));
    writer.finish(PREFIX)
}

fn write_one(writer: &mut FrameWriter, model: &Model) {
    let mut head = Head::new(model.index, model.operation, RowId(model.row), at(model.prev));
    head.state = (model.operation == Operation::State).then(|| at(model.state));
    if model.operation == Operation::Update {
        let mut changes = writer.update(&head, model.changes.len());
        for (column, old, new) in &model.changes {
            let values = changes.column(*column);
            values.value(old.as_deref());
            values.value(new.as_deref());
        }
        return;
    }
    let mut values = writer.row(&head, model.values.len());
    for (place, value) in model.values.iter().enumerate() {
        match value {
            value if place % 3 == 2 => values.value_or_null(|out| {
                out.extend_from_slice(value.as_deref().unwrap_or_default());
                value.is_some()
            }),
            Some(bytes) if place % 3 == 0 => values
                .value_with(|out| {
                    out.extend_from_slice(bytes);
                    Ok::<_, ()>(())
                })
                .expect("infallible"),
            value => values.value(value.as_deref()),
        }
    }
}

fn read(id: Version, bytes: &[u8]) -> Result<Vec<Model>, DecodeError> {
    frame::entries(id, bytes)
        .map(|entry| {
            let entry = entry?;
            assert_eq!(
                entry.changes().count(),
                if entry.operation == Operation::Update { entry.values().len() } else { 0 }
            );
            let own = id.with_index(entry.index);
            if entry.operation != Operation::State {
                assert_eq!(entry.version, own);
            }
            let owned = |value: Option<&[u8]>| value.map(<[u8]>::to_vec);
            Ok(Model {
                index: entry.index,
                operation: entry.operation,
                row: entry.row.0,
                prev: entry.prev.time().0,
                state: if entry.operation == Operation::State { entry.version.time().0 } else { 0 },
                values: match entry.operation {
                    Operation::Update => Vec::new(),
                    _ => entry.values().map(owned).collect(),
                },
                changes: entry
                    .changes()
                    .map(|change| (change.column, owned(change.old), owned(change.new)))
                    .collect(),
            })
        })
        .collect()
}

proptest! {
    #[test]
    fn what_was_written_is_read(models in models()) {
        let (id, bytes) = write(&models);
        prop_assert_eq!(id.index(), models[0].index);
        prop_assert_eq!(read(id, &bytes), Ok(models));
    }

    #[test]
    fn a_cut_frame_is_an_error_or_fewer_whole_entries(models in models(), cut in any::<prop::sample::Index>()) {
        let (id, bytes) = write(&models);
        let cut = &bytes[..cut.index(bytes.len())];
        if let Ok(read) = read(id, cut) {
            // The journal row and the set say how many entries there are.
            prop_assert!(read.len() < models.len());
            prop_assert_eq!(&read[..], &models[..read.len()]);
        }
    }

    #[test]
    fn any_bytes_are_a_frame_or_an_error(bytes: Vec<u8>, id: u64) {
        let id = Version::new(HybridTime(id), 0, 0, 0);
        for entry in frame::entries(id, &bytes).flatten() {
            entry.values().count();
            entry.changes().count();
        }
    }

    #[test]
    fn an_altered_byte_never_panics(models in models(), at in any::<prop::sample::Index>(), by in 1u8..) {
        let (id, mut bytes) = write(&models);
        let at = at.index(bytes.len());
        bytes[at] ^= by;
        for entry in frame::entries(id, &bytes).flatten() {
            prop_assert!(entry.prev < id.with_index(entry.index));
            entry.values().count();
            entry.changes().count();
        }
    }
}

#[test]
fn a_parent_that_is_not_older_is_refused() {
    let mut writer = FrameWriter::default();
    let own = PREFIX.with_index(0);
    writer.row(&Head::new(0, Operation::Insert, RowId([1; 16]), own), 0);
    let (id, bytes) = writer.finish(PREFIX);
    assert!(frame::entries(id, &bytes).next().expect("an entry").is_err());
}
