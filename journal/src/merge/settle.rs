//! An entry meets a row: the decision.

use std::sync::Arc;

use crate::merge::ancestry::{Sides, Standing, compare, covers};
use crate::merge::columns::{Touched, difference, replace_all};
use crate::merge::conflict::{Conflict, ConflictKind, Settled};
use crate::merge::counters;
use crate::merge::derive::merge_version;
use crate::merge::history::{
    Change, ColumnChange, Host, MergeError, Policy, RowState, Rules, Value, Write,
};
use crate::merge::image::state_at;
use crate::merge::{Winner, choose};
use crate::version::Version;

/// What is to be done with the row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The row has gone past the entry: nothing.
    Known,
    /// The row is to become this.
    Take(RowState),
    /// The row stays as it is, against an entry that it does not know.
    Keep,
    /// An entry is to be journaled, and the row to become what it makes.
    Merge(Arc<Write>, RowState),
    /// The row stays, and the entry waits for a person.
    Pend,
}

/// The outcome, and the conflict to be logged if there was one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    pub outcome: Outcome,
    pub conflict: Option<Conflict>,
}

impl From<Outcome> for Settlement {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, conflict: None }
    }
}

/// Settles `entry`, which the host can look up already, against the row's current state (`None`:
/// this database has neither the row nor a tombstone of it).
///
/// Every node that has been given the same entries comes to the same state, in whatever order
/// they came.
///
/// # Errors
/// [`MergeError::Missing`] where the entry must wait for another; what the host fails with.
pub fn settle<H: Host + ?Sized>(
    rules: &Rules,
    current: Option<&RowState>,
    entry: &Arc<Write>,
    host: &mut H,
) -> Result<Settlement, MergeError<H::Error>> {
    let Some(local) = current else {
        return first_seen(rules, entry, host).map(|state| Outcome::Take(state).into());
    };
    if local.version == entry.version {
        return Ok(Outcome::Known.into());
    }
    if local.version == entry.prev {
        return Ok(Outcome::Take(local.after(entry)).into());
    }
    let sides = compare(local.version, entry.version, host)?;
    let take = |host: &mut H| state_at(rules, entry.version, Some(local), host);
    let is_later = entry.version > local.version;
    match sides.standing() {
        // Two merges of the same writes: by version, never by another call of a function.
        Standing::Equal if is_later => return Ok(Outcome::Take(take(host)?).into()),
        Standing::Equal | Standing::LeftCovers => return Ok(Outcome::Known.into()),
        Standing::RightCovers => return Ok(Outcome::Take(take(host)?).into()),
        Standing::Diverged => {}
    }
    if let Some(missing) = sides.missing() {
        if rules.policy != Policy::LastUpdateWins {
            return Err(MergeError::Missing(missing));
        }
        // An end of the journal may hide that one knows the other; what is older loses anyway.
        if sides.right.is_empty() && !is_later {
            return Ok(Outcome::Known.into());
        }
        if sides.left.is_empty() && is_later {
            return Ok(Outcome::Take(take(host)?).into());
        }
    }
    Fork { rules, local, entry, sides }.settle(host)
}

/// The row was never here. A delete of it leaves its tombstone.
fn first_seen<H: Host + ?Sized>(
    rules: &Rules,
    entry: &Arc<Write>,
    host: &mut H,
) -> Result<RowState, MergeError<H::Error>> {
    match &entry.change {
        Change::Delete(_) | Change::Insert(_) => Ok(RowState::absent().after(entry)),
        Change::Update(_) => state_at(rules, entry.version, None, host),
    }
}

/// A row and an entry that know nothing of each other.
struct Fork<'a> {
    rules: &'a Rules,
    local: &'a RowState,
    entry: &'a Arc<Write>,
    sides: Sides,
}

