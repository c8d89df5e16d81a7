//! Two rows with one natural key: what the table's `on_key_collision` makes of them.
//!
//! Found where unique constraints are checked, at the end of a call; so a row whose key is free costs
//! nothing. The call is then laid once more: under `skip` without the row's entries, else with them,
//! and one of the two rows makes way before the constraints are checked again.
//!
//! Which of the two it is follows from their identities alone: the greater one, which is the younger
//! where identities are made up. The entry by which it makes way is derived from what the row was. So
//! nodes that meet both rows in whichever order make the same entry, and end equal. Only from a peer
//! to which nothing is sent the incoming identity is taken over in any case: it would never learn of
//! ours.

use std::rc::Rc;

use syncjournal_core::merge::{Change, ColumnChange, RowState, Value, Write};
use syncjournal_core::{RowId, Version};

use super::entry::Table;
use super::layer::Laid;
use super::quarantine::{Problem, Rivals, Violation, alone};
use super::source::Source;
use super::target::{Target, until_settled};
use crate::capture;
use crate::layout::{self, Tracked};
use crate::pg::postponed::Violator;
use crate::pg::query::{self, Arg, View};
use crate::pg::role::ReplicaRole;

/// What a table does about a natural key that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The row that is here stays, the other stays out.
    Skip,
    /// Both are one row: one identity is given up.
    Adopt,
    /// Both stay, one under another name.
    Rename,
}

impl Remedy {
    /// What is to be done about a row in whose way others are; none: it waits for a person.
    pub fn of(tracked: &Tracked, violator: &Violator) -> Option<Self> {
        let [(_, standing)] = violator.others.as_slice() else { return None };
        let sql = "select syncjournal.key_collision($1, $2, $3::jsonb, $4::jsonb)";
        let args = [
            Arg::Int4(tracked.relation_id),
            Arg::Uuid(violator.row),
            Arg::Text(&violator.json),
            Arg::Text(standing),
        ];
        let found = query::first(View::Statement, sql, &args, |row| row.text(1)).flatten()?;
        match found.as_str() {
            "skip" => Some(Self::Skip),
            "adopt" => Some(Self::Adopt),
            "rename" => Some(Self::Rename),
            _ => None,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Adopt => "adopt",
            Self::Rename => "rename",
        }
    }
}

/// Lets rows make way for others, now that all entries of the call have been laid. Those that cannot
/// come back as violations.
pub fn make_way<'a>(
    source: &Source,
    collisions: impl Iterator<Item = &'a Rc<Violation>>,
) -> Result<Laid, Vec<Violation>> {
    let (mut laid, mut failed) = (Laid::default(), Vec::new());
    for violation in collisions {
        match alone(source, || settle(source, violation)) {
            Ok(done) => laid.add(done),
            Err(problem) => failed.push(violation.given_up(problem)),
        }
    }
    if failed.is_empty() { Ok(laid) } else { Err(failed) }
}

fn settle(source: &Source, violation: &Violation) -> Laid {
    let mut laid = Laid::default();
    let Violation { relation_id, row: incoming, rivals: Some(rivals), .. } = violation else {
        return laid;
    };
    let (Some(remedy), [(standing, _)]) = (violation.remedy, rivals.others.as_slice()) else {
        return laid;
    };
    let Some(tracked) = layout::table_of(*relation_id).and_then(layout::tracked) else {
        return laid;
    };
    let is_taken_over = remedy == Remedy::Adopt && !source.two_way;
    let gives_way = if is_taken_over { *standing } else { (*incoming).max(*standing) };
    let stays = if gives_way == *incoming { *standing } else { *incoming };
    // What triggers do to the rows must not show to the capture's buffer late.
    capture::flush_now();
    let _replica = ReplicaRole::enter();
    let target = Target::enforcing(&tracked, source.keys.as_ref());
    let mut table = Table::open(target, source.peer_id, source.name.clone());
    let given_up = json_of(&mut table, gives_way);
    let kept = json_of(&mut table, stays);
    until_settled(|| table.give_way(gives_way, remedy));
    table.settle_postponed();
    if let (Remedy::Adopt, Some(given_up), Some(kept)) = (remedy, given_up, kept) {
        children_follow(&tracked, &given_up, &kept);
    }
    let winner = match remedy {
        Remedy::Rename => "merged",
        _ if gives_way == *incoming => "local",
        _ => "remote",
    };
    let is_new = record(source, &table, violation, rivals, remedy, winner);
    laid.outcome = table.outcome;
    laid.outcome.entries = 0;
    laid.outcome.conflicts += i64::from(is_new);
    laid.touched.add(table.target.touched());
    laid.suspects.extend(table.target.close());
    laid
}

/// A row that stays out, as `skip` has it: the record of it.
pub fn record_skip(source: &Source, violation: &Violation) -> bool {
    let Violation { relation_id, rivals: Some(rivals), .. } = violation else { return false };
    let Some(tracked) = layout::table_of(*relation_id).and_then(layout::tracked) else {
        return false;
    };
    let table = Table::open(Target::open(&tracked), source.peer_id, source.name.clone());
    let is_new = record(source, &table, violation, rivals, Remedy::Skip, "local");
    let _ = table.target.close();
    is_new
}

