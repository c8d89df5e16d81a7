//! Rows as JSON, in the form in which they travel: references are identities, and what is each
//! database's own is left out.

use std::sync::Arc;

use pgrx::PgSqlErrorCode;
use syncjournal_core::merge::Value;
use syncjournal_core::{Column, Format, RowId};
use uuid::Uuid;

use crate::error::Failure;
use crate::layout::Tracked;

pub type JsonObject = serde_json::Map<String, serde_json::Value>;

/// Which columns a JSON object names; an error for what is no object, or no row of the table.
pub fn given_columns(json: &str, columns: &[Column], table: &str) -> (Vec<bool>, JsonObject) {
    let object: JsonObject = serde_json::from_str(json).unwrap_or_else(|_| {
        Failure::new(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("a row of table \"{table}\" must be a JSON object"),
        )
        .hint("Its members are named as the table's columns.")
        .raise()
    });
    if let Some(unknown) = object.keys().find(|name| !columns.iter().any(|c| c.name == **name)) {
        Failure::new(
            PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
            format!("table \"{table}\" has no travelling column \"{unknown}\""),
        )
        .hint("Name the members of the row as the table's columns; others stay as they are.")
        .raise();
    }
    (columns.iter().map(|column| object.contains_key(&column.name)).collect(), object)
}

/// The object without its references, which are no values of the table's own columns.
pub fn plain_json(mut object: JsonObject, columns: &[Column]) -> String {
    let references = columns.iter().filter(|column| column.format == Format::Reference);
    references.for_each(|column| drop(object.remove(&column.name)));
    serde_json::Value::Object(object).to_string()
}

/// The identity that an object gives a reference; an error for what is none.
pub fn identity_of(object: &JsonObject, column: &Column) -> Value {
    let given = object.get(&column.name).filter(|given| !given.is_null())?;
    let identity =
        given.as_str().and_then(|text| Uuid::parse_str(text).ok()).unwrap_or_else(|| {
            Failure::new(
                PgSqlErrorCode::ERRCODE_INVALID_TEXT_REPRESENTATION,
                format!("column \"{}\" is a reference, and {given} is no identity", column.name),
            )
            .hint("Give the uuid of the row that it is to point to: see its identity column.")
            .raise()
        });
    Some(Arc::from(&identity.as_bytes()[..]))
}

/// The references of an image, each with its column's name.
pub fn references_of<'a>(
    tracked: &'a Tracked,
    image: &'a [Value],
) -> impl Iterator<Item = (&'a str, Option<RowId>)> {
    tracked.columns.iter().zip(image).filter_map(|(column, value)| {
        let reference = column.reference.as_ref()?;
        let identity = value.as_deref().and_then(|bytes| bytes.try_into().ok()).map(RowId);
        Some((reference.column.as_str(), identity))
    })
}

/// A row's JSON with identities in place of keys.
pub fn travelling_json<'a>(
    json: &str,
    kept: &[String],
    references: impl Iterator<Item = (&'a str, Option<RowId>)>,
) -> String {
    let Ok(mut object) = serde_json::from_str::<JsonObject>(json) else { return json.to_owned() };
    kept.iter().for_each(|column| drop(object.remove(column)));
    for (column, identity) in references {
        object.insert(column.to_owned(), identity.map(|id| id.to_string()).into());
    }
    serde_json::Value::Object(object).to_string()
}
