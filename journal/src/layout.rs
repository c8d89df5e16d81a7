//! The layout of a relation: which columns its frames carry, in which order, in which form.
//!
//! Frames number columns by their place in the layout, so a frame can be read by whoever has the
//! layout, whatever the table looks like by then or elsewhere. Layouts are known by content: equal
//! definitions have equal fingerprints on every node.

use std::fmt;

use thiserror::Error;
use uuid::Uuid;

use crate::decode::{DecodeError, Reader, put_string, put_varint};
use crate::limits;

/// The form in which a column's values travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// What the type's send function gives, text as UTF-8.
    Binary,
    /// What the type's output function gives, as UTF-8: for types whose send form holds object
    /// identifiers of one database.
    Text,
    /// The identity of the row that the column refers to, where its key is each database's own.
    Reference,
}

/// One column.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Column {
    pub name: String,
    pub type_schema: String,
    pub type_name: String,
    pub format: Format,
}

impl Column {
    /// What it holds, for people.
    fn told(&self) -> String {
        match self.format {
            Format::Reference => "a reference by identity".to_owned(),
            Format::Binary | Format::Text => format!("{}.{}", self.type_schema, self.type_name),
        }
    }
}

/// A relation and its columns in the order of the frames.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RelationLayout {
    pub schema: String,
    pub table: String,
    /// The column that holds the rows' identity; not among `columns` when it was added by `track`.
    pub identity: String,
    pub columns: Vec<Column>,
}

/// The hash of a definition.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 16]);

impl From<Fingerprint> for Uuid {
    fn from(fingerprint: Fingerprint) -> Self {
        Self::from_bytes(fingerprint.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({})", Uuid::from(*self))
    }
}

/// Why two sides' columns do not fit.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Mismatch<'a> {
    #[error("column \"{0}\" is missing")]
    MissingColumn(&'a str),
    #[error("column \"{column}\" has type {here}, there it is {there}")]
    Type { column: &'a str, here: String, there: String },
}

const FORMAT: u8 = 1;

impl RelationLayout {
    /// The definition's bytes: what sets carry and what the fingerprint covers.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        for text in [&self.schema, &self.table, &self.identity] {
            put_string(&mut out, text);
        }
        put_varint(&mut out, self.columns.len() as u64);
        for column in &self.columns {
            for text in [&column.name, &column.type_schema, &column.type_name] {
                put_string(&mut out, text);
            }
            out.push(match column.format {
                Format::Binary => 0,
                Format::Text => 1,
                Format::Reference => 2,
            });
        }
        out
    }

    /// # Errors
    /// [`DecodeError`] where the bytes are not one whole definition.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        if reader.u8("layout")? != FORMAT {
            return Err(DecodeError::Invalid("format of the layout"));
        }
        let mut name = |what| reader.string(limits::MAX_NAME_BYTES, what).map(str::to_owned);
        let schema = name("schema name")?;
        let table = name("table name")?;
        let identity = name("column name")?;
        let count = reader.bounded(limits::MAX_COLUMNS, "number of columns")?;
        let mut columns = Vec::new();
        for _ in 0..count {
            columns.push(Self::decode_column(&mut reader)?);
        }
        if !reader.is_empty() {
            return Err(DecodeError::Invalid("end of the layout"));
        }
        Ok(Self { schema, table, identity, columns })
    }

    fn decode_column(reader: &mut Reader<'_>) -> Result<Column, DecodeError> {
        let mut name = |what| reader.string(limits::MAX_NAME_BYTES, what).map(str::to_owned);
        let (column, type_schema) = (name("column name")?, name("type's schema")?);
        let type_name = name("type name")?;
        let format = match reader.u8("column format")? {
            0 => Format::Binary,
            1 => Format::Text,
            2 => Format::Reference,
            _ => return Err(DecodeError::Invalid("column format")),
        };
        Ok(Column { name: column, type_schema, type_name, format })
    }

    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(xxhash_rust::xxh3::xxh3_128(&self.encode()).to_be_bytes())
    }

    /// Place of the column with this name.
    #[must_use]
    pub fn position(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|found| found.name == column)
    }

    /// For each column of `incoming` its place here, matched by name.
    ///
    /// A type in another schema is the same type where its name is the same: extensions may be
    /// installed anywhere.
    ///
    /// # Errors
    /// The first column that is missing here or has another type.
    pub fn map_from<'a>(&self, incoming: &'a Self) -> Result<Vec<usize>, Mismatch<'a>> {
        let place = |there: &'a Column| {
            let place =
                self.position(&there.name).ok_or(Mismatch::MissingColumn(there.name.as_str()))?;
            let here = &self.columns[place];
            if here.type_name != there.type_name || here.format != there.format {
                return Err(Mismatch::Type {
                    column: &there.name,
                    here: here.told(),
                    there: there.told(),
                });
            }
            Ok(place)
        };
        incoming.columns.iter().map(place).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn layouts() -> impl Strategy<Value = RelationLayout> {
        let format = prop::sample::select(vec![Format::Binary, Format::Text, Format::Reference]);
        let column = ("\\PC{1,8}", "[a-z]{1,4}", "[a-z_]{1,6}", format);
        let columns = prop::collection::vec(column, 0..6);
        ("\\PC{1,8}", "\\PC{1,8}", "[a-z]{1,6}", columns).prop_map(
            |(schema, table, identity, columns)| RelationLayout {
                schema,
                table,
                identity,
                columns: columns
                    .into_iter()
                    .map(|(name, type_schema, type_name, format)| Column {
                        name,
                        type_schema,
                        type_name,
                        format,
                    })
                    .collect(),
            },
        )
    }

    proptest! {
        #[test]
        fn a_definition_comes_back(layout in layouts(), other in layouts()) {
            prop_assert_eq!(RelationLayout::decode(&layout.encode()), Ok(layout.clone()));
            prop_assert_eq!(layout.fingerprint() == other.fingerprint(), layout == other);
        }

        #[test]
        fn any_bytes_are_a_layout_or_an_error(bytes: Vec<u8>) {
            if let Ok(layout) = RelationLayout::decode(&bytes) {
                prop_assert_eq!(layout.encode(), bytes);
            }
        }
    }

    fn layout(columns: &[(&str, &str)]) -> RelationLayout {
        let column = |&(name, type_name): &(&str, &str)| Column {
            name: name.into(),
            type_schema: "pg_catalog".into(),
            type_name: type_name.into(),
            format: Format::Binary,
        };
        RelationLayout {
            schema: "public".into(),
            table: "item".into(),
            identity: "sync_id".into(),
            columns: columns.iter().map(column).collect(),
        }
    }

    #[test]
    fn columns_are_matched_by_name() {
        let here = layout(&[("a", "int4"), ("extra", "text"), ("b", "text")]);
        let there = layout(&[("b", "text"), ("a", "int4")]);
        assert_eq!(here.map_from(&there), Ok(vec![2, 0]));
        assert_eq!(there.map_from(&here), Err(Mismatch::MissingColumn("extra")));
        let other = layout(&[("a", "int8")]);
        let message = here.map_from(&other).expect_err("types differ").to_string();
        assert_eq!(message, "column \"a\" has type pg_catalog.int4, there it is pg_catalog.int8");
    }
}
