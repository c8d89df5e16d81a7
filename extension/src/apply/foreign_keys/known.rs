//! The foreign keys of tables, as a call has read them from the catalogue.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use pgrx::pg_sys::Oid;

use crate::pg::prepared::Prepared;
use crate::pg::query::{self, Arg, Row, View};
use crate::pg::role::RunAs;

/// A foreign key, seen from the side whose rows are touched.
#[derive(Debug)]
pub struct Key {
    pub constraint: Oid,
    pub name: String,
    pub is_child: bool,
    /// The key's columns on this side, for people.
    pub columns: String,
    pub own_columns: Vec<String>,
    pub child_name: String,
    pub parent_name: String,
    pub child_relation: Option<i32>,
    pub parent_relation: Option<i32>,
    pub keys: Option<Query>,
    pub mixed: Option<Query>,
    pub orphans: Query,
    pub absent: Query,
    pub used: Query,
}

/// A statement that is run with the rights of a table's owner, prepared when it is first needed.
#[derive(Debug)]
pub struct Query {
    sql: String,
    parameters: usize,
    owner: Oid,
    prepared: OnceCell<Prepared>,
}

impl Query {
    pub fn run(&self, texts: &[&str], each: impl FnMut(&Row)) {
        let _owner = RunAs::checking(self.owner);
        let prepare = || Prepared::new(&self.sql, self.parameters);
        self.prepared.get_or_init(prepare).run(texts, each);
    }
}

/// The foreign keys of the tables that a call writes to.
#[derive(Debug, Default)]
pub struct ForeignKeys {
    of_leaf: RefCell<HashMap<Oid, Rc<[Rc<Key>]>>>,
    all: RefCell<HashMap<(Oid, bool), Rc<Key>>>,
}

impl ForeignKeys {
    /// Those of a table, or of one partition.
    pub fn of(&self, leaf: Oid) -> Rc<[Rc<Key>]> {
        if let Some(known) = self.of_leaf.borrow().get(&leaf) {
            return Rc::clone(known);
        }
        let mut read_now = Vec::new();
        query::run(
            View::Newest,
            "select constraint_id, constraint_name::text, is_child, columns, own_columns, \
                child_name::text, parent_name::text, child_owner, parent_owner, \
                child_relation, parent_relation, keys, mixed, orphans, absent, used \
            from syncjournal.foreign_keys_of($1::oid)",
            &[Arg::Int8(i64::from(leaf.to_u32()))],
            |row| read_now.extend(read(row)),
        );
        let mut all = self.all.borrow_mut();
        // Each once, that the rows of all partitions are checked together.
        let shared = read_now.into_iter().map(|key| {
            Rc::clone(all.entry((key.constraint, key.is_child)).or_insert_with(|| Rc::new(key)))
        });
        let keys: Rc<[Rc<Key>]> = shared.collect();
        self.of_leaf.borrow_mut().insert(leaf, Rc::clone(&keys));
        keys
    }
}

fn read(row: &Row) -> Option<Key> {
    let own_columns: Vec<String> = row.text(5)?.split('\u{1}').map(str::to_owned).collect();
    let (child_owner, parent_owner) = (row.oid(8)?, row.oid(9)?);
    let query = |column, owner, parameters| {
        let (sql, prepared) = (row.text(column)?, OnceCell::new());
        Some(Query { sql, parameters, owner, prepared })
    };
    let all = own_columns.len() + 2;
    Some(Key {
        constraint: row.oid(1)?,
        name: row.text(2)?,
        is_child: row.bool(3)?,
        columns: row.text(4)?,
        child_name: row.text(6)?,
        parent_name: row.text(7)?,
        child_relation: row.int4(10),
        parent_relation: row.int4(11),
        keys: query(12, child_owner, 1),
        mixed: query(13, child_owner, 1),
        orphans: query(14, parent_owner, all)?,
        absent: query(15, parent_owner, all)?,
        used: query(16, child_owner, all)?,
        own_columns,
    })
}
