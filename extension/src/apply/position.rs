//! How far this database has come with a source, and which parts may come next.
//!
//! Two applies from one source wait for each other: the source is locked first. Its row of `received`
//! is written only where it changes: most batches of a stream bring rows and no new position.

use pgrx::PgSqlErrorCode;
use syncjournal_core::Snapshot;
use syncjournal_core::wire::{Header, Mode};
use uuid::Uuid;

use super::outcome::Outcome;
use super::unfinished::{self, Expected};
use crate::error::{Failure, not_installed};
use crate::pg::query::{self, Arg, View};
use crate::pg::table::{Field, Found, Key, Table};
use crate::pg::{catalog, lock};

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
    /// Locks the source to the transaction's end, and reads the position.
    pub fn lock(source: Uuid) -> Self {
        let relid = catalog::own_relation(c"received").unwrap_or_else(|| not_installed().raise());
        lock::take_named(relid, lock_number(source));
        let table = Table::write(relid);
        let key = source.into_bytes();
        let read = |table: &Table| table.newest(&[(1, Key::Uuid(&key))], Self::read);
        read(&table).unwrap_or_else(|| {
            query::execute(
                "insert into syncjournal.received (node_id) values ($1) on conflict do nothing",
                &[Arg::Uuid(key)],
            );
            Self { snapshot: None, incomplete: None }
        })
    }

    fn read(row: &Found) -> Self {
        let set = row.uuid(3).map(Uuid::from_bytes);
        Self {
            snapshot: row.bytes(2).and_then(|bytes| snapshot_of(&bytes)),
            incomplete: set.zip(row.int4(4).and_then(|part| u32::try_from(part).ok())),
        }
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
        let snapshot = snapshot.filter(|to| self.snapshot.as_ref() != Some(to));
        let pending = (!last || header.continues).then_some((header.set_id, header.part));
        if snapshot.is_some() || pending != self.incomplete {
            advance_to(header.source.node_id, snapshot, pending);
        }
        unfinished::step(
            header.continues.then_some(Expected { set_id: header.set_id, part: header.part + 1 }),
        );
    }
}

/// Writes the source's row.
fn advance_to(source: Uuid, snapshot: Option<&Snapshot>, pending: Option<(Uuid, u32)>) {
    let relid = catalog::own_relation(c"received").unwrap_or_else(|| not_installed().raise());
    let snapshot = snapshot.map(snapshot_bytes);
    let (set, part) = match pending {
        Some((set, part)) => {
            (Field::Uuid(set.into_bytes()), Field::Int4(i32::try_from(part).unwrap_or(i32::MAX)))
        }
        None => (Field::Null, Field::Null),
    };
    Table::write(relid).change(&[(1, Key::Uuid(source.as_bytes()))], |_| {
        let mut changes = vec![(3, set), (4, part), (5, Field::Now)];
        changes.extend(snapshot.as_ref().map(|bytes| (2, Field::Bytes(bytes))));
        changes
    });
}

/// Of a source, among the locks on `received`.
fn lock_number(source: Uuid) -> u32 {
    let [a, b, c, d, ..] = source.into_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// A `pg_snapshot` as the server keeps it: the number of running transactions, xmin, xmax, they.
fn snapshot_bytes(snapshot: &Snapshot) -> Vec<u8> {
    let count = u32::try_from(snapshot.running().len()).unwrap_or(u32::MAX);
    let numbers = [snapshot.xmin(), snapshot.xmax()];
    let numbers = numbers.iter().chain(snapshot.running()).flat_map(|xid| xid.to_ne_bytes());
    count.to_ne_bytes().into_iter().chain(numbers).collect()
}

fn snapshot_of(bytes: &[u8]) -> Option<Snapshot> {
    let (_, numbers) = bytes.split_first_chunk::<4>()?;
    let (chunks, []) = numbers.as_chunks::<8>() else { return None };
    let numbers: Vec<u64> = chunks.iter().map(|chunk| u64::from_ne_bytes(*chunk)).collect();
    let [xmin, xmax, running @ ..] = numbers.as_slice() else { return None };
    Snapshot::new(*xmin, *xmax, running.to_vec())
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
                parts = excluded.parts, quarantined = s.quarantined + excluded.quarantined",
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
    let applied = outcome.entries - outcome.skipped - outcome.quarantined;
    add_to_activity(peer_id, [applied, bytes, outcome.conflicts, i64::from(last)]);
}

/// Adds to a peer's totals: entries and bytes applied, conflicts, sets.
fn add_to_activity(peer_id: i16, more: [i64; 4]) {
    let relid = catalog::own_relation(c"peer_activity");
    let table = Table::write(relid.unwrap_or_else(|| not_installed().raise()));
    table.change(&[(1, Key::Int2(peer_id))], |now| {
        let sum =
            |(column, more)| (column, Field::Int8(now.int8(column).unwrap_or(0) as u64 + more));
        let mut changes: Vec<_> = (4..)
            .zip(more)
            .filter(|(_, more)| *more != 0)
            .map(|(c, m)| sum((c, m as u64)))
            .collect();
        changes.push((8, Field::Now));
        changes
    });
}
