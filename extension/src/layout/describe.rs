//! The layout of a relation as it is now.

use pgrx::pg_sys::Oid;
use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use syncjournal_core::{Column, Format, RelationLayout};

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
    /// Columns whose values are this database's own affair.
    pub kept: Vec<String>,
    pub references: Vec<StoredReference>,
}

/// A foreign key that travels as the identity of the row that it points to.
#[derive(Clone, Debug)]
pub struct StoredReference {
    /// The column in whose place it travels.
    pub carrier: String,
    /// All of the key's columns, and those of them that are set on arrival.
    pub columns: Vec<String>,
    pub sets: Vec<String>,
    pub parent: Oid,
    pub parent_columns: Vec<String>,
    pub parent_identity: String,
}

impl Selection {
    /// Whether the column's values travel.
    fn carries(&self, column: &Attribute) -> bool {
        let is_ours =
            column.name == VERSION_COLUMN || self.identity_added && column.name == self.identity;
        let stays = self.excluded.contains(&column.name) || self.kept.contains(&column.name);
        !is_ours && !column.is_generated && !stays
    }

    pub fn reference(&self, column: &str) -> Option<&StoredReference> {
        self.references.iter().find(|reference| reference.carrier == column)
    }
}

/// The layout of the tracked relation `shape`.
pub fn describe(shape: &Shape, selection: &Selection) -> RelationLayout {
    let columns = shape.attributes.iter().filter(|column| selection.carries(column));
    RelationLayout {
        schema: shape.schema.clone(),
        table: shape.table.clone(),
        identity: selection.identity.clone(),
        columns: columns
            .map(|found| match selection.reference(&found.name) {
                Some(_) => reference(found),
                None => column(found),
            })
            .collect(),
    }
}

fn reference(attribute: &Attribute) -> Column {
    Column {
        name: attribute.name.clone(),
        type_schema: "pg_catalog".to_owned(),
        type_name: "uuid".to_owned(),
        format: Format::Reference,
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
