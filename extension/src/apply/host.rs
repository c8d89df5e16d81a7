//! One row's past and its table's means, as the merge rules ask for them.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use syncjournal_core::merge::{Found, Host, Value, Write};
use syncjournal_core::{RowId, Version};

use super::past::Past;
use super::rules::TableRules;
use super::target::Target;
use crate::capture;

/// What [`syncjournal_core::merge::settle`] asks. Errors of Postgres pass through it as they are.
#[derive(Debug)]
pub struct RowHost<'a> {
    row: RowId,
    past: &'a mut Past,
    target: &'a mut Target,
    rules: &'a TableRules,
    /// What was looked up.
    found: HashMap<Version, Found>,
}

impl<'a> RowHost<'a> {
    pub fn new(
        row: RowId,
        past: &'a mut Past,
        target: &'a mut Target,
        rules: &'a TableRules,
    ) -> Self {
        Self { row, past, target, rules, found: HashMap::new() }
    }

    /// An entry that is known though no frame may hold it.
    pub fn know(&mut self, write: &Arc<Write>) {
        self.found.insert(write.version, Found::Write(Arc::clone(write)));
    }

    /// The entry, if it is here.
    pub fn write(&mut self, version: Version) -> Option<Arc<Write>> {
        let Ok(found) = self.find(version);
        match found {
            Found::Write(write) => Some(write),
            Found::Settled | Found::Missing => None,
        }
    }
}

impl Host for RowHost<'_> {
    type Error = Infallible;

    fn find(&mut self, version: Version) -> Result<Found, Infallible> {
        let Self { row, past, found, .. } = self;
        Ok(found.entry(version).or_insert_with(|| past.find(*row, version)).clone())
    }

    fn standing_at(&mut self, version: Version) -> Result<Option<Vec<Value>>, Infallible> {
        Ok(self.past.skipped_state(self.row, version))
    }

    fn add(
        &mut self,
        column: usize,
        value: &Value,
        new: &Value,
        old: &Value,
    ) -> Result<Value, Infallible> {
        Ok(self.target.count(column, value, new, old))
    }

    fn merge_rows(
        &mut self,
        base: Option<&[Value]>,
        local: Option<&[Value]>,
        remote: Option<&[Value]>,
    ) -> Result<Option<Vec<Value>>, Infallible> {
        Ok(self.rules.merge_rows(self.target, self.row, [base, local, remote]))
    }

    fn custom_version(&mut self, after: Version) -> Version {
        capture::merge_version(after)
    }
}
