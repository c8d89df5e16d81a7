//! The history of a row: from where it stands, back along the parents.

use std::collections::BTreeSet;

use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use pgrx::prelude::*;
use syncjournal_core::{RowId, Version, frame};

use crate::error::{Failure, not_installed};
use crate::journal::lookup::frame_of;
use crate::journal::tombstone;
use crate::layout;
use crate::pg::query::{self, Arg, View};
use crate::pg::{catalog, sql};

/// The versions that lead to the row as it is, or to its deletion, and those of branches that were set
/// aside on the way, with the journal's rows that hold them.
/// Ordered by version they are in the order in which they were written. The walk ends where the
/// journal was pruned.
#[pg_extern(stable, strict)]
fn history_walk(
    relation: pgrx::PgRelation,
    row_id: pgrx::Uuid,
) -> TableIterator<'static, (name!(version, pgrx::Uuid), name!(stored_in, pgrx::Uuid))> {
    let row = RowId(*row_id.as_bytes());
    let tracked = layout::tracked(relation.oid()).unwrap_or_else(|| {
        let table = catalog::qualified_name(relation.oid());
        Failure::new(
            PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            format!("table \"{table}\" is not tracked"),
        )
        .hint("View syncjournal.tracked_table lists those that are.")
        .raise()
    });
    let mut open: BTreeSet<Version> =
        [standing(&tracked, row), tombstone::of(tracked.relation_id, row)].into();
    open.extend(set_aside(&tracked, row));
    let mut found = Vec::new();
    // Parents are older than their children: what is taken out never comes in again.
    while let Some(version) = open.pop_last() {
        let Some(holder) = frame_of(version) else { continue };
        let entry = frame::entries(holder.id, &holder.data)
            .flatten()
            .find(|entry| entry.index == version.index());
        if let Some(entry) = entry.filter(|entry| entry.row == row) {
            let parents = [entry.prev, entry.merged];
            open.extend(parents.into_iter().filter(|parent| !parent.is_nil()));
            let uuid = |version: Version| pgrx::Uuid::from_bytes(version.to_bytes());
            found.push((uuid(version), uuid(holder.row)));
        }
    }
    found.reverse();
    TableIterator::new(found)
}

/// The heads of branches that met the row and lost, or wait for a person: in none of its parents.
fn set_aside(tracked: &layout::Tracked, row: RowId) -> Vec<Version> {
    let sql = "select v from syncjournal.conflict_log c \
            cross join unnest(array[local_version, remote_version]) v \
        where c.row_id = $1 and c.schema_name = $2 and c.table_name = $3 and v is not null";
    let shape = catalog::shape(tracked.root);
    let args = [Arg::Uuid(row.0), Arg::Text(&shape.schema), Arg::Text(&shape.table)];
    let mut heads = Vec::new();
    query::run(View::Statement, sql, &args, |found| {
        heads.extend(found.uuid(1).map(Version::from_bytes));
    });
    heads
}

/// The version of the row as it is in the table.
fn standing(tracked: &layout::Tracked, row: RowId) -> Version {
    let journal = catalog::own_relation(c"journal").unwrap_or_else(|| not_installed().raise());
    let shape = catalog::shape(tracked.root);
    let own = catalog::shape(tracked.relid);
    let identity = own.attributes.iter().find(|column| column.number == tracked.identity);
    let identity = identity.map_or("", |column| column.name.as_str());
    // Rows in children of an inheritance tree belong to the children's own tracking.
    let only = if shape.is_partitioned { "" } else { "only " };
    let statement = format!(
        "select sync_version from {only}{}.{} where {} operator(pg_catalog.=) $1",
        spi::quote_identifier(&shape.schema),
        spi::quote_identifier(&shape.table),
        spi::quote_identifier(identity),
    );
    let found: Option<pgrx::Uuid> =
        sql::one_as_owner_of(journal, &statement, &[pgrx::Uuid::from_bytes(row.0).into()]);
    found.map_or(Version::NIL, |version| Version::from_bytes(*version.as_bytes()))
}
