//! Tombstones: what became of rows that are gone, for entries that come late.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::mem::ManuallyDrop;
use std::ops::ControlFlow;

use pgrx::pg_sys::Oid;
use syncjournal_core::{RowId, Version};

use crate::error::not_installed;
use crate::layout;
use crate::pg::table::{Field, Found, Key, Table};
use crate::pg::{catalog, invalidation, transaction};

thread_local! {
    static BURIALS: Cell<u64> = const { Cell::new(0) };
    /// The last TRUNCATE of each relation that was asked for.
    static EMPTIED: ManuallyDrop<RefCell<HashMap<i32, Version>>> =
        ManuallyDrop::new(RefCell::new(HashMap::new()));
}

/// What changes whenever somebody may have set a stone: a session that has ended a transaction, or
/// this one. Who remembers that there are none looks again when it has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    transactions: u64,
    burials: u64,
}

impl Moment {
    pub fn now() -> Self {
        Self { transactions: transaction::ended_so_far(), burials: BURIALS.get() }
    }

    /// Whether this session has set none between the two.
    pub fn has_no_own_until(self, later: Self) -> bool {
        self.burials == later.burials
    }
}

/// The version that deleted the row, or (the nil row) truncated the relation; nil if none did.
pub fn of(relation_id: i32, row: RowId) -> Version {
    let relid = catalog::own_relation(c"tombstone").unwrap_or_else(|| not_installed().raise());
    let table = Table::read(relid);
    let keys = [(1, Key::Int4(relation_id)), (2, Key::Uuid(&row.0))];
    let version = |found: &Found| ControlFlow::Break(found.uuid(3));
    let found = table.equal(table.primary_key(), &keys, version).flatten();
    found.map_or(Version::NIL, Version::from_bytes)
}

/// The version that truncated the relation last; nil if none did. Every transaction asks this of
/// every table that it writes to, so the answer is kept until word comes of another TRUNCATE.
pub fn of_relation(relation_id: i32) -> Version {
    layout::refresh();
    let known = EMPTIED.with(|emptied| emptied.borrow().get(&relation_id).copied());
    known.unwrap_or_else(|| {
        let version = of(relation_id, RowId::NIL);
        EMPTIED.with(|emptied| emptied.borrow_mut().insert(relation_id, version));
        version
    })
}

/// Another TRUNCATE may have been recorded.
pub fn forget() {
    EMPTIED.with(|emptied| emptied.borrow_mut().clear());
}

/// Records TRUNCATEs: each is measured against what comes later.
pub fn record(truncations: impl Iterator<Item = (i32, Version)>) {
    let mut truncations = truncations.peekable();
    if truncations.peek().is_none() {
        return;
    }
    let relid = catalog::own_relation(c"truncation").unwrap_or_else(|| not_installed().raise());
    let table = Table::write(relid);
    for (relation, version) in truncations {
        table.insert(&[Field::Int4(relation), Field::Uuid(version.to_bytes())]);
    }
}

/// Sets a stone for each version that deletes a row or (the nil row) truncates a relation, and takes
/// away those of rows that came back (no version); they come in their order.
pub fn bury(fates: impl Iterator<Item = (i32, RowId, Option<Version>)>) {
    // A row deleted twice has one stone, the later. In order, for the index's sake.
    let fates: BTreeMap<(i32, RowId), Option<Version>> =
        fates.map(|(relation, row, version)| ((relation, row), version)).collect();
    if fates.is_empty() {
        return;
    }
    buried();
    let relid = catalog::own_relation(c"tombstone").unwrap_or_else(|| not_installed().raise());
    let table = Table::write(relid);
    let index = table.primary_key();
    if fates.keys().any(|(_, row)| *row == RowId::NIL) {
        forget();
        invalidation::announce(relid);
    }
    for ((relation, row), version) in fates {
        // One may stand already where the row came back under its identity after an earlier delete.
        remove(&table, index, relation, row);
        if let Some(version) = version {
            let (row, version) = (Field::Uuid(row.0), Field::Uuid(version.to_bytes()));
            table.insert(&[Field::Int4(relation), row, version]);
        }
    }
}

/// This session has set stones: who remembers that there were none looks again.
pub fn buried() {
    BURIALS.set(BURIALS.get() + 1);
}

/// Takes away the stone of a row that is back, and gives its version; nil where there is none. From
/// now on whoever sets another waits for this transaction's end, and finds the row.
pub fn take(relation_id: i32, row: RowId) -> Version {
    let relid = catalog::own_relation(c"tombstone").unwrap_or_else(|| not_installed().raise());
    let table = Table::write(relid);
    remove(&table, table.primary_key(), relation_id, row)
}

fn remove(table: &Table, index: Oid, relation_id: i32, row: RowId) -> Version {
    let keys = [(1, Key::Int4(relation_id)), (2, Key::Uuid(&row.0))];
    let look = |found: &Found| ControlFlow::Break((found.place(), found.uuid(3)));
    while let Some((place, version)) = table.equal(index, &keys, look) {
        if table.delete(place) {
            return version.map_or(Version::NIL, Version::from_bytes);
        }
        pgrx::check_for_interrupts!();
    }
    Version::NIL
}
