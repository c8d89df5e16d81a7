//! Sums of hashes by the leading bytes of the rows' identities.

use std::collections::HashMap;

use thiserror::Error;

use crate::entry::RowId;

/// Bytes below the prefix by which rows may be told apart at once: four make four thousand million
/// groups at most, and no table has so many rows that one would want more in one answer.
pub const MAX_DEPTH: usize = 4;

/// The bytes below the prefix, zeros behind them.
type Key = [u8; MAX_DEPTH];

/// Some of a table's rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Group {
    pub rows: u64,
    /// The sum of the rows' hashes.
    pub hash: u128,
}

impl Group {
    fn add(&mut self, hash: u128) {
        self.rows += 1;
        self.hash = self.hash.wrapping_add(hash);
    }

    /// Both groups' rows.
    #[must_use]
    pub const fn join(self, other: Self) -> Self {
        Self { rows: self.rows + other.rows, hash: self.hash.wrapping_add(other.hash) }
    }
}

/// Why there is no such tree.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PrefixError {
    #[error("depth {0} is out of range")]
    Depth(usize),
    #[error("prefix of {prefix} bytes with depth {depth} is longer than an identity")]
    Length { prefix: usize, depth: usize },
}

/// The rows whose identities begin with `prefix`, in groups by the `depth` bytes that follow.
#[derive(Clone, Debug)]
pub struct Tree {
    prefix: Vec<u8>,
    depth: usize,
    groups: HashMap<Key, Group>,
    /// The group that was added to last: rows often come in order.
    last: Option<(Key, Group)>,
}

impl Tree {
    /// # Errors
    /// [`PrefixError`] where `depth` is above [`MAX_DEPTH`], or identities are not as long.
    pub fn new(prefix: &[u8], depth: usize) -> Result<Self, PrefixError> {
        if depth > MAX_DEPTH {
            return Err(PrefixError::Depth(depth));
        }
        if prefix.len() + depth > RowId::NIL.0.len() {
            return Err(PrefixError::Length { prefix: prefix.len(), depth });
        }
        Ok(Self { prefix: prefix.to_vec(), depth, groups: HashMap::new(), last: None })
    }

    /// Whether the row belongs here: others need not be hashed.
    #[must_use]
    pub fn contains(&self, row: RowId) -> bool {
        row.0.starts_with(&self.prefix)
    }

    /// Adds a row that [`Tree::contains`].
    pub fn add(&mut self, row: RowId, hash: u128) {
        let mut key = [0; MAX_DEPTH];
        let below = &row.0[self.prefix.len()..];
        key[..self.depth].copy_from_slice(&below[..self.depth]);
        match &mut self.last {
            Some((last, group)) if *last == key => group.add(hash),
            _ => {
                self.flush();
                let mut group = Group::default();
                group.add(hash);
                self.last = Some((key, group));
            }
        }
    }

    fn flush(&mut self) {
        if let Some((key, group)) = self.last.take() {
            let sum = self.groups.entry(key).or_default();
            *sum = sum.join(group);
        }
    }

    /// The groups that have rows, each with the whole prefix of its identities, in order. At depth 0
    /// there is exactly one, of no rows where there are none.
    pub fn groups(mut self) -> impl Iterator<Item = (Vec<u8>, Group)> {
        self.flush();
        if self.depth == 0 {
            self.groups.entry([0; MAX_DEPTH]).or_default();
        }
        let (prefix, depth) = (self.prefix, self.depth);
        let mut groups: Vec<(Key, Group)> = self.groups.into_iter().collect();
        groups.sort_unstable_by_key(|&(key, _)| key);
        groups
            .into_iter()
            .map(move |(key, group)| ([prefix.as_slice(), &key[..depth]].concat(), group))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tree(rows: &[([u8; 16], u128)], prefix: &[u8], depth: usize) -> Vec<(Vec<u8>, Group)> {
        let mut tree = Tree::new(prefix, depth).expect("a good prefix");
        for &(id, hash) in rows {
            if tree.contains(RowId(id)) {
                tree.add(RowId(id), hash);
            }
        }
        tree.groups().collect()
    }

    /// Few different bytes, so that rows share prefixes.
    fn rows() -> impl Strategy<Value = Vec<([u8; 16], u128)>> {
        let id = prop::array::uniform16(0_u8..3);
        prop::collection::vec((id, any::<u128>()), 0..40)
    }

    proptest! {
        #[test]
        fn order_does_not_matter(rows in rows(), seed: usize, depth in 0..=MAX_DEPTH) {
            let mut shuffled = rows.clone();
            shuffled.rotate_left(seed % rows.len().max(1));
            shuffled.reverse();
            prop_assert_eq!(tree(&rows, &[], depth), tree(&shuffled, &[], depth));
        }

        #[test]
        fn a_group_is_the_sum_of_the_groups_below_it(
            rows in rows(), upper in 0..=MAX_DEPTH, lower in 0..=MAX_DEPTH,
        ) {
            for (prefix, group) in tree(&rows, &[], upper) {
                let below = tree(&rows, &prefix, lower);
                let sum = below.iter().fold(Group::default(), |sum, (_, part)| sum.join(*part));
                prop_assert_eq!(group, sum);
                for (longer, part) in below {
                    prop_assert_eq!(&longer[..upper], &prefix[..]);
                    prop_assert_eq!(longer.len(), upper + lower);
                    prop_assert!(part.rows > 0 || rows.is_empty());
                }
            }
        }

        #[test]
        fn one_changed_row_shows_in_its_own_groups_only(
            rows in rows(), at: prop::sample::Index, by in 1_u128.., depth in 0..=MAX_DEPTH,
        ) {
            prop_assume!(!rows.is_empty());
            let at = at.index(rows.len());
            let mut changed = rows.clone();
            changed[at].1 = changed[at].1.wrapping_add(by);
            let differing = tree(&rows, &[], depth)
                .into_iter()
                .zip(tree(&changed, &[], depth))
                .filter(|(left, right)| left != right)
                .map(|(left, _)| left.0)
                .collect::<Vec<_>>();
            prop_assert_eq!(differing, [rows[at].0[..depth].to_vec()]);
        }
    }

    #[test]
    fn a_tree_without_rows() {
        assert_eq!(tree(&[], &[], 0), [(vec![], Group::default())]);
        assert_eq!(tree(&[], &[1, 2], 0), [(vec![1, 2], Group::default())]);
        assert_eq!(tree(&[], &[], 2), []);
    }

    #[test]
    fn what_is_no_prefix() {
        assert!(Tree::new(&[0; 12], 4).is_ok());
        assert!(Tree::new(&[0; 16], 0).is_ok());
        assert_eq!(Tree::new(&[], 5).err(), Some(PrefixError::Depth(5)));
        let long = PrefixError::Length { prefix: 13, depth: 4 };
        assert_eq!(Tree::new(&[0; 13], 4).err(), Some(long));
    }
}
