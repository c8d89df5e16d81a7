//! The record of conflicts: what met a row that had gone another way, and how it was settled.

use syncjournal_core::merge::{ConflictKind, Settled, Winner};
use syncjournal_core::{RowId, Version};

use super::entry::Table;
use super::target::Image;
use crate::pg::query::{self, Arg};

/// Postgres's own names of the conflicts that a row can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConflictType {
    InsertExists,
    UpdateOriginDiffers,
    UpdateDeleted,
    UpdateMissing,
    DeleteOriginDiffers,
    DeleteMissing,
}

impl ConflictType {
    fn as_str(self) -> &'static str {
        match self {
            Self::InsertExists => "insert_exists",
            Self::UpdateOriginDiffers => "update_origin_differs",
            Self::UpdateDeleted => "update_deleted",
            Self::UpdateMissing => "update_missing",
            Self::DeleteOriginDiffers => "delete_origin_differs",
            Self::DeleteMissing => "delete_missing",
        }
    }
}

impl From<ConflictKind> for ConflictType {
    fn from(kind: ConflictKind) -> Self {
        match kind {
            ConflictKind::InsertExists => Self::InsertExists,
            ConflictKind::UpdateOriginDiffers => Self::UpdateOriginDiffers,
            ConflictKind::UpdateDeleted => Self::UpdateDeleted,
            ConflictKind::DeleteOriginDiffers => Self::DeleteOriginDiffers,
            ConflictKind::DeleteMissing => Self::DeleteMissing,
        }
    }
}

/// A state of the row: its version, and what it looked like if that is known.
#[derive(Clone, Debug, Default)]
pub struct Side {
    pub version: Option<Version>,
    pub image: Option<Image>,
}

/// A conflict to be recorded.
#[derive(Debug)]
pub struct Conflict {
    pub kind: ConflictType,
    pub row: RowId,
    pub base: Side,
    pub local: Side,
    pub remote: Side,
    pub settled: Settled,
}

/// Writes the conflict down; false where the same two heads are on record already.
pub fn record(table: &mut Table, conflict: &Conflict) -> bool {
    let row = conflict.row;
    let mut json = |side: &Side| Some(table.target.json(row, side.image.as_ref()?));
    let images = [json(&conflict.base), json(&conflict.local), json(&conflict.remote)];
    let [base, local, remote] =
        images.each_ref().map(|image| image.as_deref().map_or(Arg::NoText, Arg::Text));
    let version = |side: &Side| {
        let known = side.version.filter(|version| !version.is_nil());
        known.map_or(Arg::NoUuid, |version| Arg::Uuid(version.to_bytes()))
    };
    let (winner, status) = match conflict.settled {
        Settled::Winner(Winner::Local) => (Arg::Text("local"), "resolved"),
        Settled::Winner(Winner::Remote) => (Arg::Text("remote"), "resolved"),
        Settled::Merged => (Arg::Text("merged"), "resolved"),
        Settled::Pending => (Arg::NoText, "pending"),
    };
    let written = query::execute(
        "insert into syncjournal.conflict_log (peer_id, schema_name, table_name, row_id, \
            conflict_type, policy, base_version, local_version, remote_version, \
            base, local, remote, winner, status) \
        select $1, $2, $3, $4, $5, t.conflict_policy, $7, $8, $9, \
            $10::jsonb - own.columns, $11::jsonb - own.columns, $12::jsonb - own.columns, $13, $14 \
        from syncjournal.tracked_relation t, \
            lateral (select case when t.identity_added \
                then array['sync_version', t.identity_column::text] \
                else array['sync_version'] end as columns) own \
        where t.relation_id = $6 \
        on conflict do nothing",
        &[
            Arg::Int2(table.peer_id),
            Arg::Text(&table.target.layout().schema),
            Arg::Text(&table.target.layout().table),
            Arg::Uuid(row.0),
            Arg::Text(conflict.kind.as_str()),
            Arg::Int4(table.target.relation_id),
            version(&conflict.base),
            version(&conflict.local),
            version(&conflict.remote),
            base,
            local,
            remote,
            winner,
            Arg::Text(status),
        ],
    );
    written > 0
}
