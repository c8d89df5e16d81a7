//! What must hold at the end of every schedule.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use syncjournal_core::Version;
use syncjournal_core::merge::{Change, Policy, Value, Write};

use crate::host::{Journal, Row, initial_row, number, value};
use crate::node::Item;
use crate::world::{Report, World};

/// # Errors
/// The first thing that is wrong, in words.
pub fn examine(world: &World) -> Result<Report, String> {
    nothing_waits(world)?;
    all_are_equal(world)?;
    let all = union_of_journals(world);
    content_is_what_the_writes_say(world, &all)?;
    no_write_disappeared(world, &all)?;
    let merges: HashSet<_> = all.keys().filter(|(_, version)| version.is_merge()).collect();
    let writes = world.acknowledged.len();
    let limit = world.nodes.len() * writes;
    if merges.len() > limit {
        return Err(format!("{} merges of {writes} writes", merges.len()));
    }
    let conflicts = world.nodes.iter().map(|node| node.conflicts.len()).sum();
    Ok(Report { writes, conflicts, merges: merges.len(), ..Report::default() })
}

fn nothing_waits(world: &World) -> Result<(), String> {
    for node in &world.nodes {
        if let Some((row, write)) = node.waiting.first() {
            return Err(format!("node {}: row {row} waits for {:?}", node.tag, write));
        }
    }
    Ok(())
}

fn all_are_equal(world: &World) -> Result<(), String> {
    let rows = |index: usize| -> BTreeMap<Row, _> {
        let rows = world.nodes[index].rows.iter().filter(|(_, state)| state.alive);
        rows.map(|(row, state)| (*row, (state.version, &state.columns))).collect()
    };
    let first = rows(0);
    for index in 1..world.nodes.len() {
        let other = rows(index);
        if other != first {
            let differs = (0..=Row::MAX).find(|row| first.get(row) != other.get(row));
            let show = |row: Option<&(Version, &Vec<Value>)>| match row {
                None => "no row".to_owned(),
                Some((version, columns)) => {
                    format!("{:?} at {version}", columns.iter().map(number).collect::<Vec<_>>())
                }
            };
            let row = differs.unwrap_or_default();
            return Err(format!(
                "node {} and node {} differ in row {row}: {} and {}",
                world.nodes[0].tag,
                world.nodes[index].tag,
                show(first.get(&row)),
                show(other.get(&row)),
            ));
        }
    }
    Ok(())
}

/// Every entry that some node has, or that was pruned as everybody had it.
fn union_of_journals(world: &World) -> Journal {
    let mut all = Journal::default();
    for node in &world.nodes {
        all.extend(node.journal.iter().map(|(key, write)| (*key, Arc::clone(write))));
        for logged in &node.log {
            if let Item::Write(row, write) = &logged.item {
                all.insert((*row, write.version), Arc::clone(write));
            }
        }
    }
    all
}

/// An answer reached on another way: from all users' writes at once, with no merge in it.
fn content_is_what_the_writes_say(world: &World, all: &Journal) -> Result<(), String> {
    if world.plan.truncates {
        return Ok(());
    }
    for row in 0..world.plan.rows {
        let mut writes: Vec<&Arc<Write>> = all
            .iter()
            .filter(|((of, version), _)| *of == row && !version.is_merge())
            .map(|(_, write)| write)
            .collect();
        writes.sort_by_key(|write| write.version);
        if writes.is_empty() {
            continue;
        }
        let expected = match world.plan.policy {
            Policy::LastUpdateWins if world.plan.counters.is_empty() => {
                Some(last_writers_row(world, row, &writes, all))
            }
            Policy::MergeColumns => latest_of_each_column(world, row, &writes, all),
            _ => None,
        };
        let Some(expected) = expected else { continue };
        let state = world.nodes[0].rows.get(&row).filter(|state| state.alive);
        let found = state.map(|state| state.columns.iter().map(number).collect::<Vec<_>>());
        let expected = expected.map(|columns| columns.iter().map(number).collect::<Vec<_>>());
        if found != expected {
            return Err(format!("row {row} is {found:?} and should be {expected:?}"));
        }
    }
    Ok(())
}

fn start(world: &World, row: Row) -> Vec<Value> {
    match row < world.plan.initial_rows {
        true => initial_row(&world.plan).columns,
        false => vec![None; world.plan.columns],
    }
}

fn put(columns: &mut [Value], write: &Write) {
    match &write.change {
        Change::Insert(values) => columns.clone_from_slice(values),
        Change::Update(changes) => {
            changes.iter().for_each(|change| columns[change.column].clone_from(&change.new));
        }
        Change::Delete(_) => {}
    }
}

