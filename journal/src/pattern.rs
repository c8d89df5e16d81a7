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

    /// Whether it is certain that this one matches whatever the other matches.
    fn covers(&self, other: &Self) -> bool {
        covers(&self.table, &other.table) && covers(self.schema(), other.schema())
    }

    /// Whether there can be a relation that both match.
    fn overlaps(&self, other: &Self) -> bool {
        overlap(&self.table, &other.table) && overlap(self.schema(), other.schema())
    }

    fn schema(&self) -> &[Token] {
        self.schema.as_deref().unwrap_or(&[Token::AnyRun])
    }
}

fn matches(pattern: &[Token], name: &str) -> bool {
    let name: Vec<Token> = name.chars().map(Token::Char).collect();
    covers(pattern, &name)
}

/// Wildcard match without recursion: on a mismatch, return to the last `*` and let it take one
/// more character. Time is bounded by pattern length × name length. The name may have wildcards
/// itself: `*` is then matched by `*` alone, and true means that every name which it stands for is
/// matched.
fn covers(pattern: &[Token], name: &[Token]) -> bool {
    let (mut at, mut place) = (0, 0);
    let mut last_run = None;
    while place < name.len() {
        match (pattern.get(at), name[place]) {
            (Some(Token::AnyRun), _) => {
                last_run = Some((at, place));
                at += 1;
            }
            (Some(Token::AnyOne), Token::Char(_) | Token::AnyOne) => {
                (at, place) = (at + 1, place + 1);
            }
            (Some(Token::Char(left)), Token::Char(right)) if *left == right => {
                (at, place) = (at + 1, place + 1);
            }
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

/// Whether there is a name that both match.
fn overlap(left: &[Token], right: &[Token]) -> bool {
    // reached[j]: the first i tokens of the left and the first j of the right can match one text.
    let mut reached = vec![true];
    reached.extend(right.iter().map(|token| *token == Token::AnyRun));
    for place in 1..reached.len() {
        reached[place] &= reached[place - 1];
    }
    for token in left {
        let mut next = vec![reached[0] && *token == Token::AnyRun];
        for (place, other) in right.iter().enumerate() {
            next.push(match (*token, *other) {
                (Token::AnyRun, _) | (_, Token::AnyRun) => reached[place + 1] || next[place],
                (Token::Char(one), Token::Char(two)) => one == two && reached[place],
                (Token::AnyOne, _) | (_, Token::AnyOne) => reached[place],
            });
        }
        reached = next;
    }
    reached[right.len()]
}

/// Two selections that no pair of lists can stand for together.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("what \"{exclude}\" excludes is partly included by \"{include}\"")]
pub struct Contradiction {
    pub exclude: String,
    pub include: String,
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

    #[must_use]
    pub fn excludes(&self, schema: &str, table: &str) -> bool {
        self.exclude.iter().any(|pattern| pattern.matches(schema, table))
    }

    /// What either selects.
    ///
    /// # Errors
    /// Where that is no include list less an exclude list: one excludes what the other includes in
    /// part.
    pub fn union(&self, other: &Self) -> Result<Self, Contradiction> {
        let mut include = self.include.clone();
        include.extend(other.include.iter().filter(|p| !self.include.contains(p)).cloned());
        let mut exclude = self.excluded_beside(other)?;
        let theirs = other.excluded_beside(self)?;
        exclude.extend(theirs.into_iter().filter(|p| !self.exclude.contains(p)));
        Ok(Self { include, exclude })
    }

    /// Of the excluded patterns those which exclude nothing that the other selects.
    fn excluded_beside(&self, other: &Self) -> Result<Vec<Pattern>, Contradiction> {
        let mut left = Vec::new();
        for pattern in &self.exclude {
            let excluded_there = other.exclude.iter().any(|theirs| theirs.covers(pattern));
            match other.include.iter().find(|theirs| theirs.overlaps(pattern)) {
                Some(include) if !excluded_there => {
                    let all = other.include.iter().any(|theirs| theirs.covers(pattern))
                        && !other.exclude.iter().any(|theirs| theirs.overlaps(pattern));
                    if !all {
                        let (exclude, include) = (pattern.to_string(), include.to_string());
                        return Err(Contradiction { exclude, include });
                    }
                }
                _ => left.push(pattern.clone()),
            }
        }
        Ok(left)
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

    fn list(include: &[&str], exclude: &[&str]) -> Selection {
        Selection::parse(include, exclude).expect("patterns")
    }

    #[test]
    fn a_union_selects_what_either_does() {
        let one = list(&["public.*"], &["public.audit_*", "public.session"]);
        let both = one.union(&list(&["shop.*"], &["shop.tmp"])).expect("they are apart");
        assert!(both.selects("shop", "item") && both.selects("public", "item"));
        assert!(!both.selects("shop", "tmp") && !both.selects("public", "audit_log"));
        let both = one.union(&list(&["public.session"], &[])).expect("it takes one back");
        assert!(both.selects("public", "session") && !both.selects("public", "audit_log"));
        let both = one.union(&list(&["*.*"], &["public.audit_*"])).expect("both leave it out");
        assert!(both.selects("public", "session") && !both.selects("public", "audit_log"));
        one.union(&list(&["public.audit_log"], &[])).expect_err("a part of what is excluded");
        list(&["*.*"], &["s*.a"]).union(&list(&["*e.a"], &[])).expect_err("both may match");
    }

    proptest! {
        #[test]
        fn unions_are_exact(
            lists in proptest::collection::vec(
                ("[ab*?]{1,3}", proptest::option::of("[ab*?]{1,3}")), 2..=2),
            names in proptest::collection::vec("[ab]{1,4}", 1..20),
        ) {
            let parsed: Vec<Selection> = lists
                .iter()
                .map(|(include, exclude)| {
                    Selection::parse(std::slice::from_ref(include), exclude.as_slice()).expect("patterns")
                })
                .collect();
            if let Ok(union) = parsed[0].union(&parsed[1]) {
                for name in &names {
                    let either = parsed.iter().any(|list| list.selects("s", name));
                    prop_assert_eq!(union.selects("s", name), either, "{}", name);
                }
            }
        }

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
