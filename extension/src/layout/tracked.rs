//! How the triggers read the rows of a relation: the columns of its layout where they stand in
//! this table, which may be a partition whose columns stand elsewhere than its root's.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::ops::ControlFlow;
use std::rc::Rc;

use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use pgrx::pg_sys::{Oid, UUIDOID};
use pgrx::prelude::*;
use syncjournal_core::{Column, RelationLayout};

use crate::error::{Failure, not_installed};
use crate::identity::NaturalKey;
use crate::layout::describe::{Selection, StoredReference, VERSION_COLUMN, describe};
use crate::layout::stored;
use crate::pg::catalog::{self, Attribute, Shape};
use crate::pg::key_text::KeyText;
use crate::pg::memory::OwnedContext;
use crate::pg::parent::{KeyType, Parent};
use crate::pg::reference::{KeyPart, Reference};
use crate::pg::table::{Key, Table};
use crate::pg::trigger::ColumnAccess;
use crate::pg::{invalidation, sql};
use crate::slice::Slices;
use crate::value::{self, ColumnCodec};

/// A tracked table, or a partition of one.
#[derive(Debug)]
pub struct Tracked {
    pub relid: Oid,
    /// The tracked table itself: the root of its partitions.
    pub root: Oid,
    pub relation_id: i32,
    pub layout_id: i32,
    /// Columns of the table by number, dropped ones included.
    pub natts: usize,
    /// Number of the column that holds the row's identity.
    pub identity: usize,
    /// The index by which rows are found, as `OpenTable::index_on` says, when it was first asked for.
    pub identity_index: OnceCell<Option<Oid>>,
    /// Whether `track` added it, so that new rows get theirs from the trigger.
    pub identity_added: bool,
    /// Number of the column `sync_version`.
    pub version: usize,
    /// The columns that travel, in the layout's order.
    pub columns: Vec<ColumnAccess>,
    /// Whether the users' triggers fire for what comes from peers.
    pub run_triggers: bool,
    /// What new rows have their identity from, if it is not made up.
    pub natural: Option<NaturalKey>,
    /// Whether columns travel as the identity of the row that they point to.
    pub has_references: bool,
    /// Columns whose values are this database's own affair.
    pub kept: Vec<String>,
    /// Whether portable settings must be held while rows are encoded.
    pub needs_settings: bool,
    /// None for a table without slices, which has nothing more to do then.
    pub slices: Option<Slices>,
    /// What the codecs keep; dropped after them.
    _memory: OwnedContext,
}

/// A row of `tracked_relation`.
struct Tracking {
    relation_id: i32,
    root: Oid,
    selection: Selection,
    run_triggers: bool,
    natural_key: Vec<String>,
}

type Cache = HashMap<Oid, Rc<Tracked>>;

thread_local! {
    static CACHE: ManuallyDrop<RefCell<Cache>> = ManuallyDrop::new(RefCell::new(Cache::new()));
    /// The relation that was asked for last: a bulk change asks for the same one row by row.
    static LAST: ManuallyDrop<RefCell<Option<Rc<Tracked>>>> =
        const { ManuallyDrop::new(RefCell::new(None)) };
}

/// What is known of a tracked table or a partition of one; none where it is not tracked.
pub fn tracked(relid: Oid) -> Option<Rc<Tracked>> {
    super::refresh();
    let last = LAST.with(|last| last.borrow().clone().filter(|last| last.relid == relid));
    if last.is_some() {
        return last;
    }
    let known = CACHE.with(|cache| cache.borrow().get(&relid).cloned());
    let found = match known {
        Some(known) => known,
        None => {
            let built = Rc::new(build(relid)?);
            CACHE.with(|cache| cache.borrow_mut().insert(relid, Rc::clone(&built)));
            built
        }
    };
    LAST.with(|last| last.replace(Some(Rc::clone(&found))));
    Some(found)
}

