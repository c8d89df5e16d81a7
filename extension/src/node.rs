//! Which node this database is: the tag that goes into every version written here.

use std::cell::Cell;
use std::ffi::CStr;
use std::ops::ControlFlow;

use pgrx::pg_sys::Oid;
use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use pgrx::prelude::*;
use uuid::Uuid;

use crate::error::{Failure, is_copy, not_installed};
use crate::pg::table::{Found, Key, Table};
use crate::pg::{catalog, invalidation};

/// The tag, and the table it was read from.
#[derive(Clone, Copy)]
struct Known {
    tag: u32,
    table: Oid,
}

thread_local! {
    static KNOWN: Cell<Option<Known>> = const { Cell::new(None) };
}

/// The tag of this database's node; an error where it has none yet.
pub fn tag() -> u32 {
    if let Some(known) = KNOWN.get() {
        return known.tag;
    }
    let known = read().unwrap_or_else(|| unnamed());
    KNOWN.set(Some(known));
    known.tag
}

/// A node that this database has heard of.
#[derive(Debug, PartialEq, Eq)]
pub struct Node {
    pub node_id: Uuid,
    pub tag: u32,
    pub name: String,
}

/// This database; an error where it is a copy of the one that got this identity.
pub fn here() -> Node {
    let local = local().unwrap_or_else(|| unnamed());
    let node = known(local.node_id).unwrap_or_else(|| unnamed());
    if local.database != catalog::own_database() || local.system != catalog::own_system() {
        is_copy(&node.name).raise();
    }
    node
}

/// What is known of a node.
pub fn known(node_id: Uuid) -> Option<Node> {
    let (nodes, _) = open(c"known_node");
    nodes.equal(nodes.primary_key(), &[(1, Key::Uuid(node_id.as_bytes()))], |row| {
        let name = row.text(3).unwrap_or_default();
        let tag = row.int4(2).unwrap_or_default() as u32;
        ControlFlow::Break(Node { node_id, tag, name })
    })
}

fn read() -> Option<Known> {
    let Local { node_id, database, table, .. } = local()?;
    let node = known(node_id)?;
    if database != catalog::own_database() {
        // Versions of two databases under one tag could not be told apart. Another cluster alone
        // is no reason: pg_upgrade makes one, and users' transactions are not to fail for it.
        is_copy(&node.name).raise();
    }
    Some(Known { tag: node.tag, table })
}

/// The row of `local_node`, and its table.
struct Local {
    node_id: Uuid,
    system: u64,
    database: Oid,
    table: Oid,
}

impl Local {
    fn read(row: &Found, table: Oid) -> Option<Self> {
        let node_id = Uuid::from_bytes(row.uuid(2)?);
        let (system, database) = (row.int8(3)? as u64, row.oid(4)?);
        Some(Self { node_id, system, database, table })
    }
}

fn local() -> Option<Local> {
    let (local, table) = open(c"local_node");
    local.all(local.primary_key(), |row| ControlFlow::Break(Local::read(row, table)))?
}

fn open(name: &CStr) -> (Table, Oid) {
    let relid = catalog::own_relation(name).unwrap_or_else(|| not_installed().raise());
    (Table::read(relid), relid)
}

fn unnamed() -> ! {
    Failure::new(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "this database has no name among the nodes yet",
    )
    .hint("Name it first: select syncjournal.create_node('name').")
    .raise()
}

/// Forgets the tag where the given relation is the one that it came from; all forget on `None`.
pub fn forget(relation: Option<Oid>) {
    if relation.is_none() || KNOWN.get().is_some_and(|known| Some(known.table) == relation) {
        KNOWN.set(None);
    }
}

/// To be called by whoever writes `local_node`: every backend reads it anew from the commit on.
#[pg_extern(volatile)]
fn identity_changed() {
    forget(None);
    if let Some(table) = catalog::own_relation(c"local_node") {
        invalidation::announce(table);
    }
}
