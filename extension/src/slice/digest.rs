//! The digest of a slice: how many rows, and a hash of who they are and at which version.

use pgrx::prelude::*;
use syncjournal_core::slice::{SliceId, row_hash};

use super::scan::each_row;

/// Rows and hash of a slice, as the calling statement sees it. The hash is a sum: rows may come in any
/// order, and lie wherever they like.
#[pg_extern(stable, strict)]
fn digest_slice(
    relation: pgrx::PgRelation,
    slice_id: i32,
) -> TableIterator<'static, (name!(row_count, i64), name!(hash, String))> {
    let (mut rows, mut sum) = (0_i64, 0_u128);
    each_row(relation.oid(), |row| {
        let in_slices = row.tracked.slices.as_ref().map(|slices| slices.of_row(row.view.columns()));
        if in_slices.is_some_and(|slices| slices.contains(&(slice_id as SliceId))) {
            rows += 1;
            sum = sum.wrapping_add(row_hash(row.id, row.version));
        }
    });
    TableIterator::once((rows, format!("{sum:032x}")))
}
