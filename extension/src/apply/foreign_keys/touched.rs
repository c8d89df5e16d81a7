//! What a call has done to rows that foreign keys bind, to be checked at its end.

use std::collections::HashMap;
use std::rc::Rc;

use pgrx::pg_sys::Oid;
use syncjournal_core::RowId;

use super::check::MOST_REMEMBERED;
use super::known::{ForeignKeys, Key};
use crate::pg::catalog;
use crate::pg::row_view::{RowView, ViewedColumn};

/// Rows to check, for each key and side of it.
#[derive(Debug, Default)]
pub struct Touched {
    pub of_key: HashMap<(Oid, bool), TouchedKey>,
}

/// Of a child the rows that have a new key; of a parent the keys that went.
#[derive(Debug)]
pub struct TouchedKey {
    pub key: Rc<Key>,
    pub children: Vec<Child>,
    pub gone: Vec<Gone>,
    /// When so much is remembered, what holds is forgotten.
    pub most: usize,
}

/// A row whose key is new.
#[derive(Clone, Copy, Debug)]
pub struct Child {
    pub row: RowId,
    /// The row was inserted by the call: without its entries it would not be here.
    pub is_new: bool,
}

/// A key that a row had, as text.
#[derive(Debug)]
pub struct Gone {
    pub row: RowId,
    pub values: Vec<String>,
}

impl Touched {
    pub fn add(&mut self, other: Self) {
        for (id, more) in other.of_key {
            let known = self.of(id, &more.key);
            known.children.extend(more.children);
            known.gone.extend(more.gone);
        }
    }

    fn of(&mut self, id: (Oid, bool), key: &Rc<Key>) -> &mut TouchedKey {
        self.of_key.entry(id).or_insert_with(|| {
            let (children, gone) = (Vec::new(), Vec::new());
            TouchedKey { key: Rc::clone(key), children, gone, most: MOST_REMEMBERED }
        })
    }
}

/// Looks at the rows of a table, or of one partition, as they are written.
#[derive(Debug)]
pub struct Watcher {
    keys: Vec<WatchedKey>,
}

#[derive(Debug)]
struct WatchedKey {
    key: Rc<Key>,
    columns: Vec<ViewedColumn>,
}

impl Watcher {
    /// None where no foreign key binds the table.
    pub fn of(known: &ForeignKeys, leaf: Oid) -> Option<Self> {
        let keys = known.of(leaf);
        if keys.is_empty() {
            return None;
        }
        let shape = catalog::shape(leaf);
        let watched = |key: &Rc<Key>| {
            let column = |name: &String| {
                let found = shape.attributes.iter().find(|attribute| attribute.name == *name)?;
                Some(ViewedColumn::of(found))
            };
            WatchedKey {
                key: Rc::clone(key),
                columns: key.own_columns.iter().filter_map(column).collect(),
            }
        };
        Some(Self { keys: keys.iter().map(watched).collect() })
    }

    /// A row has come; `is_new` if not from another partition.
    pub fn inserted(&self, touched: &mut Touched, row: RowId, is_new: bool) {
        for watched in self.keys.iter().filter(|watched| watched.key.is_child) {
            watched.of(touched).children.push(Child { row, is_new });
        }
    }

    pub fn updated(&self, touched: &mut Touched, row: RowId, old: RowView<'_>, new: RowView<'_>) {
        for watched in &self.keys {
            let is_same = |column| old.is_same(&new, column);
            if watched.columns.iter().all(is_same) {
                continue;
            }
            if watched.key.is_child {
                watched.of(touched).children.push(Child { row, is_new: false });
            } else {
                watched.lost(touched, row, old);
            }
        }
    }

    pub fn removed(&self, touched: &mut Touched, row: RowId, old: RowView<'_>) {
        for watched in self.keys.iter().filter(|watched| !watched.key.is_child) {
            watched.lost(touched, row, old);
        }
    }
}

impl WatchedKey {
    fn of<'a>(&self, touched: &'a mut Touched) -> &'a mut TouchedKey {
        touched.of((self.key.constraint, self.key.is_child), &self.key)
    }

    /// To a key with a null nobody refers.
    fn lost(&self, touched: &mut Touched, row: RowId, old: RowView<'_>) {
        let values: Option<Vec<_>> = self.columns.iter().map(|column| old.text(column)).collect();
        if let Some(values) = values {
            self.of(touched).gone.push(Gone { row, values });
        }
    }
}
