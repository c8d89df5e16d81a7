//! What is asked for, checked: the peer, the mode, and what may travel.

use std::borrow::Cow;
use std::str::FromStr;

use pgrx::PgSqlErrorCode;
use syncjournal_core::Snapshot;
use syncjournal_core::pattern::Selection;
use syncjournal_core::slice::Audience;
use syncjournal_core::wire::{Mode, NodeInfo, Terms};
use uuid::Uuid;

use crate::error::{Failure, is_copy};
use crate::pg::query::{self, Arg, Row, View};
use crate::pg::transaction;
use crate::slice::Audiences;

/// Separates the patterns of a list on the way out of SQL; no name holds it.
const SEPARATOR: char = '\u{1}';

/// A checked request.
#[derive(Debug)]
pub struct Request {
    pub peer: Peer,
    pub mode: Mode,
    pub source: NodeInfo,
    /// What the caller's lists add to the peer's.
    pub include: Vec<String>,
    pub exclude: Vec<String>,
    pub from: Snapshot,
    pub to: Snapshot,
    /// What has come from the peer, told so that its sets confirm by themselves.
    pub received: Option<Snapshot>,
    pub terms: Terms,
    /// What the caller's lists select, where there are any.
    given: Option<Selection>,
    /// What the peer may have now.
    lists: Lists,
    /// What it might have before, oldest first.
    past: Vec<Era>,
}

/// What a peer may have.
#[derive(Debug)]
struct Lists {
    selection: Selection,
    /// What the peer's slices say beside them.
    audiences: Audiences,
}

/// Lists that held until they were changed.
#[derive(Debug)]
struct Era {
    until: Snapshot,
    changed_by: u64,
    lists: Lists,
    /// What the peer's links selected then.
    linked: Selection,
}

/// The lists by which an entry goes: by its transaction's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Time(usize);

/// The peer that the set is for.
#[derive(Debug)]
pub struct Peer {
    pub peer_id: i16,
    pub name: String,
    pub node_id: Option<Uuid>,
    include: Vec<String>,
    exclude: Vec<String>,
    direction: String,
    pub active: bool,
    confirmed: Option<Snapshot>,
    /// What came from it before this transaction it may have lost.
    pub resend_before: String,
    /// Joined by the separator.
    slices: String,
}

impl Request {
    /// Checks the arguments of `prep_sync`.
    pub fn check(
        peer: Option<&str>,
        mode: Option<&str>,
        include: Option<Vec<Option<String>>>,
        exclude: Option<Vec<Option<String>>>,
    ) -> Self {
        let asked = check_mode(mode.unwrap_or("changes"));
        let source = local_node();
        let peer = sendable_peer(peer.unwrap_or_default(), asked);
        let (include, exclude) = (plain(include), plain(exclude));
        let mut selected = None;
        if include.is_some() || exclude.is_some() {
            let everything = vec!["*.*".to_owned()];
            let given = include.as_ref().unwrap_or(&everything);
            check_matches(given);
            selected = Some(selection(given, exclude.as_deref().unwrap_or_default()));
        }
        let terms = super::terms::of(&peer);
        let (mode, from, to) = match asked {
            Asked::Full => (Mode::Full, Snapshot::empty(), statement_snapshot()),
            Asked::Changes => (Mode::Changes, position(&peer), statement_snapshot()),
            Asked::Notice => {
                let at = peer.confirmed.clone().unwrap_or_else(Snapshot::empty);
                (Mode::Changes, at.clone(), at)
            }
        };
        // Some of what `to` sees may have been committed without waiting for the disk. A crash would
        // give those transactions' numbers to others, and the peer would never ask for these.
        transaction::flush_wal(None);
        let include = include.unwrap_or_else(|| peer.include.clone());
        let exclude = [peer.exclude.clone(), exclude.unwrap_or_default()].concat();
        let received = received_from(&peer);
        let lists = Lists::of(&peer.include, &peer.exclude, &peer.slices);
        let (given, past) = (selected, past_of(&peer));
        Self { peer, mode, source, include, exclude, from, to, received, terms, given, lists, past }
    }

