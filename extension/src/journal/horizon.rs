//! How far back the journal may have been pruned.

use std::cell::Cell;
use std::ops::ControlFlow;

use syncjournal_core::{HybridTime, Version};

use crate::error::not_installed;
use crate::layout;
use crate::pg::catalog;
use crate::pg::table::Table;

thread_local! {
    static KNOWN: Cell<Option<HybridTime>> = const { Cell::new(None) };
}

/// Up to this time entries may have been pruned that are not in the journal, and tombstones with
/// them; zero where nothing was pruned yet.
pub fn pruned_to() -> HybridTime {
    layout::refresh();
    if let Some(known) = KNOWN.get() {
        return known;
    }
    let relid = catalog::own_relation(c"pruned").unwrap_or_else(|| not_installed().raise());
    let table = Table::read(relid);
    let latest = table.all(table.primary_key(), |row| ControlFlow::Break(row.uuid(3))).flatten();
    let time = latest.map_or(HybridTime::default(), |latest| Version::from_bytes(latest).time());
    KNOWN.set(Some(time));
    time
}

/// Segments came or went.
pub fn forget() {
    KNOWN.set(None);
}
