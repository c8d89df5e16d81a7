//! The layout of a relation as it is now.

use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use syncjournal_core::{Column, RelationLayout};

use crate::error::Failure;
use crate::pg::catalog::{Attribute, Shape};
use crate::value;

/// The column that `track` adds to every table.
pub const VERSION_COLUMN: &str = "sync_version";

/// What tracking says about a relation's columns.
#[derive(Clone, Debug)]
pub struct Selection {
    pub identity: String,
    pub identity_added: bool,
    pub excluded: Vec<String>,
}

impl Selection {
    /// Whether the column's values travel.
    fn carries(&self, column: &Attribute) -> bool {
        let is_ours =
            column.name == VERSION_COLUMN || self.identity_added && column.name == self.identity;
        !is_ours && !column.is_generated && !self.excluded.contains(&column.name)
    }
}

/// The layout of the tracked relation `shape`.
pub fn describe(shape: &Shape, selection: &Selection) -> RelationLayout {
    let columns = shape.attributes.iter().filter(|column| selection.carries(column));
    RelationLayout {
        schema: shape.schema.clone(),
        table: shape.table.clone(),
        identity: selection.identity.clone(),
        columns: columns.map(column).collect(),
    }
}

fn column(attribute: &Attribute) -> Column {
    let (type_schema, type_name) = value::type_identity(attribute.type_oid).unwrap_or_else(|| {
        Failure::new(
            PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            format!("the type of column \"{}\" is gone", attribute.name),
        )
        .hint("Drop the column, or restore its type.")
        .raise()
    });
    let format = value::format_for(attribute.type_oid);
    Column { name: attribute.name.clone(), type_schema, type_name, format }
}
