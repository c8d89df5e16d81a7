//! Who sends, and whether it may: the checks of a part's header against what is known here.

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::ops::ControlFlow;
use std::rc::Rc;

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::Oid;
use syncjournal_core::operations::Restriction;
use syncjournal_core::pattern::Selection;
use syncjournal_core::wire::{Header, NodeInfo};
use uuid::Uuid;

use super::foreign_keys::ForeignKeys;
use super::gates;
use crate::error::{Failure, not_installed};
use crate::layout;
use crate::node::{self, Node};
use crate::pg::catalog;
use crate::pg::query::{self, Arg, Row, View};
use crate::pg::table::{Key, Table};
use crate::prep_sync::{pattern_list, selection};

/// The peer that a set comes from, as it is registered here.
#[derive(Debug)]
pub struct Source {
    pub peer_id: i16,
    /// The node's name.
    pub name: String,
    /// What is taken from it.
    pub accepts: Selection,
    /// Which operations on which tables, by its word and by ours.
    pub restrictions: Vec<Restriction>,
    /// Nothing goes back to it: what it overwrites here, whoever wrote that, it never sees.
    pub is_one_way: bool,
    /// Where foreign keys are verified for what comes from it.
    pub keys: Option<Rc<ForeignKeys>>,
    /// SQLSTATEs, or classes of two characters, of errors that stop apply.
    pub stop_on: Vec<String>,
    /// Whether it is sent to, as well.
    pub two_way: bool,
}

impl Source {
    /// Whether an error of this SQLSTATE is to stop apply rather than go to quarantine.
    pub fn stops_on(&self, sqlstate: &str) -> bool {
        self.stop_on.iter().any(|code| sqlstate.starts_with(code.as_str()))
    }
}

/// A peer from which entries came earlier: all of them were accepted then, and none stops anything.
pub fn of_peer(peer_id: i16) -> Source {
    let sql = "select constraints = 'enforce', peer_name, direction = 'both' from syncjournal.registered_peer \
        where peer_id = $1";
    let read = |row: &Row| (row.bool(1), row.text(2), row.bool(3));
    let found = query::first(View::Newest, sql, &[Arg::Int2(peer_id)], read);
    let (enforces, name, two_way) = found.unwrap_or_default();
    Source {
        peer_id,
        name: name.unwrap_or_default(),
        accepts: selection(&["*.*".to_owned()], &[]),
        restrictions: Vec::new(),
        is_one_way: false,
        keys: enforces.unwrap_or(false).then(Rc::default),
        stop_on: Vec::new(),
        two_way: two_way.unwrap_or(true),
    }
}

/// Checks where the set comes from and where it belongs, and notes the node as known.
pub fn admit(header: &Header, allow_backward: bool) -> Source {
    let here = node::here();
    check_destination(header, &here);
    let from = &header.source;
    if from.tag == here.tag {
        Failure::new(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("node \"{}\" writes versions under the same tag as this node", from.name),
        )
        .hint("Give one of the two a new identity by syncjournal.adopt_clone(name).")
        .raise();
    }
    gates::check_rank(header, allow_backward);
    let source = registered(header);
    let as_told = |known: Rc<Node>| known.tag == from.tag && known.name == from.name;
    if !node::known(from.node_id).is_some_and(as_told) {
        remember(header);
    }
    gates::remember_rank(header);
    source
}

fn check_destination(header: &Header, here: &Node) {
    if header.source.node_id == here.node_id {
        Failure::new(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("the sync set was made by node \"{}\", which is this one", here.name),
        )
        .detail("Either it belongs elsewhere, or one of two databases is a copy of the other.")
        .hint(format!(
            "Apply it at peer \"{}\"; a copy takes a name of its own by \
                syncjournal.adopt_clone(name).",
            header.destination
        ))
        .raise();
    }
    let is_for_here = match header.destination_id {
        Some(id) => id == here.node_id,
        None => header.destination == here.name,
    };
    if !is_for_here {
        let id = header.destination_id.unwrap_or(Uuid::nil());
        let known = if id.is_nil() { String::new() } else { format!(" ({id})") };
        Failure::new(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("the sync set is for another node: \"{}\"{known}", header.destination),
        )
        .detail(format!("This is node \"{}\" ({}).", here.name, here.node_id))
        .hint(
            "Make a set for this node. At the source the peer must have this node's name or \
                node_id: syncjournal.alter_peer(name, node_id => ...).",
        )
        .raise();
    }
}