fn last_writers_row(
    world: &World,
    row: Row,
    writes: &[&Arc<Write>],
    all: &Journal,
) -> Option<Vec<Value>> {
    let last = writes.last()?;
    if matches!(last.change, Change::Delete(_)) {
        return None;
    }
    let mut chain = vec![*last];
    while let Some(write) = all.get(&(row, chain[chain.len() - 1].prev)) {
        chain.push(write);
    }
    let mut columns = start(world, row);
    chain.iter().rev().for_each(|write| put(&mut columns, write));
    Some(columns)
}

/// Writes come in order of version. `None` where this needs what only the rules find out.
fn latest_of_each_column(
    world: &World,
    row: Row,
    writes: &[&Arc<Write>],
    all: &Journal,
) -> Option<Option<Vec<Value>>> {
    let mut columns = start(world, row);
    let mut counted = columns.clone();
    for write in writes {
        match &write.change {
            Change::Insert(values) => {
                let before = match all.get(&(row, write.prev)).map(|prev| &prev.change) {
                    Some(Change::Delete(values)) => Some(values),
                    // A tombstone whose columns were merged.
                    Some(_) => return None,
                    None => None,
                };
                for &counter in &world.plan.counters {
                    let old = before.map_or(0, |before| number(&before[counter]));
                    let sum = number(&counted[counter]) + number(&values[counter]) - old;
                    counted[counter] = value(sum);
                }
                columns.clone_from(values);
            }
            Change::Update(changes) => {
                for change in changes.iter().filter(|change| change.old != change.new) {
                    if world.plan.counters.contains(&change.column) {
                        let sum = number(&counted[change.column]) + number(&change.new)
                            - number(&change.old);
                        counted[change.column] = value(sum);
                    } else {
                        columns[change.column].clone_from(&change.new);
                    }
                }
            }
            Change::Delete(_) => {}
        }
    }
    world.plan.counters.iter().for_each(|&at| columns[at].clone_from(&counted[at]));
    let deleted = matches!(writes.last()?.change, Change::Delete(_));
    Some((!deleted).then_some(columns))
}

/// An acknowledged write is behind the row's last version, or behind a side of a logged conflict;
/// or what it set was set alike by a later one.
fn no_write_disappeared(world: &World, all: &Journal) -> Result<(), String> {
    let mut heads: BTreeSet<(Row, Version)> = BTreeSet::new();
    for node in &world.nodes {
        heads.extend(node.rows.iter().map(|(row, state)| (*row, state.version)));
        for logged in &node.conflicts {
            heads.insert((logged.row, logged.conflict.local));
            heads.insert((logged.row, logged.conflict.remote));
        }
    }
    let mut accounted: HashSet<(Row, Version)> = HashSet::new();
    let mut rest: Vec<(Row, Version)> = heads.into_iter().collect();
    while let Some((row, version)) = rest.pop() {
        if accounted.insert((row, version))
            && let Some(write) = all.get(&(row, version))
        {
            rest.extend([(row, write.prev), (row, write.merged)]);
        }
    }
    for acknowledged in &world.acknowledged {
        let Item::Write(row, write) = &acknowledged.item else { continue };
        let key = (*row, write.version);
        let here = all.contains_key(&key);
        if !here && !acknowledged.crashed {
            return Err(format!("row {row}: {write:?} is in no journal"));
        }
        if here && !accounted.contains(&key) && !said_again(world, *row, write, all) {
            return Err(format!("row {row}: {write:?} disappeared without a trace"));
        }
    }
    Ok(())
}

/// Equal changes on both sides are no conflict: each column of the write was set by a later one, to
/// what its own branch had in the end.
fn said_again(world: &World, row: Row, write: &Write, all: &Journal) -> bool {
    if world.plan.policy != Policy::MergeColumns {
        return false;
    }
    let later = |column: usize| {
        all.iter().any(|((of, version), other)| {
            *of == row
                && *version > write.version
                && match &other.change {
                    Change::Insert(_) => true,
                    Change::Update(changes) => changes.iter().any(|it| it.column == column),
                    Change::Delete(_) => false,
                }
        })
    };
    match &write.change {
        Change::Update(changes) => {
            changes.iter().filter(|change| change.old != change.new).all(|it| later(it.column))
        }
        Change::Insert(_) => (0..world.plan.columns)
            .filter(|column| !world.plan.counters.contains(column))
            .all(later),
        Change::Delete(_) => true,
    }
}
