//! A foreign key that travels as the identity of the row that it points to.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use pgrx::pg_sys::{self, Datum, Oid};

use super::catalog::Attribute;
use super::parent::{Key, KeyType, Parent, Sight};
use super::row_view::RowView;

/// What stands in an entry for a row that could not be found.
pub const LOST: [u8; 16] = [0; 16];

/// The values of a row, by column number less one.
type Values<'a> = (&'a [Datum], &'a [bool]);

/// One column of a foreign key.
#[derive(Clone, Copy, Debug)]
pub struct KeyPart {
    /// From 1.
    pub number: usize,
    pub of: KeyType,
}

/// A foreign key of a table, or of a partition.
#[derive(Debug)]
pub struct Reference {
    /// For messages.
    pub column: String,
    /// Its columns, in the order of the parent's key.
    pub columns: Vec<KeyPart>,
    /// Which of them are set on arrival; the others travel by themselves.
    pub sets: Vec<usize>,
    /// Whether one of those may not be null.
    pub is_required: bool,
    pub parent: Rc<Parent>,
    /// Where it refers to the table itself: the columns of the key there.
    pub own_key: Option<Vec<usize>>,
}

/// A reference whose row is not there yet: deferred constraints allow that until the commit.
#[derive(Debug)]
pub struct Hole {
    /// Where its identity belongs in the entry's values.
    pub at: usize,
    pub is_new: bool,
    pub column: String,
    pub parent: Rc<Parent>,
    pub key: Key,
    /// The key for people.
    pub told: String,
}

thread_local! {
    static HOLES: RefCell<Vec<Hole>> = const { RefCell::new(Vec::new()) };
    static ANY: Cell<bool> = const { Cell::new(false) };
}

/// The holes that were left since it was last asked.
pub fn take_holes() -> Vec<Hole> {
    if !ANY.replace(false) {
        return Vec::new();
    }
    HOLES.with(|holes| std::mem::take(&mut *holes.borrow_mut()))
}

/// How many there are.
pub fn holes() -> usize {
    if ANY.get() { HOLES.with(|holes| holes.borrow().len()) } else { 0 }
}

/// Those behind the first `kept` are of a row as it was: what cannot be found stays unknown.
pub fn forgive_holes(kept: usize) {
    HOLES.with(|holes| holes.borrow_mut().iter_mut().skip(kept).for_each(|h| h.is_new = false));
}

impl Hole {
    /// The identity, once the row is there.
    pub fn identity(&self) -> Option<[u8; 16]> {
        now_or_gone(&self.parent, &self.key)
    }
}

impl Reference {
    /// Whether it points nowhere.
    pub fn is_null(&self, nulls: &[bool]) -> bool {
        self.columns.iter().any(|part| nulls[part.number - 1])
    }

    /// Appends the identity of the row that it points to; false where it points nowhere. A row
    /// that is not there leaves a hole.
    pub fn encode(&self, (values, nulls): Values<'_>, out: &mut Vec<u8>) -> bool {
        if self.is_null(nulls) {
            return false;
        }
        let key = self.key(values);
        let found = key.as_ref().and_then(|key| now_or_gone(&self.parent, key));
        if let (None, Some(key)) = (found, key) {
            self.leave_hole(out.len(), &key);
        }
        out.extend_from_slice(&found.unwrap_or(LOST));
        true
    }

    /// As [`Self::encode`], of a row that has been there: what is not found is lost.
    pub fn encode_settled(&self, (values, nulls): Values<'_>, out: &mut Vec<u8>) -> bool {
        if self.is_null(nulls) {
            return false;
        }
        let found = self.key(values).and_then(|key| {
            let seen = || self.parent.identity_of(&key, Sight::Statement);
            now_or_gone(&self.parent, &key).or_else(seen)
        });
        out.extend_from_slice(&found.unwrap_or(LOST));
        true
    }

    /// Whether two rows point to the same one, though its key may have changed.
    pub fn is_same(&self, old: Values<'_>, new: Values<'_>) -> bool {
        match (self.is_null(old.1), self.is_null(new.1)) {
            (true, true) => return true,
            (false, false) => {}
            _ => return false,
        }
        let is_same_key = self.columns.iter().all(|part| {
            let place = part.number - 1;
            // SAFETY: both are non-null values of this column.
            unsafe {
                let KeyType { length, by_value, .. } = part.of;
                super::varlena::datum_image_eq(old.0[place], new.0[place], length, by_value)
            }
        });
        let identity = |values| now_or_gone(&self.parent, &self.key(values)?);
        is_same_key || identity(old.0).is_some_and(|old| Some(old) == identity(new.0))
    }

