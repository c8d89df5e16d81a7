//! Where the entries of a layout go: the table here that it means, and its columns.

use std::rc::Rc;

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::Oid;
use syncjournal_core::layout::Mismatch;
use syncjournal_core::operations::{self, Operations};
use syncjournal_core::{Format, RelationLayout};

use super::quarantine::Problem;
use super::source::Source;
use crate::layout::{self, Tracked};
use crate::pg::open_table::table_by_name;
use crate::pg::query::{self, Arg, View};

/// Where the frames of one of the part's layouts go.
#[derive(Debug)]
pub enum Route {
    /// This database does not take the table from the source.
    NotWanted,
    /// There is no such table here, or it cannot take these entries. They are kept.
    Unfit {
        problem: Problem,
        /// The layout's number in this database.
        layout_id: i32,
    },
    Table(Rc<Fit>),
}

/// A table that takes the entries.
#[derive(Debug)]
pub struct Fit {
    /// For errors: the table and where its entries come from.
    pub told: String,
    pub root: Oid,
    pub relation_id: i32,
    /// For each column of the layout its place in the table's layout here, if it is taken.
    pub places: Vec<Option<usize>>,
    /// The layout's number in this database.
    pub layout_id: i32,
    /// What its entries may do.
    pub permits: Operations,
    /// Nothing goes back to where they come from.
    pub is_one_way: bool,
    /// Whether the table has slices of this node's.
    pub has_slices: bool,
}

impl Route {
    /// Finds the table here that a layout means.
    pub fn of(definition: &RelationLayout, source: &Source) -> Self {
        if !source.accepts.selects(&definition.schema, &definition.table) {
            return Self::NotWanted;
        }
        let (relation_id, fit) = match find(definition) {
            Ok(tracked) => (Some(tracked.relation_id), fit(definition, &tracked, source)),
            Err(problem) => (None, Err(problem)),
        };
        let layout_id = layout::register(definition, relation_id);
        match fit {
            Ok(fit) => Self::Table(Rc::new(Fit { layout_id, ..fit })),
            Err(problem) => Self::Unfit { problem, layout_id },
        }
    }
}

fn find(definition: &RelationLayout) -> Result<Rc<Tracked>, Problem> {
    let RelationLayout { schema, table, .. } = definition;
    let relid = table_by_name(schema, table).ok_or_else(|| {
        Problem::new(
            PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
            format!("table \"{schema}.{table}\" of the sync set does not exist here"),
        )
        .hint(
            "Create it and track it, or leave it out: syncjournal.alter_peer(name, exclude => ...).",
        )
    })?;
    layout::tracked(relid).ok_or_else(|| {
        Problem::new(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("table \"{schema}.{table}\" of the sync set is not tracked here"),
        )
        .hint(format!(
            "Track it: select syncjournal.track('{schema}.{table}'). Or leave it out: \
                syncjournal.alter_peer(name, exclude => ...)."
        ))
    })
}

fn fit(definition: &RelationLayout, tracked: &Tracked, source: &Source) -> Result<Fit, Problem> {
    let here = layout::by_id(tracked.layout_id);
    let places = places(definition, &here.definition, tracked)?;
    let RelationLayout { schema, table, .. } = definition;
    Ok(Fit {
        told: format!("table \"{schema}.{table}\", from node \"{}\"", source.name),
        root: tracked.root,
        relation_id: tracked.relation_id,
        places,
        layout_id: tracked.layout_id,
        is_one_way: source.is_one_way,
        permits: operations::permitted(&source.restrictions, schema, table),
        has_slices: tracked.slices.is_some(),
    })
}

/// Matches the columns by name. What tracking excludes here, and what was dropped, is not taken.
fn places(
    definition: &RelationLayout,
    here: &RelationLayout,
    tracked: &Tracked,
) -> Result<Vec<Option<usize>>, Problem> {
    let mut excluded = match here.map_from(definition) {
        Ok(places) => return Ok(places.into_iter().map(Some).collect()),
        Err(_) => excluded_columns(tracked.relation_id),
    };
    let mut taken = definition.clone();
    for column in &definition.columns {
        match (tracked.kept.contains(&column.name), column.format) {
            (false, _) => {}
            // What it refers to is not tracked here.
            (true, Format::Reference) => excluded.push(column.name.clone()),
            (true, _) => return Err(other_keys(definition, &column.name)),
        }
    }
    taken.columns.retain(|column| !excluded.contains(&column.name));
    let places = here.map_from(&taken).map_err(|error| mismatch(definition, &error))?;
    let mut places = places.into_iter();
    let is_excluded = |name: &String| excluded.contains(name);
    let columns = definition.columns.iter();
    let place = |name| if is_excluded(name) { None } else { places.next() };
    Ok(columns.map(|column| &column.name).map(place).collect())
}

fn excluded_columns(relation_id: i32) -> Vec<String> {
    let sql = "select pg_catalog.unnest(exclude_columns || dropped_columns)::text \
        from syncjournal.tracked_relation where relation_id = $1";
    let mut excluded = Vec::new();
    query::run(View::Newest, sql, &[Arg::Int4(relation_id)], |row| excluded.extend(row.text(1)));
    excluded
}

fn other_keys(definition: &RelationLayout, column: &str) -> Problem {
    let RelationLayout { schema, table, .. } = definition;
    Problem::new(
        PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH,
        format!("table \"{schema}.{table}\" has local keys here, and global ones at the source"),
    )
    .detail(format!("Column \"{column}\" is this database's own affair."))
    .hint("Track the table with the same keys on both sides: untrack it on one, and track it anew.")
}

fn mismatch(definition: &RelationLayout, error: &Mismatch<'_>) -> Problem {
    let RelationLayout { schema, table, .. } = definition;
    let (code, message, hint) = match error {
        Mismatch::MissingColumn(column) => (
            PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
            format!("column \"{column}\" of table \"{schema}.{table}\" does not exist here"),
            "Add the column, or exclude it from tracking at the source.",
        ),
        Mismatch::Type { column, here, there } => (
            PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH,
            format!(
                "column \"{column}\" of table \"{schema}.{table}\" has type {here} here and \
                    {there} at the source"
            ),
            "Give both the same type, and track the table with the same keys.",
        ),
    };
    Problem::new(code, message).hint(hint)
}