fn build(relid: Oid) -> Option<Tracked> {
    let shape = catalog::shape(relid);
    let mut tracking = tracking_of(relid, &shape)?;
    add_own_keys(tracking.relation_id, &mut tracking.selection);
    let root_shape = (tracking.root != relid).then(|| catalog::shape(tracking.root));
    let layout = describe(root_shape.as_ref().unwrap_or(&shape), &tracking.selection);
    let layout_id = stored::register(&layout, Some(tracking.relation_id));
    let memory = OwnedContext::new();
    let columns = access(&shape, &layout, &memory, &tracking);
    let identity = attribute(&shape, &tracking.selection.identity).number;
    let natural = natural_key(&tracking, &shape, (&layout.schema, &layout.table));
    Some(Tracked {
        relid,
        root: tracking.root,
        relation_id: tracking.relation_id,
        layout_id,
        natts: shape.natts,
        identity,
        identity_index: OnceCell::new(),
        identity_added: tracking.selection.identity_added,
        version: attribute(&shape, VERSION_COLUMN).number,
        needs_settings: columns.iter().any(|column| column.codec.needs_settings()),
        has_references: columns.iter().any(|column| column.reference.is_some()),
        columns,
        run_triggers: tracking.run_triggers,
        natural,
        kept: tracking.selection.kept,
        slices: Slices::of(tracking.relation_id, relid, memory.raw()),
        _memory: memory,
    })
}

fn access(
    shape: &Shape,
    layout: &RelationLayout,
    memory: &OwnedContext,
    tracking: &Tracking,
) -> Vec<ColumnAccess> {
    let place = |column: &Column| {
        let attribute = attribute(shape, &column.name);
        let reference = tracking.selection.reference(&column.name);
        let (type_oid, typmod) = match reference {
            Some(_) => (UUIDOID, -1),
            None => (attribute.type_oid, attribute.typmod),
        };
        ColumnAccess {
            number: attribute.number,
            length: attribute.length,
            by_value: attribute.by_value,
            codec: ColumnCodec::new(type_oid, typmod, value::format_for(type_oid), memory.raw()),
            reference: reference.map(|stored| Box::new(open(shape, stored, tracking.root))),
        }
    };
    layout.columns.iter().map(place).collect()
}

/// The natural key that new rows have their identity from. One that a user's key identifies has none:
/// there it only says which rows are the same in spite of their identities.
fn natural_key(tracking: &Tracking, shape: &Shape, relation: (&str, &str)) -> Option<NaturalKey> {
    let Tracking { natural_key, selection, .. } = tracking;
    if !selection.identity_added || natural_key.is_empty() {
        return None;
    }
    let text = |name: &String| {
        let column = attribute(shape, name);
        KeyText::new(column.number, column.type_oid)
    };
    Some(NaturalKey::new(relation, natural_key.iter().map(text).collect()))
}

/// A reference as it stands in this table.
fn open(shape: &Shape, stored: &StoredReference, root: Oid) -> Reference {
    let columns: Vec<&Attribute> =
        stored.columns.iter().map(|name| attribute(shape, name)).collect();
    let sets: Vec<usize> =
        (0..columns.len()).filter(|place| stored.sets.contains(&stored.columns[*place])).collect();
    let parent = Parent::of(stored.parent, &stored.parent_columns, &stored.parent_identity);
    let parent = parent.unwrap_or_else(|| {
        Failure::new(
            PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            format!(
                "what column \"{}\" of table \"{}.{}\" refers to does not exist",
                stored.carrier, shape.schema, shape.table
            ),
        )
        .hint("Restore the table, or drop the foreign key.")
        .raise()
    });
    let own_key = (stored.parent == root)
        .then(|| stored.parent_columns.iter().map(|name| attribute(shape, name).number).collect());
    Reference {
        column: stored.carrier.clone(),
        is_required: sets.iter().any(|place| columns[*place].is_required),
        columns: columns
            .iter()
            .map(|found| KeyPart { number: found.number, of: KeyType::of(found) })
            .collect(),
        sets,
        parent: Rc::new(parent),
        own_key,
    }
}

fn attribute<'a>(shape: &'a Shape, name: &str) -> &'a Attribute {
    shape.attributes.iter().find(|attribute| attribute.name == name).unwrap_or_else(|| {
        Failure::new(
            PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
            format!(
                "column \"{name}\" of tracked table \"{}.{}\" does not exist",
                shape.schema, shape.table
            ),
        )
        .hint("Track the table anew: syncjournal.untrack() and then syncjournal.track().")
        .raise()
    })
}

/// The tracking of the table itself, or of the nearest partitioned table above it.
fn tracking_of(relid: Oid, shape: &Shape) -> Option<Tracking> {
    let table = catalog::own_relation(c"tracked_relation");
    let table = Table::read(table.unwrap_or_else(|| not_installed().raise()));
    let index = table.index_on(&[2]).unwrap_or_else(|| not_installed().raise());
    let ancestors =
        if shape.is_partition { catalog::partition_ancestors(relid) } else { Vec::new() };
    std::iter::once(relid).chain(ancestors).find_map(|candidate| {
        table.equal(index, &[(2, Key::Oid(candidate))], |row| {
            let (Some(relation_id), Some(identity)) = (row.int4(1), row.name(3)) else {
                return ControlFlow::Continue(());
            };
            ControlFlow::Break(Tracking {
                relation_id,
                root: candidate,
                selection: Selection {
                    identity,
                    identity_added: row.bool(4).unwrap_or(false),
                    excluded: row.names(8),
                    kept: Vec::new(),
                    references: Vec::new(),
                },
                run_triggers: row.bool(13).unwrap_or(true),
                natural_key: row.names(6),
            })
        })
    })
}

