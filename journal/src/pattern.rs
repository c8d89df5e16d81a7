//! Include and exclude lists: which relations may travel, by psql's pattern rules.
//!
//! `*` stands for any run of characters, `?` for any one. Letters are folded to lower case unless
//! they stand within double quotes, where also `*`, `?` and the dot are plain characters and a
//! doubled quote is one quote. A pattern without a dot names relations in every schema.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Token {
    Char(char),
    AnyOne,
    AnyRun,
}

/// One pattern: `schema.table` or `table`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    schema: Option<Vec<Token>>,
    table: Vec<Token>,
}

/// What is wrong with a pattern.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidPattern {
    #[error("pattern \"{0}\" has an empty name")]
    Empty(String),
    #[error("pattern \"{0}\" has too many dotted names")]
    TooManyNames(String),
    #[error("pattern \"{0}\" has an unterminated quote")]
    Quote(String),
}

impl FromStr for Pattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut names = Vec::new();
        let mut name = Vec::new();
        let mut quoted = false;
        let mut chars = text.chars().peekable();
        while let Some(char) = chars.next() {
            match char {
                '"' if quoted && chars.peek() == Some(&'"') => {
                    chars.next();
                    name.push(Token::Char('"'));
                }
                '"' => quoted = !quoted,
                _ if quoted => name.push(Token::Char(char)),
                '.' => names.push(std::mem::take(&mut name)),
                '*' => name.push(Token::AnyRun),
                '?' => name.push(Token::AnyOne),
                _ => name.extend(char.to_lowercase().map(Token::Char)),
            }
        }
        names.push(name);
        let owned = || text.to_owned();
        if quoted {
            return Err(InvalidPattern::Quote(owned()));
        }
        if names.iter().any(Vec::is_empty) {
            return Err(InvalidPattern::Empty(owned()));
        }
        let (Some(table), schema, None) = (names.pop(), names.pop(), names.pop()) else {
            return Err(InvalidPattern::TooManyNames(owned()));
        };
        Ok(Self { text: owned(), schema, table })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Pattern {
    #[must_use]
    pub fn matches(&self, schema: &str, table: &str) -> bool {
        matches(&self.table, table)
            && self.schema.as_ref().is_none_or(|pattern| matches(pattern, schema))
    }
}

/// Wildcard match without recursion: on a mismatch, return to the last `*` and let it take one
/// more character. Time is bounded by pattern length × name length.
fn matches(pattern: &[Token], name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    let (mut at, mut place) = (0, 0);
    let mut last_run = None;
    while place < name.len() {
        match pattern.get(at) {
            Some(Token::AnyRun) => {
                last_run = Some((at, place));
                at += 1;
            }
            Some(Token::AnyOne) => (at, place) = (at + 1, place + 1),
            Some(Token::Char(char)) if *char == name[place] => (at, place) = (at + 1, place + 1),
            _ => match last_run {
                Some((run, taken)) => {
                    last_run = Some((run, taken + 1));
                    (at, place) = (run + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|token| *token == Token::AnyRun)
}

/// An include list less an exclude list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    pub include: Vec<Pattern>,
    pub exclude: Vec<Pattern>,
}

impl Selection {
    /// # Errors
    /// The first pattern that is not one.
    pub fn parse<S: AsRef<str>>(include: &[S], exclude: &[S]) -> Result<Self, InvalidPattern> {
        let list = |texts: &[S]| -> Result<Vec<Pattern>, InvalidPattern> {
            texts.iter().map(|text| text.as_ref().parse()).collect()
        };
        Ok(Self { include: list(include)?, exclude: list(exclude)? })
    }

    #[must_use]
    pub fn selects(&self, schema: &str, table: &str) -> bool {
        let any = |list: &[Pattern]| list.iter().any(|pattern| pattern.matches(schema, table));
        any(&self.include) && !any(&self.exclude)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, schema: &str, table: &str) -> bool {
        pattern.parse::<Pattern>().expect(pattern).matches(schema, table)
    }

    #[test]
    fn patterns_follow_psql() {
        assert!(matches("public.*", "public", "item"));
        assert!(matches("*.*", "any", "thing"));
        assert!(matches("item", "any", "item"));
        assert!(matches("PUBLIC.It?m", "public", "item"), "unquoted letters are folded");
        assert!(!matches("public.item", "public", "Item"));
        assert!(matches("public.\"Item\"", "public", "Item"));
        assert!(matches("public.\"a*b\"", "public", "a*b"), "quoted wildcards are plain");
        assert!(!matches("public.\"a*b\"", "public", "axb"));
        assert!(matches("\"my.schema\".t", "my.schema", "t"));
        assert!(matches("public.\"say \"\"x\"\"\"", "public", "say \"x\""));
        assert!(matches("public.audit_*", "public", "audit_"));
        assert!(!matches("public.audit_*", "public", "audit"));
        assert!(matches("a*b*c", "s", "a-b-b-c"));
        assert!(!matches("a.c", "s", "abc"), "a dot is no wildcard");
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["", ".", "a.", ".b", "a.b.c.d", "a.b.c", "\"a", "\"\""] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn exclude_wins_over_include() {
        let list = Selection::parse(&["public.*"], &["public.audit_*"]).expect("patterns");
        assert!(list.selects("public", "item"));
        assert!(!list.selects("public", "audit_log"));
        assert!(!list.selects("other", "item"));
    }

    proptest! {
        #[test]
        fn a_quoted_name_matches_itself_alone(name in "[^\u{0}]{1,12}", other in "[a-z*?.\"]{1,12}") {
            let quoted = format!("\"{}\"", name.replace('"', "\"\""));
            prop_assert!(matches(&quoted, "s", &name));
            prop_assert_eq!(matches(&quoted, "s", &other), name == other);
        }

        #[test]
        fn any_text_is_a_pattern_or_an_error(text: String, name: String) {
            if let Ok(pattern) = text.parse::<Pattern>() {
                let _either = pattern.matches(&name, &name);
            }
        }
    }
}
