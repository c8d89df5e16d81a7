//! Decisions where the journal does not reach back as far as a row's past.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use syncjournal_core::merge::{
    Change, ColumnChange, Found, Host, MergeError, Outcome, Policy, RowState, Rules, Value, Write,
    settle, state_at,
};
use syncjournal_core::version::MERGE_BACKEND;
use syncjournal_core::{HybridTime, Version};

#[derive(Default)]
struct Journal(BTreeMap<Version, Arc<Write>>);

impl Host for Journal {
    type Error = Infallible;

    fn find(&mut self, version: Version) -> Result<Found, Infallible> {
        Ok(self.0.get(&version).map_or(Found::Missing, |write| Found::Write(Arc::clone(write))))
    }

    fn add(&mut self, _: usize, _: &Value, new: &Value, _: &Value) -> Result<Value, Infallible> {
        Ok(new.clone())
    }

    fn merge_rows(
        &mut self,
        _: Option<&[Value]>,
        local: Option<&[Value]>,
        _: Option<&[Value]>,
    ) -> Result<Option<Vec<Value>>, Infallible> {
        Ok(local.map(<[Value]>::to_vec))
    }

    fn custom_version(&mut self, after: Version) -> Version {
        Version::custom_merge(after.time().successor(), 1, 1)
    }
}

fn at(time: u64, backend: u16) -> Version {
    Version::new(HybridTime(time), 1, backend, 0)
}

fn value(text: &str) -> Value {
    Some(Arc::from(text.as_bytes()))
}

fn update(version: Version, prev: Version, merged: Version, columns: &[usize]) -> Arc<Write> {
    let change = |column: &usize| ColumnChange { column: *column, old: None, new: value("new") };
    let change = Change::Update(columns.iter().map(change).collect());
    Arc::new(Write { version, prev, merged, change })
}

fn rules(policy: Policy) -> Rules {
    Rules { policy, columns: 2, ..Rules::default() }
}

fn row(version: Version) -> RowState {
    RowState { version, alive: true, columns: vec![value("here"), value("here")] }
}

/// A node has its row from a full set: of the merge's other parent it never heard.
#[test]
fn a_merge_of_the_row_here_with_what_is_not_here_is_taken() {
    for policy in [Policy::MergeColumns, Policy::FirstUpdateWins, Policy::Custom, Policy::Manual] {
        let here = update(at(10, 1), Version::NIL, Version::NIL, &[0]);
        let merge = update(at(30, MERGE_BACKEND), at(20, 1), at(10, 1), &[0, 1]);
        let writes = [&here, &merge].map(|write| (write.version, Arc::clone(write)));
        let mut journal = Journal(writes.into());
        let rules = rules(policy);
        let settled = settle(&rules, Some(&row(at(10, 1))), &merge, &mut journal);
        let outcome = settled.expect("nothing that is missing matters").outcome;
        let Outcome::Take(state) = outcome else { panic!("{outcome:?}") };
        assert_eq!(state.columns, [value("new"), value("new")]);
    }
}

#[test]
fn what_is_missing_behind_the_row_here_is_waited_for() {
    let other = update(at(30, 1), Version::NIL, Version::NIL, &[0]);
    let mut journal = Journal([(other.version, Arc::clone(&other))].into());
    let rules = rules(Policy::MergeColumns);
    let settled = settle(&rules, Some(&row(at(10, 1))), &other, &mut journal);
    assert!(matches!(settled, Err(MergeError::Missing(missing)) if missing == at(10, 1)));
}

#[test]
fn some_columns_are_no_row() {
    let inserted = Change::Insert(vec![value("here"), value("here")]);
    let (nil, version) = (Version::NIL, at(10, 1));
    let insert = Arc::new(Write { version, prev: nil, merged: nil, change: inserted });
    let other = update(at(30, 1), nil, nil, &[0]);
    let writes = [&insert, &other].map(|write| (write.version, Arc::clone(write)));
    let mut journal = Journal(writes.into());
    let state =
        state_at(&rules(Policy::MergeColumns), at(30, 1), Some(&row(version)), &mut journal);
    assert!(matches!(state, Err(MergeError::Missing(_))), "{state:?}");
}