/// A row of `registered_peer`.
#[derive(Clone, Debug)]
struct Registered {
    peer_id: i16,
    include: Vec<String>,
    exclude: Vec<String>,
    direction: String,
    active: bool,
    has_node: bool,
    enforces: bool,
    stop_on: Vec<String>,
    restrictions: Vec<Restriction>,
}

/// A peer as it was read, until somebody writes one of the tables: a stream asks for the same one over
/// and over.
#[derive(Debug)]
struct Read {
    node: Uuid,
    peer: Registered,
    tables: [Oid; 2],
}

thread_local! {
    static READ: ManuallyDrop<RefCell<Option<Read>>> =
        const { ManuallyDrop::new(RefCell::new(None)) };
}

/// Forgets what came from the given relation; all is forgotten on `None`.
pub fn forget(relation: Option<Oid>) {
    READ.with(|read| {
        let mut read = read.borrow_mut();
        read.take_if(|read| relation.is_none_or(|relation| read.tables.contains(&relation)));
    });
}

/// The peer that has this node already, where no operation is restricted.
fn known_peer(node: Uuid) -> Option<Registered> {
    layout::refresh();
    let is_it = |read: &&Read| read.node == node;
    let known =
        READ.with(|read| read.borrow().as_ref().filter(is_it).map(|read| read.peer.clone()));
    if known.is_some() {
        return known;
    }
    let tables = [c"registered_peer", c"peer_restriction"]
        .map(|name| catalog::own_relation(name).unwrap_or_else(|| not_installed().raise()));
    let [table, restrictions] = tables.map(Table::read);
    if restrictions.has_rows() {
        return None;
    }
    let index = table.index_on(&[3])?;
    let peer = table.equal(index, &[(3, Key::Uuid(node.as_bytes()))], |row| {
        ControlFlow::Break(Registered {
            peer_id: row.int2(1).unwrap_or_default(),
            include: row.texts(4),
            exclude: row.texts(5),
            direction: row.text(6).unwrap_or_default(),
            active: row.bool(7).unwrap_or_default(),
            has_node: true,
            enforces: row.text(8).as_deref() == Some("enforce"),
            stop_on: row.texts(9),
            restrictions: Vec::new(),
        })
    })?;
    let read = Read { node, peer: peer.clone(), tables };
    READ.with(|known| known.replace(Some(read)));
    Some(peer)
}

/// The source as a peer of ours: by its node, or by its name where the node was not known yet.
fn registered(header: &Header) -> Source {
    let from = &header.source;
    let sql = "select peer_id, pg_catalog.array_to_string(include, E'\\x01'), \
            pg_catalog.array_to_string(exclude, E'\\x01'), direction, active, node_id is not null, \
            constraints = 'enforce', pg_catalog.array_to_string(stop_on, E'\\x01'), \
            pg_catalog.array_to_string(array(select \
                    pg_catalog.array_to_string(r.operations, ',') || ' ' || r.pattern \
                from syncjournal.peer_restriction r \
                where r.peer_id = p.peer_id and r.direction <> 'send'), E'\\x01') \
        from syncjournal.registered_peer p \
        where node_id = $1 or node_id is null and peer_name = $2 \
        order by node_id nulls last limit 1";
    let read = |row: &Row| Registered {
        peer_id: row.int2(1).unwrap_or_default(),
        include: pattern_list(row.text(2)),
        exclude: pattern_list(row.text(3)),
        direction: row.text(4).unwrap_or_default(),
        active: row.bool(5).unwrap_or_default(),
        has_node: row.bool(6).unwrap_or_default(),
        enforces: row.bool(7).unwrap_or_default(),
        stop_on: pattern_list(row.text(8)),
        restrictions: gates::restrictions(pattern_list(row.text(9))),
    };
    let args = [Arg::Uuid(*from.node_id.as_bytes()), Arg::Text(&from.name)];
    let known = known_peer(from.node_id);
    let Some(peer) = known.or_else(|| query::first(View::Newest, sql, &args, read)) else {
        Failure::new(
            PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            format!("node \"{}\" ({}) is no peer of this database", from.name, from.node_id),
        )
        .hint(format!(
            "Register it: select syncjournal.add_peer('{}', node_id => '{}').",
            from.name, from.node_id
        ))
        .raise()
    };
    let state = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
    if !peer.active && !header.terms.switched_off {
        Failure::new(state, format!("peer \"{}\" is not active", from.name))
            .hint("Activate it: select syncjournal.alter_peer(name, active => true).")
            .raise();
    }
    if peer.direction == "send" {
        let message =
            format!("nothing is taken from peer \"{}\": its direction is \"send\"", from.name);
        Failure::new(state, message)
            .hint("Change it: select syncjournal.alter_peer(name, direction => 'both').")
            .raise();
    }
    if !peer.has_node {
        query::execute(
            "update syncjournal.registered_peer set node_id = $2 where peer_id = $1",
            &[Arg::Int2(peer.peer_id), Arg::Uuid(*from.node_id.as_bytes())],
        );
    }
    Source {
        peer_id: peer.peer_id,
        name: from.name.clone(),
        accepts: selection(&peer.include, &peer.exclude),
        is_one_way: peer.direction == "receive",
        restrictions: [peer.restrictions, header.terms.restrictions.clone()].concat(),
        keys: peer.enforces.then(Rc::default),
        stop_on: peer.stop_on,
        two_way: peer.direction == "both",
    }
}

