//! The keys that rows had here before a peer's delete took them. A row that comes back, since somebody
//! else had changed it, gets its own again: children that stayed behind point to it as before.

use pgrx::pg_sys::Datum;
use syncjournal_core::RowId;

use crate::layout::Tracked;
use crate::pg::catalog;
use crate::pg::query::{self, Arg, View};
use crate::pg::reference::OwnKey;
use crate::pg::row_view::RowView;

/// What one table remembers.
#[derive(Debug, Default)]
pub struct GoneKeys {
    /// Whether others refer to the table by its local keys.
    is_parent: bool,
    /// Whether there are any.
    any: bool,
}

impl GoneKeys {
    pub fn of(tracked: &Tracked) -> Self {
        if tracked.kept.is_empty() {
            return Self::default();
        }
        let sql = "select exists (select from syncjournal.relation_reference r \
                join syncjournal.tracked_relation t on t.relid = r.parent \
                where t.relation_id = $1), \
            exists (select from syncjournal.gone_key where relation_id = $1)";
        let read = |row: &query::Row| Self {
            is_parent: row.bool(1) == Some(true),
            any: row.bool(2) == Some(true),
        };
        let args = [Arg::Int4(tracked.relation_id)];
        query::first(View::Newest, sql, &args, read).unwrap_or_default()
    }

    /// A row goes.
    pub fn remember(&mut self, tracked: &Tracked, old: RowView<'_>) {
        let Some(row) = old.uuid(tracked.identity).filter(|_| self.is_parent) else { return };
        self.any = true;
        let shown = own_key(tracked).iter().map(|column| column.read(old)).collect::<Vec<_>>();
        let shown =
            shown.iter().map(|value| value.map_or("".to_owned(), |value| value.to_string()));
        query::execute(
            "insert into syncjournal.gone_key (relation_id, row_id, own_key) values ($1, $2, $3) \
            on conflict (relation_id, row_id) do update set own_key = excluded.own_key",
            &[
                Arg::Int4(tracked.relation_id),
                Arg::Uuid(row),
                Arg::Text(&shown.collect::<Vec<_>>().join(",")),
            ],
        );
    }

    /// A row comes: the key that it had, if it was here.
    pub fn take(&self, relation_id: i32, row: RowId) -> Option<OldKey> {
        if !self.any {
            return None;
        }
        let sql = "delete from syncjournal.gone_key where relation_id = $1 and row_id = $2 \
            returning own_key";
        let args = [Arg::Int4(relation_id), Arg::Uuid(row.0)];
        query::first(View::Newest, sql, &args, |row| row.text(1)).flatten().map(OldKey)
    }
}

/// The key of a row that was here, in the order of the columns that the table keeps.
#[derive(Debug)]
pub struct OldKey(String);

impl OldKey {
    pub fn set(&self, tracked: &Tracked, values: &mut [Datum], nulls: &mut [bool]) {
        for (column, value) in own_key(tracked).iter().zip(self.0.split(',')) {
            if let Ok(value) = value.parse() {
                column.write(values, nulls, value);
            }
        }
    }
}

fn own_key(tracked: &Tracked) -> Vec<OwnKey> {
    let shape = catalog::shape(tracked.relid);
    let find = |name: &String| shape.attributes.iter().find(|found| found.name == *name);
    tracked.kept.iter().filter_map(find).map(OwnKey::of).collect()
}
