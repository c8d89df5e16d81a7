//! Tombstones: what became of rows that are gone, for entries that come late.

use std::collections::HashMap;
use std::ops::ControlFlow;

use syncjournal_core::{RowId, Version};

use crate::capture::buffer::Pending;
use crate::error::not_installed;
use crate::pg::catalog;
use crate::pg::table::{Field, Key, Table};

/// Sets a stone for each entry, which deletes a row or (the nil row) truncates a relation.
pub fn bury<'a>(entries: impl Iterator<Item = &'a Pending>) {
    // A row deleted twice has one stone, the later.
    let stones: HashMap<(i32, RowId), Version> =
        entries.map(|entry| ((entry.relation_id, entry.head.row), entry.version)).collect();
    if stones.is_empty() {
        return;
    }
    let relid = catalog::own_relation(c"tombstone").unwrap_or_else(|| not_installed().raise());
    let table = Table::write(relid);
    let index = table.primary_key();
    for ((relation, row), version) in stones {
        let keys = [(1, Key::Int4(relation)), (2, Key::Uuid(&row.0))];
        // One stands already where the row came back under its identity after an earlier delete.
        let former = table.equal(index, &keys, |found| ControlFlow::Break(found.place()));
        if let Some(former) = former {
            table.delete(former);
        }
        let (row, version) = (Field::Uuid(row.0), Field::Uuid(version.to_bytes()));
        table.insert(&[Field::Int4(relation), row, version]);
    }
}
