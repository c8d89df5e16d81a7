//! The table `quarantined_entry`: what is set aside, why, and what is known of it.

use std::collections::{HashMap, HashSet};

use syncjournal_core::frame::{FrameWriter, Head};
use syncjournal_core::{Entry, Operation, RelationLayout, RowId, Version};

use super::problem::Problem;
use super::violation::{Rivals, Violation};
use super::waiting::KEPT as KEPT_FRAME;
use crate::journal::Renderer;
use crate::pg::query::{self, Arg, View};
use crate::pg::subtransaction::{Undone, attempt};

/// Sets entries of one call aside.
#[derive(Debug)]
pub struct Shelf {
    peer_id: i16,
    renderers: HashMap<i32, Renderer>,
    /// Rows whose rivals are in the record of conflicts.
    told: HashSet<(i32, RowId)>,
    pub conflicts: i64,
}

/// Where an entry belongs.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub layout: &'a RelationLayout,
    pub layout_id: i32,
}

impl Shelf {
    pub fn new(peer_id: i16) -> Self {
        Self { peer_id, renderers: HashMap::new(), told: HashSet::new(), conflicts: 0 }
    }

    /// Sets an entry aside whose row stands against a constraint.
    pub fn put_violator(&mut self, place: Place<'_>, entry: &Entry<'_>, violation: &Violation) {
        let rivals = violation.rivals.as_ref().filter(|_| violation.row == entry.row);
        let in_the_way = rivals.map(Rivals::rows).unwrap_or_default();
        self.put(place, entry, &violation.problem, &in_the_way);
        if let Some(rivals) = rivals
            && self.told.insert((violation.relation_id, violation.row))
        {
            self.conflicts += 1;
            self.record_rivals(place, entry, violation.relation_id, rivals);
        }
    }

    /// Sets an entry aside.
    pub fn put_aside(&mut self, place: Place<'_>, entry: &Entry<'_>, problem: &Problem) {
        self.put(place, entry, problem, problem.waits_for.as_slice());
    }

    fn put(
        &mut self,
        place: Place<'_>,
        entry: &Entry<'_>,
        problem: &Problem,
        in_the_way: &[RowId],
    ) {
        let new = self.shown(place.layout_id, entry);
        // The rows of a full set may not be in the journal, and those that leave are not.
        let own_frame = entry.operation.names_version().then(|| frame_of(entry));
        let own_frame = own_frame.map(|bytes| hexadecimal(&bytes));
        query::execute(
            "insert into syncjournal.quarantined_entry as q (peer_id, layout_id, schema_name, \
                table_name, row_id, version, op, sqlstate, error, new, data, blocked_by, next_try) \
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::jsonb, \
                pg_catalog.decode($11, 'hex'), $12::uuid[], \
                pg_catalog.clock_timestamp() + interval '1 s') \
            on conflict (row_id, version, schema_name, table_name) do update \
            set sqlstate = excluded.sqlstate, error = excluded.error, \
                new = excluded.new, data = excluded.data, blocked_by = excluded.blocked_by, attempts = q.attempts + 1",
            &[
                Arg::Int2(self.peer_id),
                Arg::Int4(place.layout_id),
                Arg::Text(&place.layout.schema),
                Arg::Text(&place.layout.table),
                Arg::Uuid(entry.row.0),
                Arg::Uuid(entry.version.to_bytes()),
                Arg::Text(entry.operation.as_str()),
                Arg::Text(&problem.sqlstate),
                Arg::Text(&problem.text()),
                new.as_deref().map_or(Arg::NoText, Arg::Text),
                own_frame.as_deref().map_or(Arg::NoText, Arg::Text),
                Arg::Text(&array_of(in_the_way)),
            ],
        );
    }

    /// The new values as JSON; none where they cannot even be read here.
    fn shown(&mut self, layout_id: i32, entry: &Entry<'_>) -> Option<String> {
        let renderer = self.renderers.entry(layout_id).or_insert_with(|| Renderer::of(layout_id));
        match attempt(|| Ok::<_, ()>(renderer.new_values(entry))) {
            Ok(shown) => shown,
            Err(Undone::Error(caught)) if Problem::of(&caught).is_none() => caught.rethrow(),
            Err(_) => None,
        }
    }