impl Table {
    /// The row goes, or takes another name, by an entry that follows from what it is.
    fn give_way(&mut self, row: RowId, remedy: Remedy) -> Option<()> {
        let Some(state) = self.standing(row).filter(|state| state.alive) else { return Some(()) };
        let seen = state.version;
        let (write, next) = match remedy {
            Remedy::Rename => {
                let Some(column) = self.renamed_column() else { return Some(()) };
                let mut columns = state.columns.clone();
                let name = columns[column].as_deref().unwrap_or_default();
                let name = [name, format!(" ({row})").as_bytes()].concat();
                columns[column] = Some(name.into());
                let version = Version::renamed(row, seen);
                let write = Write { version, ..renaming(&state, &columns, column) };
                (write, RowState { version, alive: true, columns })
            }
            Remedy::Adopt | Remedy::Skip => {
                let version = Version::given_up(row, seen);
                let change = Change::Delete(state.columns.clone());
                let write = Write { version, prev: seen, merged: Version::NIL, change };
                (write, RowState { version, alive: false, columns: state.columns.clone() })
            }
        };
        self.write_state(row, Some(&state), &next)?;
        self.journal_own(row, &write);
        self.moved(row);
        Some(())
    }

    fn renamed_column(&self) -> Option<usize> {
        let sql = "select syncjournal.renamable_column(t.relid, t.natural_key)::text \
            from syncjournal.tracked_relation t where t.relation_id = $1";
        let args = [Arg::Int4(self.target.relation_id)];
        let name = query::first(View::Newest, sql, &args, |row| row.text(1)).flatten()?;
        self.target.layout().position(&name)
    }
}

/// The first update of a row that was there when its table was tracked tells all of it.
fn renaming(state: &RowState, columns: &[Value], column: usize) -> Write {
    let is_first = state.version.is_nil();
    let changes = (0..columns.len()).filter(|place| is_first || *place == column);
    let change = |place: usize| ColumnChange {
        column: place,
        old: state.columns[place].clone(),
        new: columns[place].clone(),
    };
    let change = Change::Update(changes.map(change).collect());
    Write { version: Version::NIL, prev: state.version, merged: Version::NIL, change }
}

fn json_of(table: &mut Table, row: RowId) -> Option<String> {
    table.target.find(row)?;
    let image = table.target.image();
    Some(table.target.json(row, &image))
}

fn children_follow(tracked: &Tracked, given_up: &str, kept: &str) {
    let root = i64::from(tracked.root.to_u32());
    query::execute(
        "select syncjournal.follow_adopted(($1::oid)::regclass, $2::jsonb, $3::jsonb)",
        &[Arg::Int8(root), Arg::Text(given_up), Arg::Text(kept)],
    );
    capture::flush_now();
}

/// Leaves it in the record of conflicts, as what it was settled by; whether it was not there yet.
fn record(
    source: &Source,
    table: &Table,
    violation: &Violation,
    rivals: &Rivals,
    remedy: Remedy,
    winner: &str,
) -> bool {
    let sql = "insert into syncjournal.conflict_log as c (peer_id, schema_name, table_name, \
            row_id, conflict_type, policy, remote_version, local, remote, winner, status) \
        select $1, $2, $3, $4, 'insert_exists', $5, $6, $7::jsonb - own.columns, \
            $8::jsonb - own.columns, $9, 'resolved' \
        from syncjournal.tracked_relation t, \
            lateral (select case when t.identity_added \
                then array['sync_version', t.identity_column::text] \
                else array['sync_version'] end as columns) own \
        where t.relation_id = $10 \
        on conflict (row_id, \
            (coalesce(remote_version, '00000000-0000-0000-0000-000000000000')), \
            (coalesce(local_version, '00000000-0000-0000-0000-000000000000')), \
            schema_name, table_name) do update \
        set policy = excluded.policy, winner = excluded.winner, status = 'resolved' \
        where c.status = 'pending'";
    let version = rivals.version;
    let local = rivals.others.first().map_or("{}", |(_, json)| json.as_str());
    let args = [
        Arg::Int2(source.peer_id),
        Arg::Text(&table.target.layout().schema),
        Arg::Text(&table.target.layout().table),
        Arg::Uuid(violation.row.0),
        Arg::Text(remedy.as_str()),
        if version.is_nil() { Arg::NoUuid } else { Arg::Uuid(version.to_bytes()) },
        Arg::Text(local),
        Arg::Text(&rivals.json),
        Arg::Text(winner),
        Arg::Int4(violation.relation_id),
    ];
    query::execute(sql, &args) > 0
}

impl Violation {
    /// What remains where a row cannot make way.
    fn given_up(&self, problem: Problem) -> Self {
        let Self { relation_id, row, .. } = *self;
        Self { relation_id, row, problem, rivals: self.rivals.clone(), remedy: None }
    }
}