impl Fork<'_> {
    fn settle<H: Host + ?Sized>(self, host: &mut H) -> Result<Settlement, MergeError<H::Error>> {
        match &self.rules.policy {
            Policy::LastUpdateWins | Policy::FirstUpdateWins | Policy::NodePriority(_) => {
                self.choose(host)
            }
            Policy::MergeColumns => self.merge_columns(host),
            Policy::Custom => self.custom(host),
            Policy::Manual => self.manual(host),
            Policy::KeepLocal => Ok(self.settled(Outcome::Keep, Settled::Winner(Winner::Local))),
            Policy::ApplyRemote => {
                let state = self.remote(host)?;
                Ok(self.settled(Outcome::Take(state), Settled::Winner(Winner::Remote)))
            }
        }
    }

    fn remote<H: Host + ?Sized>(&self, host: &mut H) -> Result<RowState, MergeError<H::Error>> {
        state_at(self.rules, self.entry.version, Some(self.local), host)
    }

    fn settled(&self, outcome: Outcome, settled: Settled) -> Settlement {
        Settlement { outcome, conflict: Some(self.conflict(settled)) }
    }

    fn conflict(&self, settled: Settled) -> Conflict {
        Conflict {
            kind: ConflictKind::of(self.local, self.entry),
            base: self.sides.base,
            local: self.local.version,
            remote: self.entry.version,
            settled,
        }
    }

    /// One side's row whole; where the other side counted too, its differences on top.
    fn choose<H: Host + ?Sized>(self, host: &mut H) -> Result<Settlement, MergeError<H::Error>> {
        let (local, remote) = (self.local.version, self.entry.version);
        let winner = choose::winner(&self.rules.policy, local, remote, &self.sides, host)?;
        let loser = match winner {
            Winner::Local => &self.sides.right,
            Winner::Remote => &self.sides.left,
        };
        if counters::touched(self.rules, loser) {
            if let Some(missing) = self.sides.missing() {
                return Err(MergeError::Missing(missing));
            }
            let remote = self.remote(host)?;
            let (ours, theirs) = match winner {
                Winner::Local => (self.local, &remote),
                Winner::Remote => (&remote, self.local),
            };
            let columns = counters::add(self.rules, ours, loser, host)?;
            let outcome = self.derived(ours, theirs.version, columns);
            let only_counters = Touched::by(self.rules, loser).nothing();
            return Ok(match only_counters {
                true => outcome.into(),
                false => self.settled(outcome, Settled::Winner(winner)),
            });
        }
        let outcome = match winner {
            Winner::Local => Outcome::Keep,
            Winner::Remote => Outcome::Take(self.remote(host)?),
        };
        Ok(self.settled(outcome, Settled::Winner(winner)))
    }

    fn merge_columns<H: Host + ?Sized>(
        self,
        host: &mut H,
    ) -> Result<Settlement, MergeError<H::Error>> {
        let remote = self.remote(host)?;
        let left = Touched::by(self.rules, &self.sides.left);
        let right = Touched::by(self.rules, &self.sides.right);
        let collides = left.collides(&right, self.local, &remote);
        let counted = |writes: &[Arc<Write>]| counters::touched(self.rules, writes);
        let (outcome, settled) = if left.dominates(&right) && !counted(&self.sides.right) {
            (Outcome::Keep, Settled::Winner(Winner::Local))
        } else if right.dominates(&left) && !counted(&self.sides.left) {
            (Outcome::Take(remote), Settled::Winner(Winner::Remote))
        } else if left.latest > right.latest {
            let mut merged = self.local.clone();
            merged.columns = left.merge(&right, self.local, &remote);
            let columns = counters::add(self.rules, &merged, &self.sides.right, host)?;
            (self.derived(self.local, remote.version, columns), Settled::Merged)
        } else {
            let mut merged = remote.clone();
            merged.columns = right.merge(&left, &remote, self.local);
            let columns = counters::add(self.rules, &merged, &self.sides.left, host)?;
            (self.derived(&remote, self.local.version, columns), Settled::Merged)
        };
        Ok(match collides {
            true => self.settled(outcome, settled),
            false => outcome.into(),
        })
    }

    fn custom<H: Host + ?Sized>(self, host: &mut H) -> Result<Settlement, MergeError<H::Error>> {
        let remote = self.remote(host)?;
        if let Some(outcome) = self.equal(&remote, host)? {
            return Ok(outcome.into());
        }
        let base = match self.sides.base {
            Some(base) => state_at(self.rules, base, Some(self.local), host).ok(),
            None => None,
        };
        let base = base.as_ref().and_then(RowState::row);
        let row = host.merge_rows(base, self.local.row(), remote.row())?;
        let counted = counters::add(self.rules, self.local, &self.sides.right, host)?;
        let row = row.map(|row| with_counters(self.rules, row, &counted));
        let version = host.custom_version(self.local.version.max(remote.version));
        let (prev, merged) = match self.local.version > remote.version {
            true => (self.local, remote.version),
            false => (&remote, self.local.version),
        };
        let write = replacing(prev, merged, version, row);
        let state = prev.after(&write);
        Ok(self.settled(Outcome::Merge(Arc::new(write), state), Settled::Merged))
    }

    fn manual<H: Host + ?Sized>(self, host: &mut H) -> Result<Settlement, MergeError<H::Error>> {
        let remote = self.remote(host)?;
        if let Some(outcome) = self.equal(&remote, host)? {
            return Ok(outcome.into());
        }
        if Touched::by(self.rules, &self.sides.right).nothing() {
            let columns = counters::add(self.rules, self.local, &self.sides.right, host)?;
            return Ok(self.derived(self.local, remote.version, columns).into());
        }
        if Touched::by(self.rules, &self.sides.left).nothing() {
            let columns = counters::add(self.rules, &remote, &self.sides.left, host)?;
            return Ok(self.derived(&remote, self.local.version, columns).into());
        }
        Ok(self.settled(Outcome::Pend, Settled::Pending))
    }

    /// Both sides show the same, counters aside: an entry that joins the histories and changes
    /// nothing. Without it a node would forget one of the two, and nodes might forget different ones.
    fn equal<H: Host + ?Sized>(
        &self,
        remote: &RowState,
        host: &mut H,
    ) -> Result<Option<Outcome>, MergeError<H::Error>> {
        let (prev, other, unseen) = match self.local.version > remote.version {
            true => (self.local, remote, &self.sides.right),
            false => (remote, self.local, &self.sides.left),
        };
        let differs = |change: &ColumnChange| !self.rules.is_counter(change.column);
        let same = prev.alive == other.alive
            && !(prev.alive && difference(&prev.columns, &other.columns).iter().any(differs));
        if !same {
            return Ok(None);
        }
        let columns = counters::add(self.rules, prev, unseen, host)?;
        Ok(Some(self.derived(prev, other.version, columns)))
    }

    /// An entry on top of `prev`, which exists or not as `prev` does.
    fn derived(&self, prev: &RowState, merged: Version, columns: Vec<Value>) -> Outcome {
        let change = match prev.alive {
            true => Change::Update(replace_all(&prev.columns, &columns)),
            false => Change::Delete(columns),
        };
        let version = merge_version(self.rules.row, prev.version, merged, &change);
        let write = Write { version, prev: prev.version, merged, change };
        let state = prev.after(&write);
        Outcome::Merge(Arc::new(write), state)
    }
}

