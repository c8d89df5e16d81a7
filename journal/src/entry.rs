//! One change of one row, borrowed from the frame that carries it.

use std::fmt;

use uuid::Uuid;

use crate::decode::{DecodeError, Reader};
use crate::limits;
use crate::version::Version;

/// The global identity of a row.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId(pub [u8; 16]);

impl RowId {
    /// Stands for the whole relation, in TRUNCATE.
    pub const NIL: Self = Self([0; 16]);

    /// The identity of a row that existed before its table was tracked: version 5 of the table's
    /// name and its key, so that databases which hold the same rows agree without talking.
    #[must_use]
    pub fn of_key(schema: &str, table: &str, key: &[&str]) -> Self {
        let mut name = format!("{schema}.{table}").into_bytes();
        for part in key {
            name.push(0);
            name.extend_from_slice(part.as_bytes());
        }
        Self(*Uuid::new_v5(&NAMESPACE, &name).as_bytes())
    }
}

/// The namespace of all version 5 identities: itself version 5 of the URL namespace and
/// `urn:syncjournal:row`, fixed for ever.
const NAMESPACE: Uuid = Uuid::from_u128(0x5f3a_c6b0_f302_573c_a423_ecf4_2131_8970);

impl From<Uuid> for RowId {
    fn from(uuid: Uuid) -> Self {
        Self(*uuid.as_bytes())
    }
}

impl From<RowId> for Uuid {
    fn from(row: RowId) -> Self {
        Self::from_bytes(row.0)
    }
}

impl fmt::Display for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from(*self).fmt(f)
    }
}

impl fmt::Debug for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RowId({self})")
    }
}

/// What an entry does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Operation {
    /// Values of all columns.
    Insert = 1,
    /// The changed columns, each with its old and its new value.
    Update = 2,
    /// Old values of all columns.
    Delete = 3,
    /// All rows of the relation that the node had seen; the row id is nil.
    Truncate = 4,
    /// A row of a full set: values of all columns, at a version that is named, may be nil, and is
    /// not this entry's own.
    State = 5,
    /// A row that has left every slice by which the peer had it, at the version that took it out. No
    /// values; one NULL where the row is deleted. Never journaled by whom it reaches.
    Leave = 6,
}

impl Operation {
    pub(crate) fn from_code(code: u8) -> Result<Self, DecodeError> {
        Ok(match code {
            1 => Self::Insert,
            2 => Self::Update,
            3 => Self::Delete,
            4 => Self::Truncate,
            5 => Self::State,
            6 => Self::Leave,
            _ => return Err(DecodeError::Invalid("operation")),
        })
    }

    /// Whether the entry names a version that is not its own.
    #[must_use]
    pub const fn names_version(self) -> bool {
        matches!(self, Self::State | Self::Leave)
    }

    /// The word that view `change` shows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Insert | Self::State => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete | Self::Leave => "DELETE",
            Self::Truncate => "TRUNCATE",
        }
    }
}

/// An entry as it stands in its frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What the row is at after this entry: the entry's own pointer, or for [`Operation::State`]
    /// the version that the source's row had (nil where it never had an entry), for
    /// [`Operation::Leave`] the version that took the row out.
    pub version: Version,
    /// Index in the frame.
    pub index: u16,
    pub operation: Operation,
    pub row: RowId,
    /// The version this one replaces; nil where the row is new or was never journaled.
    pub prev: Version,
    /// The second parent of a merge; nil otherwise.
    pub merged: Version,
    pub(crate) values: Values<'a>,
}

impl<'a> Entry<'a> {
    /// Insert, delete, state: the values of all columns in the layout's order.
    /// Update: for each changed column old and new, see [`Entry::changes`].
    #[must_use]
    pub fn values(&self) -> Values<'a> {
        self.values.clone()
    }

    /// Whether a row that leaves is deleted, rather than out of its slices.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.operation == Operation::Leave && !self.values.is_empty()
    }

    /// The changed columns of an update; empty for every other operation.
    #[must_use]
    pub fn changes(&self) -> Changes<'a> {
        let values = match self.operation {
            Operation::Update => self.values.clone(),
            _ => Values::default(),
        };
        Changes { values, next_column: 0 }
    }
}

/// Values of a row in the layout's order; `None` is NULL. Only made of bytes that were walked
/// once already, so iterating cannot fail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl<'a> Values<'a> {
    /// Walks `count` values and keeps what they cover.
    pub(crate) fn take(reader: &mut Reader<'a>, count: usize) -> Result<Self, DecodeError> {
        let start = reader.rest();
        for _ in 0..count {
            value(reader)?;
        }
        let bytes = &start[..start.len() - reader.rest().len()];
        Ok(Self { bytes, count })
    }

    /// Walks `count` changed columns: number (as the distance from the last), old value, new value.
    pub(crate) fn take_changes(reader: &mut Reader<'a>, count: usize) -> Result<Self, DecodeError> {
        let start = reader.rest();
        let mut next = 0;
        for _ in 0..count {
            next += reader.bounded(limits::MAX_COLUMNS, "column number")? + 1;
            if next > limits::MAX_COLUMNS {
                return Err(DecodeError::Invalid("column number"));
            }
            value(reader)?;
            value(reader)?;
        }
        let bytes = &start[..start.len() - reader.rest().len()];
        Ok(Self { bytes, count })
    }

    /// How many values (of an update: how many changed columns) there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Bytes that all of them take, lengths included.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.bytes.len()
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        self.count = self.count.checked_sub(1)?;
        let mut reader = Reader::new(self.bytes);
        let value = value(&mut reader).ok()?;
        self.bytes = reader.rest();
        Some(value)
    }
}

/// One changed column of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    /// Number of the column in the layout.
    pub column: usize,
    pub old: Option<&'a [u8]>,
    pub new: Option<&'a [u8]>,
}

/// The changed columns of an update, in ascending order of column.
#[derive(Clone, Debug)]
pub struct Changes<'a> {
    values: Values<'a>,
    next_column: usize,
}

impl<'a> Iterator for Changes<'a> {
    type Item = Change<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.values.count = self.values.count.checked_sub(1)?;
        let mut reader = Reader::new(self.values.bytes);
        let skipped = reader.bounded(limits::MAX_COLUMNS, "column number").ok()?;
        let column = self.next_column + skipped;
        let old = value(&mut reader).ok()?;
        let new = value(&mut reader).ok()?;
        self.next_column = column + 1;
        self.values.bytes = reader.rest();
        Some(Change { column, old, new })
    }
}

/// A value: varint 0 for NULL, else its length plus one, then the bytes.
fn value<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a [u8]>, DecodeError> {
    match reader.bounded(limits::FRAME_MAX_BYTES as usize, "length of a value")? {
        0 => Ok(None),
        length => reader.bytes(length - 1, "a value").map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_namespace_is_derived_as_it_says() {
        assert_eq!(NAMESPACE, Uuid::new_v5(&Uuid::NAMESPACE_URL, b"urn:syncjournal:row"));
    }

    #[test]
    fn two_databases_give_the_same_row_the_same_identity() {
        let here = RowId::of_key("public", "item", &["7", "b"]);
        assert_eq!(here, RowId::of_key("public", "item", &["7", "b"]));
        assert_ne!(here, RowId::of_key("public", "item", &["7b"]));
        assert_ne!(here, RowId::of_key("shop", "item", &["7", "b"]));
        assert_eq!(Uuid::from(here).get_version_num(), 5);
    }
}