/// Notes the node that the source is.
fn remember(header: &Header) {
    let from = &header.source;
    let args =
        [Arg::Uuid(*from.node_id.as_bytes()), Arg::Int4(from.tag as i32), Arg::Text(&from.name)];
    check_tag(from, &args);
    rejoined(header);
    // Two sessions may meet the node at once, and its tag is unique, too.
    query::execute(
        "insert into syncjournal.known_node (node_id, node_tag, node_name) values ($1, $2, $3) \
        on conflict do nothing",
        &args,
    );
    query::execute(
        "update syncjournal.known_node set node_name = $2 where node_id = $1 and node_name <> $2",
        &[args[0], args[2]],
    );
}

/// No two write under one tag, and nobody under one that was given up.
fn check_tag(from: &NodeInfo, args: &[Arg<'_>; 3]) {
    let state = PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
    let clash = "select k.node_name from syncjournal.known_tag t \
            join syncjournal.known_node k using (node_id) \
        where t.node_tag = $2 and t.node_id <> $1 and $3 <> ''";
    let other = query::first(View::Newest, clash, args, |row| row.text(1).unwrap_or_default());
    if let Some(other) = other {
        let message =
            format!("nodes \"{}\" and \"{other}\" write versions under the same tag", from.name);
        Failure::new(state, message)
            .hint("Give one of the two a new identity by syncjournal.adopt_clone(name).")
            .raise();
    }
    let former = "select until::text from syncjournal.former_tag \
        where node_tag = $2 and node_id = $1 and $3 <> ''";
    let until = query::first(View::Newest, former, args, |row| row.text(1).unwrap_or_default());
    if let Some(until) = until {
        let message = format!("node \"{}\" goes on as another since {until}", from.name);
        Failure::new(state, message)
            .detail(
                "It was restored from a backup then. This set is older, or of a copy that has \
                    stayed behind.",
            )
            .hint(
                "Make a new set; a copy takes a name of its own by syncjournal.adopt_clone(name).",
            )
            .raise();
    }
}

/// A known node that comes under another tag was restored from a backup.
fn rejoined(header: &Header) {
    let (begins, received) =
        (header.from.to_string(), header.received.as_ref().map(ToString::to_string));
    query::execute(
        "select syncjournal.source_rejoined($1, $2, \
            case when $3 then null else $4::pg_snapshot end, $5::pg_snapshot) \
        from syncjournal.known_node where node_id = $1 and node_tag <> $2",
        &[
            Arg::Uuid(*header.source.node_id.as_bytes()),
            Arg::Int4(header.source.tag as i32),
            Arg::Bool(header.from.is_empty()),
            Arg::Text(&begins),
            received.as_deref().map_or(Arg::NoText, Arg::Text),
        ],
    );
}
