//! The identity of rows that existed before their table was tracked, and of new ones where it has
//! a natural key: UUID v5 of the table's name and the row's key, so that two databases which hold
//! the same row agree on its identity without talking. By SQL while `track` fills the identity
//! column (`sql/32_identity.sql`), by the trigger for new rows: both must come to the same.

use pgrx::prelude::*;
use uuid::Uuid;

use crate::error::{Failure, corrupted};
use crate::pg::catalog;
use crate::pg::key_text::KeyText;
use crate::pg::role::RunAs;
use crate::pg::setting::SettingScope;
use crate::pg::trigger::Row;
use crate::value::PortableSettings;

/// The namespace of all row identities. Part of every existing row's identity: never to be changed.
const ROW_NAMESPACE: Uuid = Uuid::from_u128(0x6a1f_0c5e_93d7_4b0e_8a55_7c1e_02f4_d96b);

/// Joins the name's parts; text values cannot contain it, so no two keys give the same name.
const SEPARATOR: u8 = 0;

/// What is hashed: the table's name and the values of the key, one after the other.
struct Name(Vec<u8>);

impl Name {
    fn of(relation_name: &str) -> Self {
        Self(relation_name.as_bytes().to_vec())
    }

    /// Adds one value: what `write` appends.
    fn part<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        self.0.push(SEPARATOR);
        write(&mut self.0)
    }

    fn uuid(&self) -> [u8; 16] {
        Uuid::new_v5(&ROW_NAMESPACE, &self.0).into_bytes()
    }
}

#[pg_extern(immutable, strict, parallel_safe)]
fn row_id_v5(relation_name: &str, key: Array<'_, &str>) -> pgrx::Uuid {
    let mut name = Name::of(relation_name);
    for value in key.iter() {
        let Some(value) = value else {
            Failure::new(
                PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
                format!("a row of {relation_name} has no value in a column of its key"),
            )
            .hint("Choose natural key columns that are never null.")
            .raise()
        };
        name.part(|out| out.extend_from_slice(value.as_bytes()));
    }
    pgrx::Uuid::from_bytes(name.uuid())
}

/// The columns of a table's natural key, where its rows have their identity from them.
#[derive(Debug)]
pub struct NaturalKey {
    /// The table's name, as it is hashed.
    relation: String,
    columns: Vec<KeyText>,
    needs_settings: bool,
}

impl NaturalKey {
    pub fn new((schema, table): (&str, &str), columns: Vec<KeyText>) -> Self {
        let needs_settings = columns.iter().any(|column| column.needs_settings);
        Self { relation: format!("{schema}.{table}"), columns, needs_settings }
    }

    /// None where the key is null in part.
    pub fn hash(&self, row: &Row<'_>) -> Option<[u8; 16]> {
        // Each ends before the one above it.
        let _settings = self.needs_settings.then(PortableSettings::enter);
        // Not among those: what is sent has no time zone.
        let _zone = self.needs_settings.then(|| {
            let scope = SettingScope::enter();
            scope.set("timezone", "UTC");
            scope
        });
        let mut name = Name::of(&self.relation);
        let is_whole = self.columns.iter().all(|column| name.part(|out| column.append(row, out)));
        is_whole.then(|| name.uuid())
    }
}

/// Updates a table with the rights of its owner: an UPDATE runs the owner's code (checks, index
/// expressions), and whoever tracks the table must not lend it his rights. Returns the rows updated.
#[pg_extern(volatile, strict)]
fn update_as_owner(relation: pgrx::PgRelation, command: &str) -> i64 {
    let _owner = RunAs::restricted(catalog::owner(relation.oid()));
    let updated =
        Spi::connect_mut(|client| client.update(command, None, &[]).map(|rows| rows.len()));
    match updated {
        Ok(rows) => rows as i64,
        Err(error) => corrupted(format_args!("rows got no identity: {error}")).raise(),
    }
}
