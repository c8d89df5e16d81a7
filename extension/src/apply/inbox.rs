//! Conflicts that wait for a person, under policy `manual`.
//!
//! The row stays as it is, and the remote head waits. A later remote head takes its place in the same
//! conflict; an entry from wherever that has the head behind it settles the conflict.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use syncjournal_core::merge::{self, RowState, Write};
use syncjournal_core::{RowId, Version};

use super::conflicts::Conflict;
use super::entry::Table;
use super::host::RowHost;
use crate::error::not_installed;
use crate::pg::catalog;
use crate::pg::query::{self, Arg, View};
use crate::pg::table::Table as Reader;

/// The rows of one table that have something waiting.
#[derive(Debug)]
pub struct Inbox {
    relation_id: i32,
    rows: HashSet<RowId>,
}

impl Inbox {
    pub fn of(relation_id: i32) -> Self {
        let sql = "select distinct row_id from syncjournal.inbox where relation_id = $1";
        let mut rows = HashSet::new();
        let relid = catalog::own_relation(c"inbox").unwrap_or_else(|| not_installed().raise());
        if !Reader::read(relid).has_rows() {
            return Self { relation_id, rows };
        }
        query::run(View::Newest, sql, &[Arg::Int4(relation_id)], |row| {
            rows.extend(row.uuid(1).map(RowId));
        });
        Self { relation_id, rows }
    }

    /// Whether nothing waits at any row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether something waits at the row.
    pub fn concerns(&self, row: RowId) -> bool {
        self.rows.contains(&row)
    }

    /// The heads that wait at a row, each with the number of its conflict.
    pub fn heads(&self, row: RowId) -> HashMap<Version, i64> {
        let sql = "select head, conflict_id from syncjournal.inbox \
            where relation_id = $1 and row_id = $2";
        let mut heads = HashMap::new();
        query::run(View::Newest, sql, &[Arg::Int4(self.relation_id), Arg::Uuid(row.0)], |found| {
            heads.extend(found.uuid(1).map(Version::from_bytes).zip(found.int8(2)));
        });
        heads
    }

    fn put(&mut self, row: RowId, head: Version, conflict_id: i64) {
        self.rows.insert(row);
        query::execute(
            "insert into syncjournal.inbox (relation_id, row_id, head, conflict_id) \
            values ($1, $2, $3, $4) \
            on conflict (conflict_id) do update set head = excluded.head",
            &[
                Arg::Int4(self.relation_id),
                Arg::Uuid(row.0),
                Arg::Uuid(head.to_bytes()),
                Arg::Int8(conflict_id),
            ],
        );
    }
}

impl Table {
    /// Puts an entry into the inbox of its row.
    pub fn pend(&mut self, entry: &Arc<Write>, conflict: &Conflict) {
        let row = conflict.row;
        let known = self.inbox.heads(row);
        let mut heads: Vec<Version> = known.keys().copied().collect();
        heads.sort_unstable();
        let mut host = RowHost::new(row, &mut self.past, &mut self.target, &self.rules);
        host.know(entry);
        let Ok(()) = merge::wait_in_inbox(&mut heads, entry.version, &mut host);
        if known.contains_key(&entry.version) || !heads.contains(&entry.version) {
            return;
        }
        let mut replaced: Vec<i64> = known
            .iter()
            .filter(|(head, _)| !heads.contains(head))
            .map(|(_, conflict_id)| *conflict_id)
            .collect();
        replaced.sort_unstable();
        let mut replaced = replaced.into_iter();
        if let Some(first) = replaced.next() {
            super::conflicts::move_along(self, first, conflict);
            self.inbox.put(row, entry.version, first);
            replaced.for_each(|other| super::conflicts::end(other, Arg::Text("merged")));
        } else if let Some(conflict_id) = self.conflict(conflict) {
            self.inbox.put(row, entry.version, conflict_id);
        }
    }

    /// The row has moved to another version: what that has behind it waits no longer.
    pub fn moved(&mut self, row: RowId) {
        if self.inbox.concerns(row)
            && let Some(state) = self.standing(row)
        {
            self.forget_covered(row, &state);
        }
    }

    /// Ends the conflicts of heads that the row as it is knows.
    pub fn forget_covered(&mut self, row: RowId, state: &RowState) {
        let known = self.inbox.heads(row);
        let mut heads: Vec<Version> = known.keys().copied().collect();
        let mut host = RowHost::new(row, &mut self.past, &mut self.target, &self.rules);
        let Ok(()) = merge::forget_covered(&mut heads, state.version, &mut host);
        let json = state.row().map(|image| self.target.json(row, image));
        let now = json.as_deref().map_or(Arg::NoText, Arg::Text);
        for (_, conflict_id) in known.iter().filter(|(head, _)| !heads.contains(head)) {
            super::conflicts::settled_as(*conflict_id, self.target.relation_id, now);
        }
        if heads.is_empty() {
            self.inbox.rows.remove(&row);
        }
    }
}
