//! A link.

use super::file::{ConstraintsWord, DirectionWord, LinkTable, ModeWord};
use super::{Extra, Flow, Node};
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
#[derive(Debug, Clone, PartialEq, Eq)]
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Schedule(Box<Cron>);

/// What a link asks of its targets beside the tables. None: as it stands there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LinkOptions {
    pub(crate) constraints: Option<&'static str>,
    /// SQLSTATEs or their classes that stop the link.
    pub(crate) stop_on: Option<Vec<String>>,
    /// By these slices of the source's its tables are had. What a link says of its way back is whole
    /// tables.
    pub(crate) slices: Option<Vec<String>>,
    /// Pushes from a higher rank to a lower one are wanted.
    pub(crate) allow_backward: Option<bool>,
    /// What becomes of rows that only the target has. None: they stay.
    pub(crate) extra: Option<Extra>,
}

impl LinkOptions {
    /// What is the source's to know.
    pub(crate) fn at_source(&self) -> Self {
        Self { slices: self.slices.clone(), ..Self::default() }
    }

    /// What is the target's.
    pub(crate) fn at_target(&self) -> Self {
        Self { slices: None, ..self.clone() }
    }

    /// Fails with the name of what both say differently.
    pub(super) fn merge(&mut self, other: &Self) -> std::result::Result<(), &'static str> {
        let differ = |one: bool, two: bool, same: bool| one && two && !same;
        let (mine, theirs) = (&self.constraints, &other.constraints);
        if differ(mine.is_some(), theirs.is_some(), mine == theirs) {
            return Err("constraints");
        }
        let (mine, theirs) = (&self.stop_on, &other.stop_on);
        if differ(mine.is_some(), theirs.is_some(), mine == theirs) {
            return Err("stop_on");
        }
        let (mine, theirs) = (&self.allow_backward, &other.allow_backward);
        if differ(mine.is_some(), theirs.is_some(), mine == theirs) {
            return Err("allow_backward");
        }
        if differ(self.extra.is_some(), other.extra.is_some(), self.extra == other.extra) {
            return Err("on_extra and its limits");
        }
        self.extra = self.extra.or(other.extra);
        let (mine, theirs) = (&self.slices, &other.slices);
        if differ(mine.is_some(), theirs.is_some(), mine == theirs) {
            return Err("slices");
        }
        if self.slices.is_none() {
            self.slices.clone_from(&other.slices);
        }
        self.constraints = self.constraints.or(other.constraints);
        self.allow_backward = self.allow_backward.or(other.allow_backward);
        if self.stop_on.is_none() {
            self.stop_on.clone_from(&other.stop_on);
        }
        Ok(())
    }
}

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
    pub(crate) selection: Selection,
    pub(crate) options: LinkOptions,
    pub(crate) active: bool,
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
        let extra = Extra::of(&table)?;
        Ok(Self {
            source: node(&table.source)?,
            destination: node(&table.destination)?,
            direction: match table.direction {
                DirectionWord::Push => Direction::Push,
                DirectionWord::Pull => Direction::Pull,
                DirectionWord::Both => Direction::Both,
            },
            mode: mode(table.mode, table.schedule.as_deref())?,
            selection,
            options: LinkOptions {
                constraints: table.constraints.map(ConstraintsWord::as_str),
                stop_on: table.stop_on.map(stop_on).transpose()?,
                slices: table.slices,
                allow_backward: table.allow_backward,
                extra,
            },
            active: table.active,
            name: table.name,
        })
    }

    /// The one-way flows: push first.
    pub(super) fn flows(&self) -> Vec<Flow> {
        let push = || Flow::of(self, &self.source, &self.destination);
        let pull = || Flow::of(self, &self.destination, &self.source);
        match self.direction {
            Direction::Push => vec![push()],
            Direction::Pull => vec![pull()],
            Direction::Both => vec![push(), pull().without_slices()],
        }
    }
}

fn stop_on(codes: Vec<String>) -> Result<Vec<String>> {
    for code in &codes {
        let plain = code.chars().all(|c| c.is_ascii_digit() || c.is_ascii_uppercase());
        if !plain || !matches!(code.len(), 2 | 5) {
            return Err(Error::config(format!("\"{code}\" in stop_on is no SQLSTATE"))
                .hint("Give whole codes (\"23505\") or classes (\"23\")."));
        }
    }
    Ok(codes)
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