    /// The times of all lists that an entry may go by.
    pub fn times(&self) -> impl Iterator<Item = Time> + use<> {
        (0..=self.past.len()).map(Time)
    }

    /// The present.
    pub fn now(&self) -> Time {
        Time(self.past.len())
    }

    /// Which lists held when a transaction wrote.
    pub fn time_of(&self, xid: u64) -> Time {
        let was_before = |era: &Era| era.until.is_visible(xid) && era.changed_by != xid;
        Time(self.past.iter().position(was_before).unwrap_or(self.past.len()))
    }

    /// What of it was open to what a transaction wrote at a place of the WAL.
    pub fn audience_at<'a>(
        &self,
        audience: &'a Audience,
        written: (u64, u64),
    ) -> Cow<'a, Audience> {
        let lists = self.past.get(self.time_of(written.0).0).map_or(&self.lists, |era| &era.lists);
        lists.audiences.at(audience, written)
    }

    /// What the peer has of a table: the peer's lists and the given ones all have to agree. One of
    /// which slices are named for the peer goes by these, and must not be excluded.
    pub fn audience(
        &self,
        time: Time,
        relation_id: Option<i32>,
        (schema, table): (&str, &str),
    ) -> Audience {
        let era = self.past.get(time.0);
        let lists = era.map_or(&self.lists, |era| &era.lists);
        let own = &lists.selection;
        let were_linked = era.is_none_or(|era| era.linked.selects(schema, table));
        let is_given = |given: &Selection| given.selects(schema, table);
        if !were_linked || !self.given.as_ref().is_none_or(is_given) {
            return Audience::Nothing;
        }
        match relation_id.and_then(|relation| lists.audiences.by_slices(relation)) {
            Some(by_slices) if !own.excludes(schema, table) => by_slices.clone(),
            None if own.selects(schema, table) => Audience::Table,
            _ => Audience::Nothing,
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Changes,
    Full,
    /// No rows: only that the peer is switched off.
    Notice,
}

impl Lists {
    fn of(include: &[String], exclude: &[String], slices: &str) -> Self {
        Self { selection: selection(include, exclude), audiences: Audiences::of(slices) }
    }
}

/// The lists that the peer had before.
fn past_of(peer: &Peer) -> Vec<Era> {
    let sql = "select until::text, changed_by, pg_catalog.array_to_string(include, E'\\x01'), \
            pg_catalog.array_to_string(exclude, E'\\x01'), \
            pg_catalog.array_to_string(slices, E'\\x01'), \
            pg_catalog.array_to_string(coalesce(link_include, '{*.*}'), E'\\x01'), \
            pg_catalog.array_to_string(link_exclude, E'\\x01') \
        from syncjournal.peer_past where peer_id = $1 order by past_id";
    let mut past = Vec::new();
    query::run(View::Statement, sql, &[Arg::Int2(peer.peer_id)], |row| {
        let until = row.text(1).and_then(|text| Snapshot::from_str(&text).ok());
        let list = |column| pattern_list(row.text(column));
        let lists = (list(3), list(4), row.text(5), selection(&list(6), &list(7)));
        past.extend(until.map(|until| (until, row.int8(2).unwrap_or_default() as u64, lists)));
    });
    type Kept = (Vec<String>, Vec<String>, Option<String>, Selection);
    let era = |(until, changed_by, lists): (_, _, Kept)| {
        let (include, exclude, slices, linked) = lists;
        let lists = Lists::of(&include, &exclude, slices.as_deref().unwrap_or_default());
        Era { until, changed_by, lists, linked }
    };
    past.into_iter().map(era).collect()
}

fn check_mode(mode: &str) -> Asked {
    match mode {
        "changes" => Asked::Changes,
        "full" => Asked::Full,
        "notice" => Asked::Notice,
        _ => Failure::new(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("unknown mode \"{mode}\""),
        )
        .hint("Use mode => 'changes', mode => 'full' or mode => 'notice'.")
        .raise(),
    }
}

/// This database as a node.
fn local_node() -> NodeInfo {
    let sql = "select k.node_id, k.node_name, k.node_tag, c.system_identifier, \
            l.system_identifier <> c.system_identifier or l.database_oid <> (\
                select oid from pg_catalog.pg_database \
                where datname = pg_catalog.current_database()) \
        from syncjournal.local_node l join syncjournal.known_node k using (node_id), \
        pg_catalog.pg_control_system() c";
    let read = |row: &Row| {
        let node = NodeInfo {
            node_id: Uuid::from_bytes(row.uuid(1).unwrap_or_default()),
            name: row.text(2).unwrap_or_default(),
            tag: row.int4(3).unwrap_or_default() as u32,
            system_identifier: row.int8(4).unwrap_or_default() as u64,
        };
        (node, row.bool(5).unwrap_or_default())
    };
    let found = query::first(View::Statement, sql, &[], read);
    if let Some((node, true)) = &found {
        is_copy(&node.name).raise();
    }
    found.map(|(node, _)| node).unwrap_or_else(|| {
        Failure::new(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "this database has no name among the nodes yet",
        )
        .hint("Name it first: select syncjournal.create_node('name').")
        .raise()
    })
}

fn sendable_peer(name: &str, asked: Asked) -> Peer {
    let sql = "select peer_id, node_id, pg_catalog.array_to_string(include, E'\\x01'), \
        pg_catalog.array_to_string(exclude, E'\\x01'), direction, active, confirmed::text, \
            resend_before::text, pg_catalog.array_to_string(slices, E'\\x01') \
        from syncjournal.registered_peer where peer_name = $1";
    let read = |row: &Row| Peer {
        peer_id: row.int2(1).unwrap_or_default(),
        name: name.to_owned(),
        node_id: row.uuid(2).map(Uuid::from_bytes),
        include: pattern_list(row.text(3)),
        exclude: pattern_list(row.text(4)),
        direction: row.text(5).unwrap_or_default(),
        active: row.bool(6).unwrap_or_default(),
        confirmed: row.text(7).and_then(|text| Snapshot::from_str(&text).ok()),
        resend_before: row.text(8).unwrap_or_default(),
        slices: row.text(9).unwrap_or_default(),
    };
    let peer = query::first(View::Statement, sql, &[Arg::Text(name)], read).unwrap_or_else(|| {
        Failure::new(
            PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            format!("there is no peer \"{name}\""),
        )
        .hint("See view syncjournal.peer, or register it: select syncjournal.add_peer('name').")
        .raise()
    });
    let state = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
    match (peer.active, asked) {
        (false, Asked::Changes | Asked::Full) => {
            Failure::new(state, format!("peer \"{name}\" is not active"))
                .hint(
                    "Activate it: select syncjournal.alter_peer('name', active => true). Or tell it \
                        so: select * from syncjournal.prep_sync('name', mode => 'notice').",
                )
                .raise();
        }
        (true, Asked::Notice) => {
            Failure::new(state, format!("peer \"{name}\" is active: there is nothing to tell it"))
                .hint("Switch it off: select syncjournal.alter_peer('name', active => false).")
                .raise();
        }
        _ => {}
    }
    if peer.direction == "receive" {
        Failure::new(
            state,
            format!("nothing is sent to peer \"{name}\": its direction is \"receive\""),
        )
        .hint("Change it: select syncjournal.alter_peer('name', direction => 'both').")
        .raise();
    }
    peer
}

/// Where the peer stands. A peer without a position gets the journal from its beginning, as far as
/// that is still there.
fn position(peer: &Peer) -> Snapshot {
    if peer.confirmed.is_none() {
        let peer = &peer.name;
        pgrx::ereport!(
            NOTICE,
            PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION,
            format!("peer \"{peer}\" has confirmed nothing yet, so this is the whole journal"),
            "Rows from before their tables were tracked come only with mode => 'full'."
        );
    }
    let from = peer.confirmed.clone().unwrap_or_else(Snapshot::empty);
    let sql = "select snapshot::text from syncjournal.pruned";
    let pruned = query::first(View::Statement, sql, &[], |row| row.text(1)).flatten();
    let pruned = pruned.and_then(|text| Snapshot::from_str(&text).ok());
    if let Some(pruned) = pruned.filter(|pruned| !from.covers(pruned)) {
        Failure::new(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("the journal no longer holds what peer \"{}\" lacks", peer.name),
        )
        .detail(format!("The peer stands at snapshot {from}, the journal was pruned to {pruned}."))
        .hint("Bring the peer up to date with a full set: mode => 'full'.")
        .raise();
    }
    from
}

/// How far this database has come with the peer.
fn received_from(peer: &Peer) -> Option<Snapshot> {
    let node = Arg::Uuid(*peer.node_id?.as_bytes());
    let sql = "select snapshot::text from syncjournal.received where node_id = $1 and not doubted";
    let text = query::first(View::Statement, sql, &[node], |row| row.text(1)).flatten()?;
    Snapshot::from_str(&text).ok()
}

/// The calling statement's snapshot. What its own transaction writes is not seen in it, though
/// Postgres leaves the own number out of the list of those in progress.
fn statement_snapshot() -> Snapshot {
    let sql = "select pg_catalog.pg_current_snapshot()::text, \
        pg_catalog.pg_current_xact_id_if_assigned()::text";
    let (text, own) = query::first(View::Statement, sql, &[], |row| (row.text(1), row.text(2)))
        .unwrap_or_default();
    let text = text.unwrap_or_default();
    let own = own.and_then(|own| own.parse::<u64>().ok());
    with_running(&text, own)
        .unwrap_or_else(|| panic!("pg_current_snapshot() gave \"{text}\", which is no snapshot"))
}

fn with_running(text: &str, own: Option<u64>) -> Option<Snapshot> {
    let snapshot = Snapshot::from_str(text).ok()?;
    let Some(own) = own.filter(|&own| snapshot.is_visible(own)) else { return Some(snapshot) };
    let list = text.rsplit(':').next()?;
    let mut running: Vec<u64> =
        list.split(',').filter_map(|xid| xid.parse().ok()).chain([own]).collect();
    running.sort_unstable();
    let running: Vec<String> = running.iter().map(u64::to_string).collect();
    let xmin = snapshot.xmin().min(own);
    format!("{xmin}:{}:{}", snapshot.xmax(), running.join(",")).parse().ok()
}

fn plain(list: Option<Vec<Option<String>>>) -> Option<Vec<String>> {
    Some(list?.into_iter().flatten().collect())
}

/// The patterns of a list that SQL has joined by character 1.
pub fn pattern_list(joined: Option<String>) -> Vec<String> {
    let joined = joined.unwrap_or_default();
    joined.split(SEPARATOR).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// The lists as a rule; what is no pattern is an error.
pub fn selection(include: &[String], exclude: &[String]) -> Selection {
    Selection::parse(include, exclude).unwrap_or_else(|error| {
        Failure::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, error.to_string())
            .hint("Patterns are schema.table with * and ?, as in psql.")
            .raise()
    })
}

/// A given pattern that includes nothing is nearly always a misspelling.
fn check_matches(include: &[String]) {
    let sql = "select distinct schema_name, table_name from syncjournal.relation_layout";
    let mut tables = Vec::new();
    query::run(View::Statement, sql, &[], |row| {
        tables.push((row.text(1).unwrap_or_default(), row.text(2).unwrap_or_default()));
    });
    for pattern in include {
        let one = selection(std::slice::from_ref(pattern), &[]);
        if !tables.iter().any(|(schema, table)| one.selects(schema, table)) {
            Failure::new(
                PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
                format!("pattern \"{pattern}\" matches no tracked table"),
            )
            .hint(
                "Patterns are schema.table with * and ?, as in psql; see view \
                    syncjournal.tracked_table.",
            )
            .raise();
        }
    }
}
