//! Slices of this database's tables: in which of them a row is, and what a peer has by them.
//!
//! A table's filters are compiled with what the triggers know of it (`layout::Tracked`), so a table
//! without slices has nothing to ask. What a row was in and is in goes beside its frame into the
//! journal, see `syncjournal_core::slice`; who cuts the frame for a peer needs no SQL.

mod audience;
mod digest;
mod held;
mod passage;
mod scan;
mod transition;

use std::ops::ControlFlow;

use pgrx::pg_sys::{Datum, MemoryContext, Oid};
use pgrx::prelude::*;
use syncjournal_core::slice::SliceId;

use crate::error::not_installed;
use crate::layout;
use crate::pg::catalog;
use crate::pg::filter::{self, RowFilter};
use crate::pg::open_table::OpenTable;
use crate::pg::role::RunAs;
use crate::pg::setting::SettingScope;
use crate::pg::table::{Key, Table};
use crate::value::PortableSettings;

pub use audience::Audiences;
pub use passage::{Known, Leave, PassageWriter, Passages, Standing, Told};

/// The slices of a table, compiled for it or for one of its partitions.
#[derive(Debug)]
pub struct Slices {
    filters: Vec<(SliceId, RowFilter)>,
    /// A filter may call functions of the users': with this one's rights.
    owner: Oid,
}

impl Slices {
    /// None where the table has no slices. What they are made of lives in `memory`.
    pub fn of(relation_id: i32, relid: Oid, memory: MemoryContext) -> Option<Self> {
        let found = rows(relation_id);
        if found.is_empty() {
            return None;
        }
        let owner = catalog::owner(relid);
        let _settings = PortableSettings::enter();
        let _owner = RunAs::restricted(owner);
        let table = OpenTable::for_reading(relid);
        let compiled =
            |(id, text): (SliceId, Vec<u8>)| (id, RowFilter::compile(&table, &text, memory));
        let filters = found.into_iter().map(compiled).collect();
        table.close();
        Some(Self { filters, owner })
    }

    /// All of them.
    pub fn all(&self) -> Vec<SliceId> {
        self.filters.iter().map(|(id, _)| *id).collect()
    }

    /// Those that a row is in, of which all columns of the table are given.
    pub fn of_row(&self, (values, nulls): (&[Datum], &[bool])) -> Vec<SliceId> {
        let _owner = RunAs::restricted(self.owner);
        let holds = |filter: &RowFilter| filter.holds(values, nulls);
        self.filters.iter().filter(|(_, filter)| holds(filter)).map(|(id, _)| *id).collect()
    }
}

/// Numbers and filters of a relation's slices.
fn rows(relation_id: i32) -> Vec<(SliceId, Vec<u8>)> {
    let table = catalog::own_relation(c"slice");
    let table = Table::read(table.unwrap_or_else(|| not_installed().raise()));
    let index = table.index_on(&[3]).unwrap_or_else(|| not_installed().raise());
    let mut found = Vec::new();
    table.equal(index, &[(3, Key::Int4(relation_id))], |row| {
        if let (Some(id), Some(text)) = (row.int4(1), row.bytes(4)) {
            found.push((id as SliceId, text));
        }
        ControlFlow::<()>::Continue(())
    });
    found.sort_unstable_by_key(|(id, _)| *id);
    found
}

/// Checks a filter and gives it with every name in full. Names are looked for among the server's
/// own and in the table's schema.
#[pg_extern(volatile, strict)]
fn check_row_filter(relation: pgrx::PgRelation, row_filter: &str) -> String {
    let relid = relation.oid();
    let _settings = PortableSettings::enter();
    let scope = SettingScope::enter();
    let schema = catalog::shape(relid).schema.replace('"', "\"\"");
    scope.set("search_path", &format!("pg_catalog, \"{schema}\", pg_temp"));
    let _owner = RunAs::restricted(catalog::owner(relid));
    let table = OpenTable::for_reading(relid);
    let readable = layout::tracked(relid).map_or_else(Vec::new, |tracked| {
        let columns = tracked.columns.iter().map(|column| column.number);
        columns.chain([tracked.identity]).collect()
    });
    let checked = filter::checked(&table, row_filter, &readable);
    table.close();
    checked
}
