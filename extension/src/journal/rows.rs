//! The journal's rows for SQL: frame by frame, and whether a frame is there.

use pgrx::prelude::*;
use syncjournal_core::{Version, bundle};

use crate::error::corrupted;
use crate::journal::lookup;

/// All frames of a row of the journal that has several.
#[pg_extern(immutable, strict)]
#[allow(clippy::type_complexity, reason = "the columns of an SQL function")]
fn bundled_frames(
    frame: pgrx::Uuid,
    layout: i32,
    entries: i32,
    data: &[u8],
    bundled: &[u8],
) -> TableIterator<
    'static,
    (name!(frame, pgrx::Uuid), name!(layout, i32), name!(entries, i32), name!(data, Vec<u8>)),
> {
    let first = Version::from_bytes(*frame.as_bytes());
    let mut rows = vec![(frame, layout, entries, data.to_vec())];
    for member in bundle::members(first, bundled) {
        let member = member
            .unwrap_or_else(|error| corrupted(format_args!("frame {first}: {error}")).raise());
        let id = pgrx::Uuid::from_bytes(member.id.to_bytes());
        let of_member = i32::try_from(member.entries).unwrap_or(i32::MAX);
        rows[0].2 = rows[0].2.saturating_sub(of_member);
        rows.push((id, member.layout_id, of_member, member.data.to_vec()));
    }
    TableIterator::new(rows)
}

/// Whether the journal holds the frame of this id.
#[pg_extern(stable, strict)]
fn has_frame(frame: pgrx::Uuid) -> bool {
    lookup::exists(Version::from_bytes(*frame.as_bytes()))
}
