//! A set's header for people.

use pgrx::datum::ToIsoString;
use serde_json::{Value, json};
use syncjournal_core::wire::{Header, SetPart, Terms};

use crate::apply::set_error;

/// Checks the part and shows its header.
pub fn describe(data: &[u8]) -> Value {
    let part = SetPart::parse(data).unwrap_or_else(|error| set_error::raise(&error));
    header(&part.header)
}

fn header(header: &Header) -> Value {
    let relations: Vec<Value> = header
        .layouts
        .iter()
        .map(|layout| {
            let columns: Vec<Value> = layout
                .columns
                .iter()
                .map(|column| {
                    json!({
                        "name": column.name,
                        "type": format!("{}.{}", column.type_schema, column.type_name),
                    })
                })
                .collect();
            json!({
                "schema": layout.schema,
                "table": layout.table,
                "identity": layout.identity,
                "fingerprint": uuid::Uuid::from(layout.fingerprint()).to_string(),
                "columns": columns,
            })
        })
        .collect();
    json!({
        "set_id": header.set_id.to_string(),
        "part": header.part,
        "parts": header.parts,
        "mode": header.mode.as_str(),
        "source": {
            "node_id": header.source.node_id.to_string(),
            "name": header.source.name,
            "system_identifier": header.source.system_identifier.to_string(),
        },
        "destination": { "node_id": header.destination_id.map(|id| id.to_string()), "name": header.destination },
        "from": header.from.to_string(),
        "to": header.to.to_string(),
        "include": header.include,
        "exclude": header.exclude,
        "received": header.received.as_ref().map(ToString::to_string),
        "created_at": timestamp(header.created_at),
        "resumes": header.resumes,
        "continues": header.continues,
        "switched_off": header.terms.switched_off,
        "rank": header.terms.rank,
        "restrictions": restrictions(&header.terms),
        "transactions": header.transactions,
        "frames": header.frames,
        "entries": header.entries,
        "relations": relations,
    })
}

fn restrictions(terms: &Terms) -> Vec<Value> {
    let each = terms.restrictions.iter();
    each.map(|one| {
        let operations: Vec<&str> = one.operations.words().collect();
        json!({ "relation": one.pattern.to_string(), "operations": operations })
    })
    .collect()
}

/// Microseconds since 1970 as a timestamp with time zone in ISO form.
fn timestamp(micros: u64) -> Value {
    let seconds = micros as f64 / 1e6;
    json!(pgrx::datum::to_timestamp(seconds).to_iso_string())
}
