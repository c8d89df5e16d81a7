//! Which node this database is: the tag that goes into every version written here.

use std::cell::Cell;
use std::ops::ControlFlow;

use pgrx::pg_sys::Oid;
use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use pgrx::prelude::*;

use crate::error::{Failure, is_copy, not_installed};
use crate::pg::query::{self, Arg, View};
use crate::pg::table::{Key, Table};
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
    let known = read().unwrap_or_else(|| {
        Failure::new(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "this database has no name among the nodes yet",
        )
        .hint("Name it first: select syncjournal.create_node('name').")
        .raise()
    });
    KNOWN.set(Some(known));
    known.tag
}

fn read() -> Option<Known> {
    let open = |name| {
        let relid = catalog::own_relation(name).unwrap_or_else(|| not_installed().raise());
        (Table::read(relid), relid)
    };
    let (local, table) = open(c"local_node");
    let found =
        local.all(local.primary_key(), |row| ControlFlow::Break(row.uuid(2).zip(row.oid(4))))?;
    let (node, database) = found?;
    if database != catalog::own_database() {
        // Versions of two databases under one tag could not be told apart. Another cluster alone
        // is no reason: pg_upgrade makes one, and users' transactions are not to fail for it.
        is_copy(&name_of(&node)).raise();
    }
    let (nodes, _) = open(c"known_node");
    let tag = nodes.equal(nodes.primary_key(), &[(1, Key::Uuid(&node))], |row| {
        ControlFlow::Break(row.int4(2))
    })??;
    Some(Known { tag: tag as u32, table })
}

fn name_of(node: &[u8; 16]) -> String {
    let sql = "select node_name from syncjournal.known_node where node_id = $1";
    let name = query::first(View::Newest, sql, &[Arg::Uuid(*node)], |row| row.text(1));
    name.flatten().unwrap_or_default()
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
