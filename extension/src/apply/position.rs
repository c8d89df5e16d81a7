//! How far this database has come with a source, and which parts may come next.
//!
//! Two applies from one source wait for each other: the row of `received` is locked first.

use std::str::FromStr;

use pgrx::PgSqlErrorCode;
use syncjournal_core::Snapshot;
use syncjournal_core::wire::{Header, Mode};
use uuid::Uuid;

use super::outcome::Outcome;
use super::unfinished::{self, Expected};
use crate::error::Failure;
use crate::pg::query::{self, Arg, Row, View};

/// Where the source stands here.
#[derive(Debug)]
pub struct Position {
    /// Everything visible in it is here; none: nothing has come yet.
    snapshot: Option<Snapshot>,
    /// The set that is not complete yet, and the last part of it that is here.
    incomplete: Option<(Uuid, u32)>,
}

/// What a part is to this position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Apply,
    /// It is here already.
    Known,
}

impl Position {
    /// Reads and locks the position.
    pub fn lock(source: Uuid) -> Self {
        let node = Arg::Uuid(*source.as_bytes());
        let sql = "select snapshot::text, set_id, part from syncjournal.received \
            where node_id = $1 for update";
        let read = |row: &Row| Self {
            snapshot: row.text(1).and_then(|text| Snapshot::from_str(&text).ok()),
            incomplete: row
                .uuid(2)
                .zip(row.int4(3))
                .map(|(set, part)| (Uuid::from_bytes(set), u32::try_from(part).unwrap_or(0))),
        };
        query::first(View::Newest, sql, &[node], read).unwrap_or_else(|| {
            query::execute(
                "insert into syncjournal.received (node_id) values ($1) on conflict do nothing",
                &[node],
            );
            query::first(View::Newest, sql, &[node], read)
                .unwrap_or(Self { snapshot: None, incomplete: None })
        })
    }

    /// Checks that the part may be applied now.
    pub fn check(&self, header: &Header) -> Next {
        let done = self.incomplete.filter(|(set, _)| *set == header.set_id).map(|(_, part)| part);
        if self.is_complete(header) || done.is_some_and(|done| header.part <= done) {
            return Next::Known;
        }
        check_unfinished(header);
        if header.part > 1 {
            let next = done.map_or(1, |done| done + 1);
            if header.part != next {
                out_of_order(header, next);
            }
            return Next::Apply;
        }
        self.check_gap(header);
        Next::Apply
    }

    /// Whether the whole set has been applied before.
    fn is_complete(&self, header: &Header) -> bool {
        let sql = "select from syncjournal.set_log \
            where set_id = $1 and direction = 'received' and confirmed_at is not null";
        header.mode != Mode::Stream
            && query::run(View::Newest, sql, &[Arg::Uuid(*header.set_id.as_bytes())], |_| ()) > 0
    }

    fn check_gap(&self, header: &Header) {
        let covered = header.from.is_empty()
            || self.snapshot.as_ref().is_some_and(|here| here.covers(&header.from));
        if !covered {
            self.check_restored(header);
            let here = self.snapshot.as_ref().map_or("nothing".to_owned(), |snapshot| {
                format!("everything up to snapshot {snapshot}")
            });
            Failure::new(
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("a sync set is missing before this one, which begins at {}", header.from),
            )
            .detail(format!("From node \"{}\" this database has {here}.", header.source.name))
            .hint(
                "Apply the set that leads there first, or have the source make a full set: \
                    syncjournal.prep_sync(name, mode => 'full'). If this database was restored from a \
                    backup, say so first: select syncjournal.rejoin().",
            )
            .raise();
        }
    }

    /// The source has had more of this database than there is: it is an earlier state of itself.
    fn check_restored(&self, header: &Header) {
        let Some(received) = header.received.as_ref().map(ToString::to_string) else { return };
        let sql = "select where pg_catalog.pg_snapshot_xmax($1::pg_snapshot) \
            > pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())";
        if query::run(View::Newest, sql, &[Arg::Text(&received)], |_| ()) > 0 {
            let name = &header.source.name;
            Failure::new(
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                "this database was restored from a backup",
            )
            .detail(format!(
                "Node \"{name}\" has had everything up to snapshot {received} of it, which it has \
                    not reached again."
            ))
            .hint(format!(
                "Say so: select syncjournal.rejoin(). Then bring a set to \"{name}\": it will send \
                    back what it has of this node."
            ))
            .raise();
        }
    }

    /// Writes down that the part has been applied.
    pub fn advance(&self, header: &Header) {
        let last = header.mode == Mode::Stream || header.part == header.parts;
        let farther = |to: &Snapshot| self.snapshot.as_ref().is_none_or(|here| to.covers(here));
        let snapshot = if last && farther(&header.to) { Some(&header.to) } else { None };
        let snapshot = snapshot.or(self.snapshot.as_ref()).map(ToString::to_string);
        let pending = !last || header.continues;
        query::execute(
            "update syncjournal.received set snapshot = $2::pg_snapshot, set_id = $3, \
                part = case when $3 is not null then $4 end, received_at = pg_catalog.now() where node_id = $1",
            &[
                Arg::Uuid(*header.source.node_id.as_bytes()),
                snapshot.as_deref().map_or(Arg::NoText, Arg::Text),
                if pending { Arg::Uuid(*header.set_id.as_bytes()) } else { Arg::NoUuid },
                Arg::Int4(i32::try_from(header.part).unwrap_or(i32::MAX)),
            ],
        );
        unfinished::step(
            header.continues.then_some(Expected { set_id: header.set_id, part: header.part + 1 }),
        );
    }
}

