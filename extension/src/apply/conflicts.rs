//! The record of conflicts: what met a row that had gone another way, and how it was settled.

use syncjournal_core::merge::{ConflictKind, Settled, Winner};
use syncjournal_core::{RowId, Version};

use super::entry::Table;
use super::target::Image;
use crate::pg::query::{self, Arg, View};

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

/// Writes the conflict down; gives its number unless the same two heads are on record already.
pub fn record(table: &mut Table, conflict: &Conflict) -> Option<i64> {
    let row = conflict.row;
    let mut json = |side: &Side| Some(table.target.json(row, side.image.as_ref()?));
    let images = [json(&conflict.base), json(&conflict.local), json(&conflict.remote)];
    let [base, local, remote] =
        images.each_ref().map(|image| image.as_deref().map_or(Arg::NoText, Arg::Text));
    let (winner, status) = match conflict.settled {
        Settled::Winner(Winner::Local) => (Arg::Text("local"), "resolved"),
        Settled::Winner(Winner::Remote) => (Arg::Text("remote"), "resolved"),
        Settled::Merged => (Arg::Text("merged"), "resolved"),
        Settled::Pending => (Arg::NoText, "pending"),
    };
    query::first(
        View::Newest,
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
        on conflict do nothing returning conflict_id",
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
        |row| row.int8(1),
    )
    .flatten()
}

/// A pending conflict has a later remote head: it goes on with that one, beside the row as it is.
pub fn move_along(table: &mut Table, conflict_id: i64, conflict: &Conflict) {
    let row = conflict.row;
    let mut json = |side: &Side| Some(table.target.json(row, side.image.as_ref()?));
    let (local, remote) = (json(&conflict.local), json(&conflict.remote));
    query::execute(
        "update syncjournal.conflict_log c set conflict_type = $3, local_version = $4, \
            remote_version = $5, local = $6::jsonb - own.columns, \
            remote = $7::jsonb - own.columns \
        from syncjournal.tracked_relation t, \
            lateral (select case when t.identity_added \
                then array['sync_version', t.identity_column::text] \
                else array['sync_version'] end as columns) own \
        where c.conflict_id = $1 and t.relation_id = $2",
        &[
            Arg::Int8(conflict_id),
            Arg::Int4(table.target.relation_id),
            Arg::Text(conflict.kind.as_str()),
            version(&conflict.local),
            version(&conflict.remote),
            local.as_deref().map_or(Arg::NoText, Arg::Text),
            remote.as_deref().map_or(Arg::NoText, Arg::Text),
        ],
    );
}

/// A pending conflict has ended by an entry from elsewhere: who won shows in the row as it is now.
pub fn settled_as(conflict_id: i64, relation_id: i32, now: Arg<'_>) {
    query::execute(
        "with gone as (delete from syncjournal.inbox where conflict_id = $1) \
        update syncjournal.conflict_log c set status = 'resolved', winner = case \
            when c.local is not distinct from $3::jsonb - own.columns then 'local' \
            when c.remote is not distinct from $3::jsonb - own.columns then 'remote' \
            else 'merged' end \
        from syncjournal.tracked_relation t, \
            lateral (select case when t.identity_added \
                then array['sync_version', t.identity_column::text] \
                else array['sync_version'] end as columns) own \
        where c.conflict_id = $1 and t.relation_id = $2",
        &[Arg::Int8(conflict_id), Arg::Int4(relation_id), now],
    );
}

/// A pending conflict has ended.
pub fn end(conflict_id: i64, winner: Arg<'_>) {
    query::execute(
        "with gone as (delete from syncjournal.inbox where conflict_id = $1) \
        update syncjournal.conflict_log set status = 'resolved', winner = $2 \
        where conflict_id = $1",
        &[Arg::Int8(conflict_id), winner],
    );
}

fn version(side: &Side) -> Arg<'static> {
    let known = side.version.filter(|version| !version.is_nil());
    known.map_or(Arg::NoUuid, |version| Arg::Uuid(version.to_bytes()))
}

/// Whether a conflict of the row with this head is on record.
pub fn is_told(row: RowId, head: Version) -> bool {
    let sql = "select from syncjournal.conflict_log where row_id = $1 \
        and (remote_version = $2 or local_version = $2) limit 1";
    query::run(View::Newest, sql, &[Arg::Uuid(row.0), Arg::Uuid(head.to_bytes())], |_| ()) > 0
}
