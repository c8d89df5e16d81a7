//! Rows of full sets that were not followed, since the row here is later.
//!
//! The entry that made such a row at its source lies before the set, and never comes by itself.
//! What the source writes on top of it does come, until it has heard of the later row here.

use std::ops::ControlFlow;

use pgrx::pg_sys::Oid;
use syncjournal_core::frame::{FrameWriter, Head};
use syncjournal_core::merge::Value;
use syncjournal_core::{Operation, RowId, Version};

use crate::error::not_installed;
use crate::pg::table::{Field, Key, Table};
use crate::pg::{catalog, transaction};

/// A row of a table at a version.
pub type At = (i32, RowId, Version);

/// Keeps a row, in the columns of a layout.
pub fn keep(at: At, layout_id: i32, image: &[Value]) {
    if find(at).is_some() {
        return;
    }
    let (relation_id, row, version) = at;
    let state = Some(version);
    let head = Head { state, ..Head::new(0, Operation::State, row, Version::NIL) };
    let mut frame = FrameWriter::default();
    let mut values = frame.row(&head, image.len());
    image.iter().for_each(|value| values.value(value.as_deref()));
    let (_, data) = frame.finish(version);
    Table::write(relid()).insert(&[
        Field::Int4(relation_id),
        Field::Uuid(row.0),
        Field::Uuid(version.to_bytes()),
        Field::Int4(layout_id),
        Field::Bytes(&data),
        Field::Int8(transaction::top_xid()),
    ]);
}

/// The row, as a frame of one entry under a layout.
pub fn find((relation_id, row, version): At) -> Option<(i32, Vec<u8>)> {
    let table = Table::read(relid());
    let key = [(1, Key::Int4(relation_id)), (2, Key::Uuid(&row.0))];
    table.equal(table.primary_key(), &key, |state| {
        if state.uuid(3) != Some(version.to_bytes()) {
            return ControlFlow::Continue(());
        }
        state.int4(4).zip(state.bytes(5)).map_or(ControlFlow::Continue(()), ControlFlow::Break)
    })
}

fn relid() -> Oid {
    catalog::own_relation(c"skipped_state").unwrap_or_else(|| not_installed().raise())
}
