//! Tombstones: what became of rows that are gone, for entries that come late.

use std::collections::HashMap;

use pgrx::prelude::*;
use syncjournal_core::{RowId, Version};

use crate::capture::buffer::Pending;
use crate::error::{corrupted, not_installed};
use crate::pg::catalog;
use crate::pg::role::RunAs;

/// Sets a stone for each entry, which deletes a row or (the nil row) truncates a relation.
pub fn bury<'a>(entries: impl Iterator<Item = &'a Pending>) {
    // A row deleted twice has one stone, the later.
    let stones: HashMap<(i32, RowId), Version> =
        entries.map(|entry| ((entry.relation_id, entry.head.row), entry.version)).collect();
    if stones.is_empty() {
        return;
    }
    let (mut relations, mut rows, mut versions) = (Vec::new(), Vec::new(), Vec::new());
    for ((relation, row), version) in stones {
        relations.push(relation);
        rows.push(pgrx::Uuid::from_bytes(row.0));
        versions.push(pgrx::Uuid::from_bytes(version.to_bytes()));
    }
    let table = catalog::own_relation(c"tombstone").unwrap_or_else(|| not_installed().raise());
    let _owner = RunAs::role(catalog::owner(table));
    let written = Spi::run_with_args(
        "insert into syncjournal.tombstone (relation_id, row_id, version) \
         select * from pg_catalog.unnest($1, $2, $3) \
         on conflict (relation_id, row_id) do update set version = excluded.version",
        &[relations.into(), rows.into(), versions.into()],
    );
    if let Err(error) = written {
        corrupted(format_args!("tombstones were not written: {error}")).raise();
    }
}