/// Half a transaction waits for its other half, and that for it.
fn check_unfinished(header: &Header) {
    let this = Expected { set_id: header.set_id, part: header.part };
    match unfinished::expected() {
        Some(expected) if expected != this => out_of_order(header, expected.part),
        None if header.resumes => Failure::new(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("part {} goes on with a transaction of the part before", header.part),
        )
        .hint("Apply all parts of the set in one transaction: begin; ...; commit.")
        .raise(),
        _ => {}
    }
}

fn out_of_order(header: &Header, next: u32) -> ! {
    Failure::new(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("part {} of set {} is out of order", header.part, header.set_id),
    )
    .hint(format!("Apply part {next} of its set first."))
    .raise()
}

/// The source says what it has of ours: the sets that led there need no other confirmation.
///
/// Only with the last part, so that no lock of it is held while others are waited for. A position
/// that lies in this database's future speaks of another history and confirms nothing; nor, once it
/// was restored from a backup, does one that is of no set made since.
pub fn confirm_what_arrived(header: &Header, peer_id: i16) {
    let Some(received) = header.received.as_ref().filter(|_| header.part == header.parts) else {
        return;
    };
    let received = received.to_string();
    let args = [Arg::Int2(peer_id), Arg::Text(&received)];
    query::execute(
        "update syncjournal.registered_peer p \
        set confirmed = case when p.confirmed is null \
                or syncjournal.snapshot_covers(said, p.confirmed) then said else p.confirmed end, \
            has_said = case when p.has_said is null \
                or syncjournal.snapshot_covers(said, p.has_said) then said else p.has_said end \
        from (select $2::pg_snapshot) s (said) \
        where p.peer_id = $1 and p.has_said::text is distinct from $2 \
            and pg_catalog.pg_snapshot_xmax(said) \
                <= pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()) \
            and not exists (select from syncjournal.local_node l \
                where l.rejoined_at is not null and not exists (\
                    select from syncjournal.set_log s where s.peer_id = p.peer_id \
                        and s.direction = 'sent' and s.made_at > l.rejoined_at \
                        and syncjournal.snapshot_covers(said, s.to_snapshot)))",
        &args,
    );
    query::execute(
        "update syncjournal.set_log s set confirmed_at = pg_catalog.now() \
        from syncjournal.registered_peer p \
        where s.peer_id = $1 and p.peer_id = $1 and s.direction = 'sent' \
            and s.confirmed_at is null and p.confirmed::text = $2 \
            and syncjournal.snapshot_covers(p.confirmed, s.to_snapshot)",
        &args,
    );
}

/// The logs of what was applied: sets, and the peer's totals.
pub fn record(header: &Header, peer_id: i16, bytes: usize, outcome: &Outcome) {
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    let last = header.part == header.parts;
    if header.mode != Mode::Stream {
        let (from, to) = (header.from.to_string(), header.to.to_string());
        query::execute(
            "insert into syncjournal.set_log as s (set_id, direction, peer_id, mode, \
                from_snapshot, to_snapshot, parts, entries, bytes, confirmed_at, quarantined) \
            values ($1, 'received', $2, $3, $4::pg_snapshot, $5::pg_snapshot, $6, $7, $8, \
                case when $9 then pg_catalog.now() end, $10) \
            on conflict (set_id) do update set entries = s.entries + excluded.entries, \
                bytes = s.bytes + excluded.bytes, confirmed_at = excluded.confirmed_at, \
                quarantined = s.quarantined + excluded.quarantined",
            &[
                Arg::Uuid(*header.set_id.as_bytes()),
                Arg::Int2(peer_id),
                Arg::Text(header.mode.as_str()),
                Arg::Text(&from),
                Arg::Text(&to),
                Arg::Int4(i32::try_from(header.parts).unwrap_or(i32::MAX)),
                Arg::Int8(outcome.entries),
                Arg::Int8(bytes),
                Arg::Bool(last),
                Arg::Int8(outcome.quarantined),
            ],
        );
    }
    query::execute(
        "update syncjournal.peer_activity set entries_applied = entries_applied + $2, \
            bytes_applied = bytes_applied + $3, conflicts = conflicts + $4, \
            sync_count = sync_count + $5, last_sync_at = pg_catalog.now() where peer_id = $1",
        &[
            Arg::Int2(peer_id),
            Arg::Int8(outcome.entries - outcome.skipped - outcome.quarantined),
            Arg::Int8(bytes),
            Arg::Int8(outcome.conflicts),
            Arg::Int8(i64::from(last)),
        ],
    );
}
