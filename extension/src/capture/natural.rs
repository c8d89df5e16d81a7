//! The identity of a new row by its natural key: the same on every node that makes the same row,
//! and the one that `track` gives to rows which are there already.

use pgrx::pg_sys::Oid;

use crate::layout::{self, Tracked};
use crate::pg::open_table::OpenTable;
use crate::pg::probe::Probe;
use crate::pg::routing;
use crate::pg::trigger::Row;

/// None where the key is null in part, and where a row that has another key by now keeps this
/// identity: then the new row is a new one.
pub fn identity(tracked: &Tracked, row: &Row<'_>) -> Option<[u8; 16]> {
    let id = tracked.natural.as_ref()?.hash(row)?;
    (!is_taken(tracked, id)).then_some(id)
}

fn is_taken(tracked: &Tracked, id: [u8; 16]) -> bool {
    if tracked.relid == tracked.root {
        return has(tracked.relid, tracked.identity, id);
    }
    // A row whose key has changed may lie in another partition by now.
    let root = OpenTable::for_reading(tracked.root);
    let leaves = routing::leaves(&root);
    root.close();
    leaves.into_iter().any(|leaf| {
        let identity = layout::tracked(leaf).map(|leaf| leaf.identity);
        identity.is_some_and(|identity| has(leaf, identity, id))
    })
}

fn has(table: Oid, identity: usize, id: [u8; 16]) -> bool {
    let open = OpenTable::for_reading(table);
    let index = open.index_on(i16::try_from(identity).unwrap_or(i16::MAX));
    open.close();
    // Without an index nothing keeps identities apart, which view health tells.
    index.and_then(|index| Probe::by_index(table, index)).is_some_and(|mut probe| probe.has(id))
}
