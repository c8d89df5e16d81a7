//! Which node this database is: the tag that goes into every version written here.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::mem::ManuallyDrop;
use std::ops::ControlFlow;
use std::rc::Rc;

use pgrx::pg_sys::Oid;
use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use pgrx::prelude::*;
use uuid::Uuid;

use crate::error::{Failure, is_copy, not_installed};
use crate::layout;
use crate::pg::table::{Found, Key, Table};
use crate::pg::{catalog, invalidation};

/// The tag, and the table it was read from.
#[derive(Clone, Copy)]
struct Known {
    tag: u32,
    table: Oid,
}

/// Nodes as they were read, until somebody writes one of their tables.
#[derive(Debug, Default)]
struct Read {
    here: Option<Rc<Node>>,
    known: Vec<Rc<Node>>,
    tables: Vec<Oid>,
}

impl Read {
    fn came_from(&mut self, table: Oid) {
        if !self.tables.contains(&table) {
            self.tables.push(table);
        }
    }
}

/// More are not kept.
const MOST_READ: usize = 64;

thread_local! {
    static KNOWN: Cell<Option<Known>> = const { Cell::new(None) };
    static READ: ManuallyDrop<RefCell<Read>> = ManuallyDrop::new(RefCell::new(Read::default()));
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
pub fn here() -> Rc<Node> {
    layout::refresh();
    if let Some(here) = READ.with(|read| read.borrow().here.clone()) {
        return here;
    }
    let local = local().unwrap_or_else(|| unnamed());
    let node = known(local.node_id).unwrap_or_else(|| unnamed());
    if local.database != catalog::own_database() || local.system != catalog::own_system() {
        is_copy(&node.name).raise();
    }
    READ.with(|read| {
        let mut read = read.borrow_mut();
        read.here = Some(Rc::clone(&node));
        read.came_from(local.table);
    });
    node
}

/// What is known of a node.
pub fn known(node_id: Uuid) -> Option<Rc<Node>> {
    layout::refresh();
    let is_it = |node: &&Rc<Node>| node.node_id == node_id;
    let known = READ.with(|read| read.borrow().known.iter().find(is_it).cloned());
    if known.is_some() {
        return known;
    }
    let (nodes, table) = open(c"known_node");
    let node = nodes.equal(nodes.primary_key(), &[(1, Key::Uuid(node_id.as_bytes()))], |row| {
        let name = row.text(3).unwrap_or_default();
        let tag = row.int4(2).unwrap_or_default() as u32;
        ControlFlow::Break(Rc::new(Node { node_id, tag, name }))
    })?;
    READ.with(|read| {
        let mut read = read.borrow_mut();
        if read.known.len() < MOST_READ {
            read.known.push(Rc::clone(&node));
            read.came_from(table);
        }
    });
    Some(node)
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

/// Forgets what came from the given relation; all is forgotten on `None`.
pub fn forget(relation: Option<Oid>) {
    if relation.is_none() || KNOWN.get().is_some_and(|known| Some(known.table) == relation) {
        KNOWN.set(None);
    }
    READ.with(|read| {
        let mut read = read.borrow_mut();
        if relation.is_none_or(|relation| read.tables.contains(&relation)) {
            *read = Read::default();
        }
    });
}

/// To be called by whoever writes `local_node`: every backend reads it anew from the commit on.
#[pg_extern(volatile)]
fn identity_changed() {
    forget(None);
    if let Some(table) = catalog::own_relation(c"local_node") {
        invalidation::announce(table);
    }
}
