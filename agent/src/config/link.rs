//! A link, and the one-way flows that it is made of.

use super::Node;
use super::file::{DirectionWord, LinkTable, ModeWord};
use crate::error::{Error, Result};
use chrono::{DateTime, Local};
use croner::Cron;
use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;
use syncjournal_core::pattern::Selection;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Push,
    Pull,
    Both,
}

/// When a link is brought up to date.
#[derive(Debug, Clone)]
pub(crate) enum Mode {
    /// When somebody says `sync`.
    Once,
    Plan(Schedule),
    Live,
}

impl Mode {
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::Plan(_) => "plan",
            Self::Live => "live",
        }
    }
}

/// A cron expression, in the machine's time zone.
#[derive(Debug, Clone)]
pub(crate) struct Schedule(Box<Cron>);

impl Schedule {
    pub(crate) fn next_after(&self, moment: DateTime<Local>) -> Option<DateTime<Local>> {
        self.0.find_next_occurrence(&moment, false).ok()
    }
}

/// A link as configured.
#[derive(Debug)]
pub(crate) struct LinkConfig {
    pub(crate) name: String,
    pub(crate) source: Arc<Node>,
    pub(crate) destination: Arc<Node>,
    pub(crate) direction: Direction,
    pub(crate) mode: Mode,
    pub(crate) include: Vec<String>,
    pub(crate) exclude: Vec<String>,
    /// `include` and `exclude`, parsed.
    pub(crate) selection: Selection,
    pub(crate) active: bool,
}

/// One way of a link.
#[derive(Debug, Clone)]
pub(crate) struct Flow {
    pub(crate) link: Arc<LinkConfig>,
    pub(crate) source: Arc<Node>,
    pub(crate) target: Arc<Node>,
}

impl std::fmt::Display for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "link \"{}\" ({} to {})", self.link.name, self.source.name, self.target.name)
    }
}

impl LinkConfig {
    pub(super) fn from_table(
        table: LinkTable,
        nodes: &BTreeMap<String, Arc<Node>>,
    ) -> Result<Self> {
        let node = |name: &str| {
            nodes.get(name).cloned().ok_or_else(|| {
                Error::config(format!("there is no node \"{name}\""))
                    .hint(format!("Add a [node.{name}] with its dsn."))
            })
        };
        if table.source == table.destination {
            return Err(Error::config("source and destination are the same node"));
        }
        if table.include.is_empty() {
            return Err(Error::config("an empty include list selects nothing")
                .hint("Leave it out to select every tracked table."));
        }
        let selection = Selection::parse(&table.include, &table.exclude).map_err(|error| {
            Error::config(error.to_string()).hint(
                "Patterns are psql's: schema.table, where * stands for any characters and ? for one.",
            )
        })?;
        Ok(Self {
            source: node(&table.source)?,
            destination: node(&table.destination)?,
            direction: match table.direction {
                DirectionWord::Push => Direction::Push,
                DirectionWord::Pull => Direction::Pull,
                DirectionWord::Both => Direction::Both,
            },
            mode: mode(table.mode, table.schedule.as_deref())?,
            include: table.include,
            exclude: table.exclude,
            selection,
            active: table.active,
            name: table.name,
        })
    }

    /// The lists for the source to apply: nothing where the link takes everything, so that a node
    /// that has no tracked table yet is no misspelt pattern.
    pub(crate) fn lists(&self) -> (Option<&[String]>, Option<&[String]>) {
        if self.include == ["*.*"] && self.exclude.is_empty() {
            (None, None)
        } else {
            (Some(&self.include), Some(&self.exclude))
        }
    }

    /// The one-way flows: push first.
    pub(crate) fn flows(self: &Arc<Self>) -> Vec<Flow> {
        let push = || Flow {
            link: Arc::clone(self),
            source: Arc::clone(&self.source),
            target: Arc::clone(&self.destination),
        };
        let pull = || Flow {
            link: Arc::clone(self),
            source: Arc::clone(&self.destination),
            target: Arc::clone(&self.source),
        };
        match self.direction {
            Direction::Push => vec![push()],
            Direction::Pull => vec![pull()],
            Direction::Both => vec![push(), pull()],
        }
    }
}

fn mode(word: ModeWord, schedule: Option<&str>) -> Result<Mode> {
    match (word, schedule) {
        (ModeWord::Once, None) => Ok(Mode::Once),
        (ModeWord::Live, None) => Ok(Mode::Live),
        (ModeWord::Plan, Some(text)) => {
            let cron = Cron::from_str(text).map_err(|error| {
                Error::config(format!("schedule \"{text}\" is not a cron expression"))
                    .caused_by(error)
                    .hint("For example \"*/15 * * * *\": every quarter of an hour.")
            })?;
            Ok(Mode::Plan(Schedule(Box::new(cron))))
        }
        (ModeWord::Plan, None) => Err(Error::config("mode \"plan\" needs a schedule")
            .hint("For example: schedule = \"*/15 * * * *\"")),
        (ModeWord::Once | ModeWord::Live, Some(_)) => {
            Err(Error::config("a schedule goes with mode \"plan\" only"))
        }
    }
}
