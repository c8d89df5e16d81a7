//! Frames for people: entries as rows, values as JSON.

use std::fmt::Write;

use pgrx::pg_sys::Oid;
use pgrx::prelude::*;
use syncjournal_core::{Entry, Version, frame};

use crate::error::corrupted;
use crate::layout;
use crate::pg::json::ToJson;
use crate::pg::memory::{self, OwnedContext};
use crate::pg::role::{self, RunAs};
use crate::value::{self, ColumnCodec, PortableSettings};

/// How a column's values are shown: by its type, or as hexadecimal where the type is not here.
struct Column {
    /// The name, quoted.
    name: String,
    by_type: Option<(ColumnCodec, ToJson)>,
}

/// A layout's columns; what they look up goes with the context.
pub struct Renderer {
    columns: Vec<Column>,
    /// A type may bring its own cast to JSON: it runs with the rights of the table's owner, not
    /// with those of who looks, nor with ours.
    owner: Oid,
    _memory: OwnedContext,
}

impl std::fmt::Debug for Renderer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Renderer of {} columns", self.columns.len())
    }
}

impl Renderer {
    /// Of a layout that is stored here.
    pub fn of(layout_id: i32) -> Self {
        let layout = layout::by_id(layout_id);
        let owner = layout.relation_id.and_then(layout::owner_of);
        let context = OwnedContext::new();
        let column = |column: &syncjournal_core::Column| {
            let type_oid = value::resolve_type(&column.type_schema, &column.type_name);
            let memory = context.raw();
            let by_type = type_oid.map(|oid| {
                (ColumnCodec::new(oid, -1, column.format, memory), ToJson::new(oid, memory))
            });
            Column { name: quoted(&column.name), by_type }
        };
        Self {
            columns: layout.definition.columns.iter().map(column).collect(),
            owner: owner.unwrap_or_else(role::session_user),
            _memory: context,
        }
    }

    /// What an entry says of the new row; none of a deletion.
    pub fn new_values(&self, entry: &Entry<'_>) -> Option<String> {
        let _owner = RunAs::restricted(self.owner);
        self.rows(entry).1
    }

    fn value(&self, number: usize, value: Option<&[u8]>) -> String {
        match (value, self.columns.get(number).and_then(|column| column.by_type.as_ref())) {
            (None, _) => "null".to_owned(),
            (Some(bytes), None) => hexadecimal(bytes),
            (Some(bytes), Some((codec, json))) => memory::scratch(|| json.render(codec, bytes)),
        }
    }

    fn object<'a>(&self, values: impl Iterator<Item = (usize, Option<&'a [u8]>)>) -> String {
        let mut out = String::from("{");
        for (number, value) in values {
            let Some(column) = self.columns.get(number) else {
                corrupted(format_args!("a frame names column {number}")).raise()
            };
            if out.len() > 1 {
                out.push_str(", ");
            }
            out.push_str(&column.name);
            out.push_str(": ");
            out.push_str(&self.value(number, value));
        }
        out.push('}');
        out
    }

    /// The entry's old and new row.
    fn rows(&self, entry: &Entry<'_>) -> (Option<String>, Option<String>) {
        use syncjournal_core::Operation::{Delete, Insert, Leave, State, Truncate, Update};
        match entry.operation {
            Insert | State => (None, Some(self.object(entry.values().enumerate()))),
            Delete => (Some(self.object(entry.values().enumerate())), None),
            Truncate | Leave => (None, None),
            Update => {
                let old = entry.changes().map(|change| (change.column, change.old));
                let new = entry.changes().map(|change| (change.column, change.new));
                (Some(self.object(old)), Some(self.object(new)))
            }
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::from("\"\\\\x");
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a string takes what is written");
    }
    text.push('"');
    text
}

fn uuid(version: Version) -> pgrx::Uuid {
    pgrx::Uuid::from_bytes(version.to_bytes())
}

fn parent(version: Version) -> Option<pgrx::Uuid> {
    (!version.is_nil()).then(|| uuid(version))
}

/// The entries of a frame; rows as JSON text. An update shows the changed columns.
#[pg_extern(stable, strict)]
#[allow(clippy::type_complexity, reason = "the columns of an SQL function")]
fn unfold_entries(
    frame: pgrx::Uuid,
    layout: i32,
    data: &[u8],
) -> TableIterator<
    'static,
    (
        name!(version, pgrx::Uuid),
        name!(prev, Option<pgrx::Uuid>),
        name!(merged, Option<pgrx::Uuid>),
        name!(op, &'static str),
        name!(row_id, Option<pgrx::Uuid>),
        name!(old, Option<String>),
        name!(new, Option<String>),
    ),
> {
    let id = Version::from_bytes(*frame.as_bytes());
    let renderer = Renderer::of(layout);
    let _owner = RunAs::restricted(renderer.owner);
    let _settings = PortableSettings::enter();
    let row = |entry: Result<Entry<'_>, _>| {
        let entry =
            entry.unwrap_or_else(|error| corrupted(format_args!("frame {id}: {error}")).raise());
        let (old, new) = renderer.rows(&entry);
        let op = if entry.merged.is_nil() { entry.operation.as_str() } else { "MERGE" };
        let row_id = pgrx::Uuid::from_bytes(entry.row.0);
        let is_row = entry.operation != syncjournal_core::Operation::Truncate;
        (
            uuid(entry.version),
            parent(entry.prev),
            parent(entry.merged),
            op,
            is_row.then_some(row_id),
            old,
            new,
        )
    };
    let rows: Vec<_> = frame::entries(id, data).map(row).collect();
    TableIterator::new(rows)
}