    /// The parent's key that the columns name; none where they cannot be one.
    fn key(&self, values: &[Datum]) -> Option<Key> {
        let parts = self.columns.iter().zip(self.parent.key_types());
        let value = |(part, to): (&KeyPart, &KeyType)| {
            convert(values[part.number - 1], part.of.type_oid, to.type_oid)
        };
        parts.map(value).collect::<Option<Vec<_>>>().map(Key)
    }

    fn leave_hole(&self, at: usize, key: &Key) {
        let types = self.parent.key_types();
        let numbers = key.0.iter().zip(types);
        let shown = numbers.map(|(value, of)| {
            integer(*value, of.type_oid).map_or("...".to_owned(), |value| value.to_string())
        });
        let told = format!(
            "Key ({})=({})",
            self.parent.columns().join(", "),
            shown.collect::<Vec<_>>().join(", ")
        );
        // SAFETY: the values are of the parent's types; the copy lives as long as the buffer may
        // hold the entry.
        let key = unsafe {
            let outer = pg_sys::MemoryContextSwitchTo(pg_sys::TopTransactionContext);
            let copy = key.0.iter().zip(types).map(|(value, of)| of.copy(*value)).collect();
            pg_sys::MemoryContextSwitchTo(outer);
            Key(copy)
        };
        let (column, parent) = (self.column.clone(), Rc::clone(&self.parent));
        let hole = Hole { at, is_new: true, column, parent, key, told };
        ANY.set(true);
        HOLES.with(|holes| holes.borrow_mut().push(hole));
    }

    /// Lets the columns point to the row of this key, or nowhere.
    pub fn set(&self, values: &mut [Datum], nulls: &mut [bool], key: Option<&Key>) {
        let types = self.parent.key_types();
        for &part in &self.sets {
            let KeyPart { number, of } = self.columns[part];
            let value = key.and_then(|key| convert(key.0[part], types[part].type_oid, of.type_oid));
            nulls[number - 1] = value.is_none();
            values[number - 1] = value.unwrap_or(Datum::from(0));
        }
    }

    /// Lets the columns point to the very row that they are in.
    pub fn set_to_itself(&self, values: &mut [Datum], nulls: &mut [bool], own: &[usize]) {
        let key = Key(own.iter().map(|number| values[number - 1]).collect());
        self.set(values, nulls, Some(&key));
    }
}

/// An integer column that is this database's own.
#[derive(Clone, Copy, Debug)]
pub struct OwnKey {
    number: usize,
    type_oid: Oid,
}

impl OwnKey {
    pub fn of(attribute: &Attribute) -> Self {
        Self { number: attribute.number, type_oid: attribute.type_oid }
    }

    pub fn read(self, row: RowView<'_>) -> Option<i64> {
        let (values, nulls) = row.columns();
        let place = self.number - 1;
        (!nulls[place]).then(|| integer(values[place], self.type_oid)).flatten()
    }

    pub fn write(self, values: &mut [Datum], nulls: &mut [bool], value: i64) {
        if let Some(value) = convert(Datum::from(value), pg_sys::INT8OID, self.type_oid) {
            (values[self.number - 1], nulls[self.number - 1]) = (value, false);
        }
    }
}

fn now_or_gone(parent: &Parent, key: &Key) -> Option<[u8; 16]> {
    parent.identity_of(key, Sight::Now).or_else(|| parent.identity_of(key, Sight::Gone))
}

/// A value as one of another integer type, or as it is; none where it does not fit.
fn convert(value: Datum, from: Oid, to: Oid) -> Option<Datum> {
    if from == to {
        return Some(value);
    }
    match (integer(value, from), to) {
        (Some(number), pg_sys::INT2OID) => i16::try_from(number).ok().map(Datum::from),
        (Some(number), pg_sys::INT4OID) => i32::try_from(number).ok().map(Datum::from),
        (Some(number), pg_sys::INT8OID) => Some(Datum::from(number)),
        // Text and its kin; `track` lets no others meet.
        _ => Some(value),
    }
}

fn integer(value: Datum, of: Oid) -> Option<i64> {
    match of {
        pg_sys::INT2OID => Some(i64::from(value.value() as i16)),
        pg_sys::INT4OID => Some(i64::from(value.value() as i32)),
        pg_sys::INT8OID => Some(value.value() as i64),
        _ => None,
    }
}