fn with_counters(rules: &Rules, mut row: Vec<Value>, counted: &[Value]) -> Vec<Value> {
    row.resize(row.len().max(rules.columns), None);
    for &column in &rules.counters {
        row[column] = counted.get(column).cloned().flatten();
    }
    row
}

fn replacing(prev: &RowState, merged: Version, version: Version, row: Option<Vec<Value>>) -> Write {
    let change = match row {
        Some(row) if prev.alive => Change::Update(replace_all(&prev.columns, &row)),
        Some(row) => Change::Insert(row),
        None => Change::Delete(prev.columns.clone()),
    };
    Write { version, prev: prev.version, merged, change }
}

/// What a person decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    Local,
    Remote,
    /// A row of one's own; `None` deletes it.
    Row(Option<Vec<Value>>),
}

/// The entry that settles a pending conflict. It is a user's write with two parents: it travels,
/// and where it arrives both heads are behind it. Counters are summed, whatever was chosen.
///
/// # Errors
/// [`MergeError::Missing`] where history that is needed is not there; what the host fails with.
pub fn resolve<H: Host + ?Sized>(
    rules: &Rules,
    local: &RowState,
    remote: Version,
    choice: Choice,
    version: Version,
    host: &mut H,
) -> Result<(Arc<Write>, RowState), MergeError<H::Error>> {
    let sides = compare(local.version, remote, host)?;
    if let Some(missing) = sides.missing() {
        return Err(MergeError::Missing(missing));
    }
    let row = match choice {
        Choice::Local => local.row().map(<[_]>::to_vec),
        Choice::Remote => state_at(rules, remote, Some(local), host)?.row().map(<[_]>::to_vec),
        Choice::Row(row) => row,
    };
    let counted = counters::add(rules, local, &sides.right, host)?;
    let row = row.map(|row| with_counters(rules, row, &counted));
    let write = replacing(local, remote, version, row);
    let state = local.after(&write);
    Ok((Arc::new(write), state))
}

/// The remote heads of a row that wait for a person, after the row or a head moved to `head`:
/// those that it knows are gone from the inbox.
///
/// # Errors
/// What the look-up fails with.
pub fn forget_covered<H: Host + ?Sized>(
    inbox: &mut Vec<Version>,
    head: Version,
    host: &mut H,
) -> Result<(), H::Error> {
    let mut kept = Vec::with_capacity(inbox.len());
    for waiting in inbox.drain(..) {
        if !covers(head, waiting, host)? {
            kept.push(waiting);
        }
    }
    *inbox = kept;
    Ok(())
}

/// Puts `head` into the inbox of a row: it replaces those that it has behind it, and is not added
/// where one waits that has it behind.
///
/// # Errors
/// What the look-up fails with.
pub fn wait_in_inbox<H: Host + ?Sized>(
    inbox: &mut Vec<Version>,
    head: Version,
    host: &mut H,
) -> Result<(), H::Error> {
    for waiting in inbox.iter() {
        if covers(*waiting, head, host)? {
            return Ok(());
        }
    }
    forget_covered(inbox, head, host)?;
    inbox.push(head);
    Ok(())
}
