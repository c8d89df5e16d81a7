//! The digest of a table: one pass over its rows beneath SQL, in wire form, into a tree of hashes.
//!
//! What is hashed and why stands in `syncjournal_core::digest`. Memory is bounded by the groups that
//! are asked for, not by the rows.

mod scan;

use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use pgrx::prelude::*;
use syncjournal_core::digest::{MAX_DEPTH, PrefixError, Tree};
use syncjournal_core::slice::SliceId;

use crate::error::Failure;
use crate::prep_sync::slices_for;

type Groups =
    TableIterator<'static, (name!(prefix, Vec<u8>), name!(row_count, i64), name!(hash, Vec<u8>))>;

/// See the user's reference in sql/46_digest.sql.
#[pg_extern(stable)]
fn digest(
    relation: Option<pgrx::PgRelation>,
    depth: Option<i32>,
    prefix: Option<&[u8]>,
) -> TableIterator<'static, (name!(prefix, Vec<u8>), name!(row_count, i64), name!(hash, Vec<u8>))> {
    groups(relation, depth, prefix, None)
}

/// Of the rows that a peer may have; see sql/48_clone_source.sql.
#[pg_extern(volatile)]
fn clone_digest(
    peer: Option<&str>,
    relation: Option<pgrx::PgRelation>,
    depth: Option<i32>,
    prefix: Option<&[u8]>,
) -> TableIterator<'static, (name!(prefix, Vec<u8>), name!(row_count, i64), name!(hash, Vec<u8>))> {
    let slices = relation.as_ref().and_then(|relation| slices_for(peer, relation.oid()));
    groups(relation, depth, prefix, slices.as_deref())
}

fn groups(
    relation: Option<pgrx::PgRelation>,
    depth: Option<i32>,
    prefix: Option<&[u8]>,
    slices: Option<&[SliceId]>,
) -> Groups {
    let Some(relation) = relation else {
        Failure::new(PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED, "no table is named")
            .hint("For example: select * from syncjournal.digest('public.item').")
            .raise()
    };
    let depth = depth.unwrap_or(0);
    // A negative depth is out of range as well.
    let depth = usize::try_from(depth).unwrap_or_else(|_| out_of_range(depth));
    let tree = Tree::new(prefix.unwrap_or_default(), depth).unwrap_or_else(|error| match error {
        PrefixError::Depth(depth) => out_of_range(depth),
        PrefixError::Length { .. } => {
            Failure::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, error.to_string())
                .hint("An identity has 16 bytes: prefix and depth together may not be more.")
                .raise()
        }
    });
    let groups = scan::fill(relation.oid(), tree, slices).groups();
    TableIterator::new(groups.map(|(prefix, group)| {
        let rows = i64::try_from(group.rows).unwrap_or(i64::MAX);
        (prefix, rows, group.hash.to_be_bytes().to_vec())
    }))
}

fn out_of_range(depth: impl std::fmt::Display) -> ! {
    Failure::new(
        PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
        format!("depth {depth} is out of range"),
    )
    .hint(format!("Use 0 to {MAX_DEPTH}: the bytes below the prefix by which rows are told apart."))
    .raise()
}
