//! Tombstones: what became of rows that are gone, for entries that come late.

use std::collections::HashMap;
use std::ops::ControlFlow;

use pgrx::prelude::*;
use syncjournal_core::{RowId, Version};

use crate::capture::buffer::Pending;
use crate::error::{corrupted, not_installed};
use crate::pg::catalog;
use crate::pg::role::RunAs;
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
    let mut present = Vec::new();
    for ((relation, row), version) in stones {
        let keys = [(1, Key::Int4(relation)), (2, Key::Uuid(&row.0))];
        if table.equal(index, &keys, |_| ControlFlow::Break(())).is_some() {
            present.push((relation, row, version));
        } else {
            let (row, version) = (Field::Uuid(row.0), Field::Uuid(version.to_bytes()));
            table.insert(&[Field::Int4(relation), row, version]);
        }
    }
    if !present.is_empty() {
        replace(relid, &present);
    }
}

/// For rows that were deleted before, inserted again under the same identity, and deleted again.
fn replace(table: pg_sys::Oid, stones: &[(i32, RowId, Version)]) {
    let uuid = pgrx::Uuid::from_bytes;
    let relations: Vec<i32> = stones.iter().map(|stone| stone.0).collect();
    let rows: Vec<pgrx::Uuid> = stones.iter().map(|stone| uuid(stone.1.0)).collect();
    let versions: Vec<pgrx::Uuid> = stones.iter().map(|stone| uuid(stone.2.to_bytes())).collect();
    let _owner = RunAs::role(catalog::owner(table));
    let written = Spi::run_with_args(
        "update syncjournal.tombstone t set version = s.version \
         from rows from (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) \
             s (relation_id, row_id, version) \
         where t.relation_id operator(pg_catalog.=) s.relation_id \
             and t.row_id operator(pg_catalog.=) s.row_id",
        &[relations.into(), rows.into(), versions.into()],
    );
    if let Err(error) = written {
        corrupted(format_args!("tombstones were not written: {error}")).raise();
    }
}
