//! Which operations may pass from one node to another, by table.

use std::str::FromStr;

use crate::entry::Operation;
use crate::pattern::Pattern;

/// A set of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operations(u8);

const WORDS: [(&str, u8); 4] = [("insert", 1), ("update", 2), ("delete", 4), ("truncate", 8)];

impl Operations {
    pub const ALL: Self = Self(0b1111);

    /// By their words in SQL; `None` where one is unknown.
    #[must_use]
    pub fn from_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        words.into_iter().try_fold(Self(0), |known, word| {
            let bit = WORDS.iter().find(|(name, _)| *name == word)?.1;
            Some(Self(known.0 | bit))
        })
    }

    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        if bits & !Self::ALL.0 == 0 { Some(Self(bits)) } else { None }
    }

    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Their words in SQL.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        WORDS.into_iter().filter(move |(_, bit)| self.0 & bit != 0).map(|(word, _)| word)
    }

    /// What both allow.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether entries of this operation may pass. A row of a full set is an insert or an update: which
    /// of them shows only at the target.
    #[must_use]
    pub const fn allow(self, operation: Operation) -> bool {
        let bits = match operation {
            Operation::Insert => 1,
            Operation::Update => 2,
            Operation::Delete | Operation::Leave => 4,
            Operation::Truncate => 8,
            Operation::State => 1 | 2,
        };
        self.0 & bits != 0
    }
}

/// Of the tables that the pattern matches, only these operations pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restriction {
    pub pattern: Pattern,
    pub operations: Operations,
}

/// What a text is not.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("\"{0}\" is no restriction")]
pub struct InvalidRestriction(String);

/// The operations, joined by commas, a space, and the pattern.
impl FromStr for Restriction {
    type Err = InvalidRestriction;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidRestriction(text.to_owned());
        let (words, pattern) = text.split_once(' ').ok_or_else(invalid)?;
        let words = words.split(',').filter(|word| !word.is_empty());
        let operations = Operations::from_words(words).ok_or_else(invalid)?;
        Ok(Self { pattern: pattern.parse().map_err(|_| invalid())?, operations })
    }
}

/// What passes of a table: what all restrictions that meet it allow.
#[must_use]
pub fn permitted(restrictions: &[Restriction], schema: &str, table: &str) -> Operations {
    let meets = |one: &&Restriction| one.pattern.matches(schema, table);
    let operations = restrictions.iter().filter(meets).map(|one| one.operations);
    operations.fold(Operations::ALL, Operations::and)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restriction(text: &str) -> Restriction {
        text.parse().expect("a restriction")
    }

    #[test]
    fn every_restriction_that_meets_a_table_must_allow_it() {
        let list = [restriction("insert,update shop.*"), restriction("insert *.audit_*")];
        let of = |schema, table| permitted(&list, schema, table);
        assert_eq!(of("crm", "person"), Operations::ALL);
        assert!(of("shop", "item").allow(Operation::Update));
        assert!(!of("shop", "item").allow(Operation::Delete));
        assert!(!of("shop", "item").allow(Operation::Truncate));
        assert!(!of("shop", "audit_item").allow(Operation::Update));
        assert!(of("shop", "audit_item").allow(Operation::State));
        let nothing = [restriction(" \"A b\"")];
        assert_eq!(permitted(&nothing, "shop", "A b").bits(), 0);
        assert!("merge a".parse::<Restriction>().is_err());
        assert!("insert".parse::<Restriction>().is_err());
        assert_eq!(Operations::from_bits(16), None);
    }
}
