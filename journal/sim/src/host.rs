//! One row's history in a node's journal, as the merge rules see it.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;

use syncjournal_core::merge::{Found, Host, RowState, Rules, Value, Write};
use syncjournal_core::{Clock, HybridTime, RowId, Version};

use crate::plan::{Custom, Plan};

pub type Row = u8;

/// Entries by row and version; a TRUNCATE stands in it as the delete of each row that it met.
pub type Journal = BTreeMap<(Row, Version), Arc<Write>>;

#[must_use]
pub fn rules(plan: &Plan, row: Row) -> Rules {
    Rules {
        row: row_id(row),
        policy: plan.policy.clone(),
        columns: plan.columns,
        counters: plan.counters.clone(),
    }
}

#[must_use]
pub const fn row_id(row: Row) -> RowId {
    RowId([row + 1; 16])
}

#[must_use]
pub fn value(number: i64) -> Value {
    Some(Arc::from(number.to_be_bytes()))
}

#[must_use]
pub fn number(value: &Value) -> i64 {
    value.as_deref().and_then(|bytes| bytes.try_into().ok()).map_or(0, i64::from_be_bytes)
}

/// The row that all databases hold before any is tracked.
#[must_use]
pub fn initial_row(plan: &Plan) -> RowState {
    let columns = (0..plan.columns).map(|column| value(100 + column as i64)).collect();
    RowState { version: Version::NIL, alive: true, columns }
}

#[derive(Debug)]
pub struct RowHistory<'a> {
    pub row: Row,
    pub journal: &'a Journal,
    pub pruned: &'a BTreeSet<(Row, Version)>,
    pub clock: &'a mut Clock,
    pub wall: HybridTime,
    pub tag: u32,
    pub custom: Custom,
}

impl Host for RowHistory<'_> {
    type Error = Infallible;

    fn find(&mut self, version: Version) -> Result<Found, Infallible> {
        Ok(match self.journal.get(&(self.row, version)) {
            Some(write) => Found::Write(Arc::clone(write)),
            None if self.pruned.contains(&(self.row, version)) => Found::Settled,
            None => Found::Missing,
        })
    }

    fn add(
        &mut self,
        _column: usize,
        value_: &Value,
        new: &Value,
        old: &Value,
    ) -> Result<Value, Infallible> {
        Ok(value(number(value_) + number(new) - number(old)))
    }

    fn merge_rows(
        &mut self,
        _base: Option<&[Value]>,
        local: Option<&[Value]>,
        remote: Option<&[Value]>,
    ) -> Result<Option<Vec<Value>>, Infallible> {
        let (Some(ours), Some(theirs)) = (local, remote) else {
            let keep = match self.custom {
                Custom::KeepLocal => local,
                Custom::TakeRemote => remote,
                Custom::GreaterOfEach => local.or(remote),
                Custom::Whimsical => None,
            };
            return Ok(keep.map(<[_]>::to_vec));
        };
        Ok(Some(match self.custom {
            Custom::KeepLocal => ours.to_vec(),
            Custom::TakeRemote => theirs.to_vec(),
            Custom::GreaterOfEach => {
                ours.iter().zip(theirs).map(|(a, b)| value(number(a).max(number(b)))).collect()
            }
            Custom::Whimsical if self.tag.is_multiple_of(3) => ours.to_vec(),
            Custom::Whimsical => {
                let own = i64::from(self.tag);
                ours.iter().zip(theirs).map(|(a, b)| value(number(a) + number(b) + own)).collect()
            }
        }))
    }

    fn custom_version(&mut self, after: Version) -> Version {
        Version::custom_merge(self.clock.next(self.wall, after.time()), self.tag, 1)
    }
}
