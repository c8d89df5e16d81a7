//! The table `relation_layout`: every layout in which entries were ever written.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::ops::ControlFlow;
use std::rc::Rc;

use syncjournal_core::RelationLayout;

use crate::error::{corrupted, not_installed};
use crate::pg::table::{Key, Table};
use crate::pg::{catalog, sql, transaction};

/// A layout as it is stored here.
#[derive(Debug)]
pub struct StoredLayout {
    /// The tracked relation of this database that the entries belong to, if it is tracked here.
    pub relation_id: Option<i32>,
    pub definition: RelationLayout,
}

type Number = (i32, Option<i32>);

thread_local! {
    static BY_ID: ManuallyDrop<RefCell<HashMap<i32, Rc<StoredLayout>>>> =
        ManuallyDrop::new(RefCell::new(HashMap::new()));
    /// The number of a layout by its fingerprint, and the relation that it describes.
    static BY_FINGERPRINT: ManuallyDrop<RefCell<HashMap<[u8; 16], Number>>> =
        ManuallyDrop::new(RefCell::new(HashMap::new()));
    /// Whether this transaction has registered a layout, which its end may take away.
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

fn open() -> Table {
    let relid = catalog::own_relation(c"relation_layout");
    Table::read(relid.unwrap_or_else(|| not_installed().raise()))
}

/// The layout of this number; an error where the journal names one that does not exist.
pub fn by_id(layout_id: i32) -> Rc<StoredLayout> {
    super::refresh();
    if let Some(found) = BY_ID.with(|cache| cache.borrow().get(&layout_id).cloned()) {
        return found;
    }
    let table = open();
    let row = table.equal(table.primary_key(), &[(1, Key::Int4(layout_id))], |row| {
        ControlFlow::Break((row.int4(3), row.bytes(6)))
    });
    let Some((relation_id, Some(definition))) = row else {
        corrupted(format_args!("layout {layout_id} does not exist")).raise()
    };
    let definition = RelationLayout::decode(&definition)
        .unwrap_or_else(|error| corrupted(format_args!("layout {layout_id}: {error}")).raise());
    let found = Rc::new(StoredLayout { relation_id, definition });
    BY_ID.with(|cache| cache.borrow_mut().insert(layout_id, Rc::clone(&found)));
    found
}

/// The number of a layout, which is written down if it is new. `relation_id` is the tracked
/// relation of this database that it describes, if any.
pub fn register(layout: &RelationLayout, relation_id: Option<i32>) -> i32 {
    super::refresh();
    let fingerprint = layout.fingerprint().0;
    let is_it = |(_, known): &Number| relation_id.is_none() || *known == relation_id;
    let known = BY_FINGERPRINT.with(|cache| cache.borrow().get(&fingerprint).copied());
    if let Some((layout_id, _)) = known.filter(is_it) {
        return layout_id;
    }
    let found = find(&fingerprint).filter(is_it).unwrap_or_else(|| {
        write(layout, fingerprint, relation_id);
        find(&fingerprint).unwrap_or_else(|| corrupted("a layout was not stored").raise())
    });
    BY_FINGERPRINT.with(|cache| cache.borrow_mut().insert(fingerprint, found));
    found.0
}

fn find(fingerprint: &[u8; 16]) -> Option<Number> {
    let table = open();
    let index = table.index_on(&[2]).unwrap_or_else(|| not_installed().raise());
    table.equal(index, &[(2, Key::Uuid(fingerprint))], |row| {
        let layout_id = row.int4(1);
        layout_id.map_or(ControlFlow::Continue(()), |id| ControlFlow::Break((id, row.int4(3))))
    })
}

fn write(layout: &RelationLayout, fingerprint: [u8; 16], relation_id: Option<i32>) {
    let journal = catalog::own_relation(c"journal").unwrap_or_else(|| not_installed().raise());
    REGISTERED.set(true);
    sql::run_as_owner_of(
        journal,
        "insert into syncjournal.relation_layout as l \
             (fingerprint, relation_id, schema_name, table_name, definition) \
         values ($1, $2, $3, $4, $5) \
         on conflict (fingerprint) do update \
         set relation_id = coalesce(excluded.relation_id, l.relation_id)",
        &[
            pgrx::Uuid::from_bytes(fingerprint).into(),
            relation_id.into(),
            layout.schema.as_str().into(),
            layout.table.as_str().into(),
            layout.encode().into(),
        ],
    );
    transaction::next_command();
}

pub fn forget_all() {
    BY_ID.with(|cache| cache.borrow_mut().clear());
    BY_FINGERPRINT.with(|cache| cache.borrow_mut().clear());
}

/// Whether this transaction has registered a layout.
pub fn has_registered() -> bool {
    REGISTERED.get()
}

pub fn end_transaction() {
    REGISTERED.set(false);
}
