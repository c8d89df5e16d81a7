//! What a person decides on a conflict that waits.
//!
//! The decision is an entry of this node with two parents, the row as it is and the head that waits:
//! where it arrives, both are behind it, and conflicts between them end by themselves.

use std::collections::HashSet;

use pgrx::PgSqlErrorCode;
use pgrx::prelude::*;
use syncjournal_core::merge::{self, Choice, MergeError, RowState};
use syncjournal_core::{RowId, Version};

use super::conflicts;
use super::entry::Table;
use super::host::RowHost;
use super::references;
use super::target::{Target, until_settled};
use crate::capture;
use crate::error::Failure;
use crate::layout;
use crate::pg::open_table::table_by_name;
use crate::pg::postponed::Suspect;
use crate::pg::query::{self, Arg, Row, View};
use crate::pg::role::ReplicaRole;
use crate::value::PortableSettings;

/// A row of `conflict_log` that waits.
struct Pending {
    conflict_id: i64,
    peer_id: i16,
    table: (String, String),
    row: RowId,
    head: Version,
}

/// Settles a pending conflict; see the user's reference in README.
#[pg_extern(volatile)]
fn settle_conflict(conflict_id: Option<i64>, choice: Option<&str>, row: Option<&str>) {
    check_choice(choice, row.is_some());
    let pending = pending(conflict_id);
    let (schema, name) = &pending.table;
    let Some(tracked) = table_by_name(schema, name).and_then(layout::tracked) else {
        refuse(format!("table \"{schema}.{name}\" of the conflict is not tracked here"))
            .hint(format!("Track it: select syncjournal.track('{schema}.{name}')."))
            .raise()
    };
    capture::flush_now();
    // Each ends before the one above it.
    let _replica = ReplicaRole::enter();
    let _settings = PortableSettings::enter();
    let place = format!("table \"{schema}.{name}\", conflict {}", pending.conflict_id);
    let mut table = Table::open(Target::open(&tracked), pending.peer_id, place);
    let choice = (choice.unwrap_or_default(), row);
    if table.target.has_slices() {
        let before = table.target.slices_of(pending.row);
        table.passages.diverged(pending.row, before);
    }
    let winner = until_settled(|| table.resolve(&pending, choice));
    table.settle_postponed();
    table.journal_passages();
    conflicts::end(pending.conflict_id, Arg::Text(winner));
    table.moved(pending.row);
    let waiting = table.target.take_pending();
    Suspect::check(&table.target.close());
    Suspect::check(&references::fill(None, waiting, &HashSet::from([pending.row])).suspects);
}

impl Table {
    /// Who won; `None` where another transaction has changed the row in between.
    fn resolve(&mut self, pending: &Pending, choice: (&str, Option<&str>)) -> Option<&'static str> {
        let row = pending.row;
        let local = self.standing(row).unwrap_or_else(|| gone(row));
        let (chosen, winner) = match choice {
            ("local", _) => (Choice::Local, "local"),
            ("remote", _) => (Choice::Remote, "remote"),
            (_, json) => (Choice::Row(Some(self.given(&local, json?))), "merged"),
        };
        let rules = self.rules.for_row(row);
        let version = capture::lone_version(local.version.max(pending.head));
        let mut host = RowHost::new(row, &mut self.past, &mut self.target, &self.rules);
        let made = merge::resolve(&rules, &local, pending.head, chosen, version, &mut host);
        let (write, state) = match made {
            Ok(made) => made,
            Err(MergeError::Host(never)) => match never {},
            Err(MergeError::Missing(missing)) => {
                refuse(format!("entry {missing} of row {row} is missing in the journal"))
                    .hint("Choose a row of your own, or have the source make a full set.")
                    .raise()
            }
        };
        self.write_state(row, Some(&local), &state)?;
        self.journal_own(row, &write);
        Some(winner)
    }

    /// A row of one's own; columns that it leaves out stay as they are.
    fn given(&self, local: &RowState, json: &str) -> Vec<merge::Value> {
        self.target.image_of(json, &local.columns)
    }
}

fn check_choice(choice: Option<&str>, has_row: bool) {
    let wrong = match (choice, has_row) {
        (Some("local" | "remote"), false) | (Some("row"), true) => return,
        (Some("row"), false) => "choice \"row\" needs a row".to_owned(),
        (Some(choice @ ("local" | "remote")), true) => {
            format!("choice \"{choice}\" has no use for a row")
        }
        (Some(choice), _) => format!("unknown choice \"{choice}\""),
        (None, _) => "a choice must be given".to_owned(),
    };
    Failure::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, wrong)
        .hint("Choose local, remote, or row with row => '{\"column\": value, ...}'.")
        .raise()
}

fn pending(conflict_id: Option<i64>) -> Pending {
    let number = conflict_id.unwrap_or_default();
    let sql = "select c.status = 'pending', c.peer_id, c.schema_name, c.table_name, c.row_id, \
            i.head \
        from syncjournal.conflict_log c left join syncjournal.inbox i using (conflict_id) \
        where c.conflict_id = $1 for update of c";
    let read = |row: &Row| {
        let head = row.uuid(6).map(Version::from_bytes);
        let pending = Pending {
            conflict_id: number,
            peer_id: row.int2(2).unwrap_or_default(),
            table: (row.text(3).unwrap_or_default(), row.text(4).unwrap_or_default()),
            row: RowId(row.uuid(5).unwrap_or_default()),
            head: head.unwrap_or_default(),
        };
        (row.bool(1) == Some(true), head.is_some(), pending)
    };
    match query::first(View::Newest, sql, &[Arg::Int8(number)], read) {
        Some((true, true, pending)) => pending,
        Some((true, false, _)) => {
            refuse(format!("conflict {number} waits for an entry that is in quarantine"))
                .hint(
                    "See view syncjournal.quarantine, and call syncjournal.retry_quarantine() or \
                        discard_quarantine().",
                )
                .raise()
        }
        Some((false, ..)) => refuse(format!("conflict {number} is resolved already"))
            .hint("Change the row itself: that travels as any other change.")
            .raise(),
        None => Failure::new(
            PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            format!("conflict {number} does not exist"),
        )
        .hint("View syncjournal.conflict lists those that do.")
        .raise(),
    }
}

fn refuse(message: String) -> Failure {
    Failure::new(PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message)
}

fn gone(row: RowId) -> ! {
    refuse(format!("row {row} is here no longer, and no tombstone tells why"))
        .hint("Have the source make a full set: syncjournal.prep_sync(name, mode => 'full').")
        .raise()
}