    /// The record of a conflict whose local side is other rows: one a row, moved along with it.
    fn record_rivals(
        &self,
        place: Place<'_>,
        entry: &Entry<'_>,
        relation_id: i32,
        rivals: &Rivals,
    ) {
        let kind = match entry.operation {
            _ if rivals.others.len() > 1 => "multiple_unique_conflicts",
            Operation::Update => "update_exists",
            _ => "insert_exists",
        };
        let list: Vec<&str> = rivals.others.iter().map(|(_, json)| json.as_str()).collect();
        let version = rivals.version;
        let args = [
            Arg::Int2(self.peer_id),
            Arg::Text(&place.layout.schema),
            Arg::Text(&place.layout.table),
            Arg::Uuid(entry.row.0),
            Arg::Text(kind),
            Arg::Int4(relation_id),
            if version.is_nil() { Arg::NoUuid } else { Arg::Uuid(version.to_bytes()) },
            Arg::Text(&format!("[{}]", list.join(","))),
            Arg::Text(&rivals.json),
        ];
        query::execute(
            "with own as materialized (select case when t.identity_added \
                    then array['sync_version', t.identity_column::text] \
                    else array['sync_version'] end as columns, t.conflict_policy \
                from syncjournal.tracked_relation t where t.relation_id = $6), \
            sides as materialized (select own.conflict_policy, $9::jsonb - own.columns as remote, \
                (select case when pg_catalog.count(*) > 1 \
                    then pg_catalog.jsonb_agg(other - own.columns) \
                    else pg_catalog.jsonb_agg(other - own.columns) -> 0 end \
                from pg_catalog.jsonb_array_elements($8::jsonb) other) as local from own), \
            moved as (update syncjournal.conflict_log c set remote_version = $7, \
                    conflict_type = $5, local = s.local, remote = s.remote \
                from sides s where c.schema_name = $2 and c.table_name = $3 and c.row_id = $4 \
                    and c.status = 'pending' and c.local_version is null and c.conflict_type in \
                        ('insert_exists', 'update_exists', 'multiple_unique_conflicts') \
                    and not exists (select from syncjournal.conflict_log x \
                        where x.row_id = $4 and x.remote_version = $7 and x.local_version is null \
                            and x.conflict_id <> c.conflict_id) \
                returning 1) \
            insert into syncjournal.conflict_log (peer_id, schema_name, table_name, row_id, \
                conflict_type, policy, remote_version, local, remote, status) \
            select $1, $2, $3, $4, $5, s.conflict_policy, $7, s.local, s.remote, 'pending' \
            from sides s where not exists (select from moved) \
            on conflict do nothing",
            &args,
        );
    }
}

/// The entry has been laid, or the row has gone past it.
pub fn release(quarantine_id: i64) {
    query::execute(
        "with gone as (delete from syncjournal.quarantined_entry where quarantine_id = $1 \
            returning schema_name, table_name, row_id, version) \
        update syncjournal.conflict_log c set status = 'resolved', winner = 'remote' \
        from gone g where c.schema_name = g.schema_name and c.table_name = g.table_name \
            and c.row_id = g.row_id and c.remote_version = g.version \
            and c.status = 'pending' and c.local_version is null",
        &[Arg::Int8(quarantine_id)],
    );
}

/// Rows of a relation (an array of uuids) have left by these versions (another), and are not here:
/// what waits to be laid on them and is no later has come to that.
pub fn release_left(relation_id: i32, rows: &str, versions: &str) {
    let sql = "select q.quarantine_id from syncjournal.quarantined_entry q \
        join rows from (pg_catalog.unnest($2::uuid[]), pg_catalog.unnest($3::uuid[])) \
            as l (row_id, version) on l.row_id = q.row_id and q.version <= l.version \
        join syncjournal.relation_layout r on r.layout_id = q.layout_id and r.relation_id = $1";
    let args = [Arg::Int4(relation_id), Arg::Text(rows), Arg::Text(versions)];
    let mut waiting = Vec::new();
    query::run(View::Newest, sql, &args, |row| waiting.extend(row.int8(1)));
    waiting.into_iter().for_each(release);
}

/// The entry still cannot be laid: the next time comes later the more often it was tried.
pub fn failed_again(quarantine_id: i64, problem: &Problem, blocked_by: &[RowId]) {
    query::execute(
        "update syncjournal.quarantined_entry set attempts = attempts + 1, sqlstate = $2, \
            error = $3, blocked_by = $4::uuid[], next_try = pg_catalog.clock_timestamp() \
                + least(interval '1 s' * 2 ^ least(attempts, 20), interval '5 min') \
        where quarantine_id = $1",
        &[
            Arg::Int8(quarantine_id),
            Arg::Text(&problem.sqlstate),
            Arg::Text(&problem.text()),
            Arg::Text(&array_of(blocked_by)),
        ],
    );
}

fn array_of(rows: &[RowId]) -> String {
    let rows: Vec<String> = rows.iter().map(ToString::to_string).collect();
    format!("{{{}}}", rows.join(","))
}

/// A row of a full set, or one that leaves, as a frame of its own; its id, see `waiting`, says nothing.
fn frame_of(entry: &Entry<'_>) -> Vec<u8> {
    let mut writer = FrameWriter::default();
    let head = Head {
        state: Some(entry.version),
        ..Head::new(0, entry.operation, entry.row, Version::NIL)
    };
    let mut values = writer.row(&head, entry.values().len());
    entry.values().for_each(|value| values.value(value));
    writer.finish(KEPT_FRAME).1
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
