//! The hash of one row.

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::entry::RowId;
use crate::layout::RelationLayout;

/// Stands for a column's name in front of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnTag([u8; 8]);

impl ColumnTag {
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(xxh3_64(name.as_bytes()).to_be_bytes())
    }

    /// The layout's columns in the order in which they are hashed: each one's place in the layout,
    /// and its tag.
    #[must_use]
    pub fn in_order(layout: &RelationLayout) -> Vec<(usize, Self)> {
        let mut places: Vec<usize> = (0..layout.columns.len()).collect();
        places.sort_by(|&left, &right| layout.columns[left].name.cmp(&layout.columns[right].name));
        places.into_iter().map(|place| (place, Self::new(&layout.columns[place].name))).collect()
    }
}

/// The bytes that a row's hash covers; one buffer serves many rows.
#[derive(Debug, Default)]
pub struct RowBytes {
    buffer: Vec<u8>,
}

impl RowBytes {
    /// Begins a row.
    pub fn begin(&mut self, row: RowId) {
        self.buffer.clear();
        self.buffer.extend_from_slice(&row.0);
    }

    /// Adds a column, in the order of [`ColumnTag::in_order`]. `write` appends the value's wire form,
    /// or says that it is NULL by `false`.
    pub fn value(&mut self, column: ColumnTag, write: impl FnOnce(&mut Vec<u8>) -> bool) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&column.0);
        self.buffer.extend_from_slice(&[0; 4]);
        let value = self.buffer.len();
        if !write(&mut self.buffer) {
            self.buffer.truncate(start);
            return;
        }
        // A value is at most 1 GB. Its length keeps "a" "bc" apart from "ab" "c".
        let length = (self.buffer.len() - value) as u32;
        self.buffer[value - 4..value].copy_from_slice(&length.to_be_bytes());
    }

    /// The row's hash.
    #[must_use]
    pub fn hash(&self) -> u128 {
        xxh3_128(&self.buffer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::layout::{Column, Format};

    fn layout(names: &[String]) -> RelationLayout {
        let column = |name: &String| Column {
            name: name.clone(),
            type_schema: "pg_catalog".into(),
            type_name: "text".into(),
            format: Format::Binary,
        };
        RelationLayout {
            schema: "public".into(),
            table: "item".into(),
            identity: "id".into(),
            columns: names.iter().map(column).collect(),
        }
    }

    type Cells = Vec<(String, Option<Vec<u8>>)>;

    fn hash(id: [u8; 16], cells: &Cells) -> u128 {
        let names: Vec<String> = cells.iter().map(|(name, _)| name.clone()).collect();
        let mut bytes = RowBytes::default();
        bytes.begin(RowId(id));
        for (place, tag) in ColumnTag::in_order(&layout(&names)) {
            bytes.value(tag, |out| {
                let value = cells[place].1.as_deref();
                out.extend_from_slice(value.unwrap_or_default());
                value.is_some()
            });
        }
        bytes.hash()
    }

    fn cells() -> impl Strategy<Value = Cells> {
        let value = prop::option::of(prop::collection::vec(any::<u8>(), 0..6));
        prop::collection::btree_map("[a-d]{1,2}", value, 0..5)
            .prop_map(|cells| cells.into_iter().collect())
    }

    /// What the hash is of: the values that are there.
    fn content(cells: &Cells) -> Cells {
        let mut there: Cells = cells.iter().filter(|(_, value)| value.is_some()).cloned().collect();
        there.sort();
        there
    }

    proptest! {
        #[test]
        fn equal_content_has_equal_hashes_and_other_content_others(
            id: [u8; 16], other_id: [u8; 16], left in cells(), right in cells(),
        ) {
            let mut shuffled = left.clone();
            shuffled.reverse();
            prop_assert_eq!(hash(id, &left), hash(id, &shuffled));
            prop_assert_eq!(hash(id, &left) == hash(id, &right), content(&left) == content(&right));
            prop_assert_eq!(hash(id, &left) == hash(other_id, &left), id == other_id);
        }
    }

    #[test]
    fn a_value_counts_in_its_own_column_and_length() {
        let cell = |name: &str, value: &[u8]| (name.to_owned(), Some(value.to_vec()));
        let swapped =
            [vec![cell("a", b"x"), cell("b", b"y")], vec![cell("a", b"y"), cell("b", b"x")]];
        assert_ne!(hash([7; 16], &swapped[0]), hash([7; 16], &swapped[1]));
        let null = vec![("a".to_owned(), None)];
        assert_ne!(hash([7; 16], &null), hash([7; 16], &vec![cell("a", b"")]));
        assert_eq!(hash([7; 16], &null), hash([7; 16], &Vec::new()));
    }
}
