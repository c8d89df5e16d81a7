//! The identity of rows that existed before their table was tracked: UUID v5 of the table's name
//! and the row's key, so that two databases which hold the same row already agree on its identity
//! without talking. Called from `sql/32_identity.sql` while `track` fills the identity column.

use pgrx::prelude::*;
use uuid::Uuid;

use crate::error::{Failure, corrupted};
use crate::pg::catalog;
use crate::pg::role::RunAs;

/// The namespace of all row identities. Part of every existing row's identity: never to be changed.
const ROW_NAMESPACE: Uuid = Uuid::from_u128(0x6a1f_0c5e_93d7_4b0e_8a55_7c1e_02f4_d96b);

/// Joins the name's parts; text values cannot contain it, so no two keys give the same name.
const SEPARATOR: u8 = 0;

#[pg_extern(immutable, strict, parallel_safe)]
fn row_id_v5(relation_name: &str, key: Array<'_, &str>) -> pgrx::Uuid {
    let mut name = relation_name.as_bytes().to_vec();
    for value in key.iter() {
        let Some(value) = value else {
            Failure::new(
                PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
                format!("a row of {relation_name} has no value in a column of its key"),
            )
            .hint("Choose natural key columns that are never null.")
            .raise()
        };
        name.push(SEPARATOR);
        name.extend_from_slice(value.as_bytes());
    }
    pgrx::Uuid::from_bytes(Uuid::new_v5(&ROW_NAMESPACE, &name).into_bytes())
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
