//! One way between two nodes, and all links that go it.
//!
//! A target keeps one position for a source: what one link left out, another could not bring later.
//! So links that lead from the same source to the same target are one flow, with the union of what
//! they select. What they say of anything else must agree.

use super::{Direction, LinkConfig, LinkOptions, Mode, Node, OnExtra};
use crate::error::{Error, Result};
use std::sync::Arc;
use syncjournal_core::pattern::Selection;

/// One way of a link, or of several between the same nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flow {
    /// The names of its links.
    pub(crate) links: Vec<String>,
    pub(crate) source: Arc<Node>,
    pub(crate) target: Arc<Node>,
    /// A link of its goes the other way as well.
    pub(crate) two_way: bool,
    /// Where the source switches the target off, it goes off there, too. On a link that goes both ways
    /// that is for the link's source to say.
    pub(crate) carries_switch: bool,
    pub(crate) mode: Mode,
    pub(crate) options: LinkOptions,
    /// What its links select together.
    pub(crate) selection: Selection,
    pub(crate) include: Vec<String>,
    pub(crate) exclude: Vec<String>,
}

impl std::fmt::Display for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} to {})", self.title(), self.source.name, self.target.name)
    }
}

impl Flow {
    /// Names what leads from `source` to `target` by this link.
    pub(super) fn of(link: &LinkConfig, source: &Arc<Node>, target: &Arc<Node>) -> Self {
        Self {
            links: vec![link.name.clone()],
            source: Arc::clone(source),
            target: Arc::clone(target),
            two_way: link.direction == Direction::Both,
            carries_switch: link.direction != Direction::Both || source.name == link.source.name,
            mode: link.mode.clone(),
            options: link.options.clone(),
            selection: link.selection.clone(),
            include: texts(&link.selection.include),
            exclude: texts(&link.selection.exclude),
        }
    }

    /// The way back of a link: slices are of the source that it names.
    pub(super) fn without_slices(mut self) -> Self {
        self.options.slices = None;
        self
    }

    pub(super) fn has_ends_of(&self, other: &Self) -> bool {
        self.source.name == other.source.name && self.target.name == other.target.name
    }

    /// Takes a further link in.
    pub(super) fn merge(&mut self, other: &Self) -> Result<()> {
        if self.links.iter().any(|name| other.links.contains(name)) {
            return Ok(());
        }
        let (mine, theirs) = (self.title(), other.title());
        let place = format!("\"{}\" to \"{}\"", self.source.name, self.target.name);
        let differ =
            |what: &str| {
                Error::config(format!("{mine} and {theirs} lead from {place} and differ in {what}"))
            .detail("A target keeps one position for a source: such links are brought together.")
            .hint(format!("Give them the same {what}, or make them one link."))
            };
        if self.mode != other.mode {
            return Err(differ("mode and schedule"));
        }
        self.options.merge(&other.options).map_err(differ)?;
        let union = self.selection.union(&other.selection).map_err(|error| {
            Error::config(format!(
                "{mine} and {theirs} lead from {place} and contradict each other: {error}"
            ))
            .hint("Exclude it in both, or include all that the other excludes by that pattern.")
        })?;
        self.include = texts(&union.include);
        self.exclude = texts(&union.exclude);
        self.selection = union;
        self.two_way |= other.two_way;
        self.carries_switch |= other.carries_switch;
        self.links.extend_from_slice(&other.links);
        Ok(())
    }

    /// Where rows go back, one that has not travelled yet would be taken for extra.
    pub(super) fn check_extra(&self) -> Result<()> {
        let deletes = self.options.extra.is_some_and(|extra| extra.action == OnExtra::Delete);
        if deletes && self.two_way {
            return Err(Error::config(format!(
                "{} deletes extra rows and goes both ways",
                self.title()
            ))
            .detail("A row that has not travelled to the other side yet would be deleted.")
            .hint("Let it go one way, or use on_extra = \"report\"."));
        }
        Ok(())
    }

    /// `link "a"`, or `links "a" and "b"`.
    pub(crate) fn title(&self) -> String {
        let quoted: Vec<String> = self.links.iter().map(|name| format!("\"{name}\"")).collect();
        match quoted.as_slice() {
            [one] => format!("link {one}"),
            several => format!("links {}", several.join(", ")),
        }
    }

    /// The lists for the source to apply: nothing where everything is taken, so that a node that
    /// has no tracked table yet is no misspelt pattern.
    pub(crate) fn lists(&self) -> (Option<&[String]>, Option<&[String]>) {
        if self.include.iter().any(|pattern| pattern == "*.*") && self.exclude.is_empty() {
            (None, None)
        } else {
            (Some(&self.include), Some(&self.exclude))
        }
    }
}

fn texts(patterns: &[syncjournal_core::pattern::Pattern]) -> Vec<String> {
    patterns.iter().map(ToString::to_string).collect()
}
