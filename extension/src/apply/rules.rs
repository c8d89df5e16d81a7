//! The rules of a tracked table: its policy, its counters, its function.

use std::cell::OnceCell;

use pgrx::PgSqlErrorCode;
use syncjournal_core::RowId;
use syncjournal_core::merge::{Policy, Rules, Value};

use super::target::Target;
use crate::error::{Failure, corrupted};
use crate::layout;
use crate::pg::query::{self, Arg, Row, View};
use crate::prep_sync::pattern_list;

/// What was set by `track` and `alter_tracking`, read when an entry first asks for it.
#[derive(Debug)]
pub struct TableRules {
    relation_id: i32,
    layout_id: i32,
    known: OnceCell<Known>,
}

#[derive(Debug)]
struct Known {
    rules: Rules,
    /// The function of policy `custom`, quoted, with its schema.
    merge_function: Option<String>,
    /// Our own columns in the table, which no user's function is to see.
    own_columns: String,
}

impl Known {
    fn read(relation_id: i32, layout_id: i32) -> Self {
        let sql = "select t.conflict_policy, \
                pg_catalog.array_to_string(t.counters, E'\\x01'), \
                (select pg_catalog.format('%I.%I', n.nspname, p.proname) from pg_catalog.pg_proc p \
                    join pg_catalog.pg_namespace n on n.oid = p.pronamespace \
                    where p.oid = pg_catalog.to_regprocedure(t.merge_function)), \
                (case when t.identity_added \
                    then array['sync_version', t.identity_column::text] \
                    else array['sync_version'] end)::text \
            from syncjournal.tracked_relation t where t.relation_id = $1";
        let read = |row: &Row| {
            let counters = pattern_list(row.text(2));
            (row.text(1).unwrap_or_default(), counters, row.text(3), row.text(4))
        };
        let found = query::first(View::Newest, sql, &[Arg::Int4(relation_id)], read);
        let (policy_name, counters, merge_function, own_columns) =
            found.unwrap_or_else(|| corrupted("a table is tracked no longer").raise());
        let layout = layout::by_id(layout_id);
        let layout = &layout.definition;
        let rules = Rules {
            row: RowId::NIL,
            policy: policy(&policy_name),
            columns: layout.columns.len(),
            counters: counters.iter().filter_map(|name| layout.position(name)).collect(),
        };
        let own_columns = own_columns.unwrap_or_default();
        Self { rules, merge_function, own_columns }
    }
}

impl TableRules {
    pub fn of(target: &Target) -> Self {
        let Target { relation_id, layout_id, .. } = *target;
        Self { relation_id, layout_id, known: OnceCell::new() }
    }

    fn known(&self) -> &Known {
        self.known.get_or_init(|| Known::read(self.relation_id, self.layout_id))
    }

    /// As the core wants them, for one row.
    pub fn for_row(&self, row: RowId) -> Rules {
        Rules { row, ..self.known().rules.clone() }
    }

    /// What the table's function makes of base, local and remote; none deletes the row. A column that
    /// it leaves out stays as it is here.
    pub fn merge_rows(
        &self,
        target: &mut Target,
        row: RowId,
        sides: [Option<&[Value]>; 3],
    ) -> Option<Vec<Value>> {
        let Known { merge_function, own_columns, .. } = self.known();
        let Some(function) = merge_function else {
            Failure::new(
                PgSqlErrorCode::ERRCODE_UNDEFINED_FUNCTION,
                "the table's policy is custom, and its merge function does not exist",
            )
            .hint("Name one: syncjournal.alter_tracking(relation, merge_function => ...).")
            .raise()
        };
        let [_, local, remote] = sides;
        let shown = sides.map(|side| side.map(|image| target.json(row, image)));
        let sql = format!(
            "select ({function}($1::pg_catalog.jsonb operator(pg_catalog.-) $4::pg_catalog.text[], \
                $2::pg_catalog.jsonb operator(pg_catalog.-) $4::pg_catalog.text[], \
                $3::pg_catalog.jsonb operator(pg_catalog.-) $4::pg_catalog.text[]))::pg_catalog.text"
        );
        let [base, ours, theirs] =
            shown.each_ref().map(|side| side.as_deref().map_or(Arg::NoText, Arg::Text));
        let args = [base, ours, theirs, Arg::Text(own_columns)];
        let made = target.as_owner(|| query::once(&sql, &args, |row| row.text(1)));
        Some(target.image_of(&made.flatten()?, local.or(remote).unwrap_or_default()))
    }
}

/// The order of nodes under `node_priority`: the same on every node.
fn policy(name: &str) -> Policy {
    match name {
        "first_update_wins" => Policy::FirstUpdateWins,
        "merge_columns" => Policy::MergeColumns,
        "node_priority" => Policy::NodePriority(preferred_nodes()),
        "custom" => Policy::Custom,
        "manual" => Policy::Manual,
        "keep_local" => Policy::KeepLocal,
        "apply_remote" => Policy::ApplyRemote,
        _ => Policy::LastUpdateWins,
    }
}

fn preferred_nodes() -> Vec<u32> {
    let sql = "select tag from syncjournal.preferred_node p, \
            lateral syncjournal.all_tags(p.node_id) with ordinality as t (tag, n) \
        order by p.place, n";
    let mut tags = Vec::new();
    query::run(View::Newest, sql, &[], |row| tags.extend(row.int4(1).map(|tag| tag as u32)));
    tags
}