/// The table of a tracked relation.
pub fn table_of(relation_id: i32) -> Option<Oid> {
    let table = catalog::own_relation(c"tracked_relation")?;
    let table = Table::read(table);
    let relid = table.equal(table.primary_key(), &[(1, Key::Int4(relation_id))], |row| {
        ControlFlow::Break(row.oid(2))
    })??;
    catalog::exists(relid).then_some(relid)
}

/// The owner of a tracked relation: the code that its types bring along is to run with its rights.
pub fn owner_of(relation_id: i32) -> Option<Oid> {
    table_of(relation_id).map(catalog::owner)
}

/// What stays in this database, and what travels by identity; most tables have neither.
fn add_own_keys(relation_id: i32, selection: &mut Selection) {
    let open =
        |name| Table::read(catalog::own_relation(name).unwrap_or_else(|| not_installed().raise()));
    let keys = open(c"relation_key");
    let of_relation = [(1, Key::Int4(relation_id))];
    let kept = keys.equal(keys.primary_key(), &of_relation, |row| ControlFlow::Break(row.names(2)));
    let Some(kept) = kept else { return };
    selection.kept = kept;
    let references = open(c"relation_reference");
    let index = references.index_on(&[1]).unwrap_or_else(|| not_installed().raise());
    references.equal(index, &of_relation, |row| {
        if let (Some(carrier), Some(parent)) = (row.name(2), row.oid(5)) {
            selection.references.push(StoredReference {
                carrier,
                columns: row.names(3),
                sets: row.names(4),
                parent,
                parent_columns: row.names(6),
                parent_identity: row.name(7).unwrap_or_default(),
            });
        }
        ControlFlow::<()>::Continue(())
    });
}

impl Tracked {
    /// Whether what is known hangs on this relation.
    fn concerns(&self, relation: Oid) -> bool {
        let refers_to = |column: &ColumnAccess| {
            column.reference.as_ref().is_some_and(|found| found.parent.is_or_has(relation))
        };
        self.relid == relation
            || self.root == relation
            || self.has_references && self.columns.iter().any(refers_to)
    }
}

/// Forgets a relation, the partitions of a root, and what refers to it.
pub fn forget(relation: Oid) {
    CACHE.with(|cache| cache.borrow_mut().retain(|_, known| !known.concerns(relation)));
    LAST.with(|last| last.replace(None));
}

pub fn forget_all() {
    CACHE.with(|cache| cache.borrow_mut().clear());
    LAST.with(|last| last.replace(None));
}

/// Registers the layout that a tracked table has now, so that no transaction that writes to it
/// has to, and others wait for it. Called by `track` and after DDL.
#[pg_extern(volatile, strict)]
fn refresh_layout(relation: pgrx::PgRelation) -> i32 {
    let relid = relation.oid();
    // What tracking says may have changed by an UPDATE, which tells nobody.
    forget(relid);
    let Some(found) = tracked(relid) else {
        Failure::new(
            PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            format!("table \"{}\" is not tracked", catalog::qualified_name(relid)),
        )
        .hint("Track it by syncjournal.track().")
        .raise()
    };
    let journal = catalog::own_relation(c"journal").unwrap_or_else(|| not_installed().raise());
    sql::run_as_owner_of(
        journal,
        "update syncjournal.tracked_relation set layout_id = $2 \
         where relation_id operator(pg_catalog.=) $1 \
             and (layout_id is null or layout_id operator(pg_catalog.<>) $2)",
        &[found.relation_id.into(), found.layout_id.into()],
    );
    invalidation::announce(found.root);
    found.layout_id
}

/// A row that was written past the capture cannot be named elsewhere.
pub fn missing_identity(tracked: &Tracked) -> ! {
    let table = catalog::qualified_name(tracked.root);
    Failure::new(
        PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
        format!("a row of table \"{table}\" has no identity"),
    )
    .hint("It was written while capture was off: untrack the table and track it again.")
    .raise()
}
