//! Rows as JSON, in the form in which they travel: references are identities, and what is each
//! database's own is left out.

use std::sync::Arc;

use pgrx::PgSqlErrorCode;
use syncjournal_core::merge::Value;
use syncjournal_core::{Column, Format, RowId};
use uuid::Uuid;

use crate::error::Failure;
use crate::layout::Tracked;
use crate::pg::query::{self, Arg, View};

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
pub fn plain_json(json: &str, columns: &[Column]) -> String {
    let references = columns.iter().filter(|column| column.format == Format::Reference);
    let names: Vec<&str> = references.map(|column| column.name.as_str()).collect();
    if names.is_empty() { json.to_owned() } else { exchanged(json, &names, &JsonObject::new()) }
}

/// An object less some members and with others. By the server, whose numbers keep all their digits.
fn exchanged(json: &str, without: &[&str], with: &JsonObject) -> String {
    let sql = "select (($1::pg_catalog.jsonb - pg_catalog.string_to_array($2, E'\\x01')) \
        || $3::pg_catalog.jsonb)::text";
    let with = serde_json::to_string(with).unwrap_or_default();
    let args = [Arg::Text(json), Arg::Text(&without.join("\u{1}")), Arg::Text(&with)];
    query::first(View::Newest, sql, &args, |row| row.text(1)).flatten().unwrap_or_default()
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
    let identity = |id: RowId| serde_json::Value::from(id.to_string());
    let references = references.map(|(column, id)| (column.to_owned(), id.map(identity).into()));
    let kept: Vec<&str> = kept.iter().map(String::as_str).collect();
    exchanged(json, &kept, &references.collect())
}
