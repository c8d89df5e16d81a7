//! Which rows stand against a foreign key.

use std::collections::{HashMap, HashSet};

use syncjournal_core::RowId;

use super::known::{Key, Query};
use super::touched::{Child, Gone, Touched, TouchedKey};
use crate::pg::query::Row;

/// Rows checked by one query.
const BATCH: usize = 5_000;

/// More rows than these of one key are checked before the end of the call, so that those that hold
/// need not be remembered.
pub const MOST_REMEMBERED: usize = 20_000;

/// Rows left out leave others without their parents; so many generations are looked for at once.
const GENERATIONS: usize = 16;

/// A row that stands against a foreign key, with what Postgres would say.
#[derive(Debug)]
pub struct Broken {
    pub relation_id: i32,
    pub row: RowId,
    pub message: String,
    pub detail: String,
}

/// Rows found so far.
#[derive(Debug, Default)]
struct Found {
    broken: Vec<Broken>,
    rows: HashSet<(i32, RowId)>,
    /// Those of them that the call has inserted, by table: without their entries they are not here.
    absent: HashMap<i32, Vec<RowId>>,
}

impl Touched {
    /// Forgets what holds already, where much is remembered.
    pub fn thin_out(&mut self) {
        for touched in self.of_key.values_mut() {
            let TouchedKey { key, children, gone, most } = touched;
            if children.len() + gone.len() < *most {
                continue;
            }
            let mut found = Found::default();
            orphans(key, children, &mut found);
            children.retain(|child| found.has(key.child_relation, child.row));
            still_used(key, gone, &mut found);
            gone.retain(|gone| found.has(key.parent_relation, gone.row));
            // What is left may have to be remembered: not to be asked for at every frame.
            *most = MOST_REMEMBERED + 2 * (children.len() + gone.len());
        }
    }
}

/// The rows that stand against foreign keys, now that all entries of a call have been laid.
pub fn broken(touched: &Touched) -> Vec<Broken> {
    let mut found = Found::default();
    let children: Vec<&TouchedKey> = touched.of_key.values().filter(|t| t.key.is_child).collect();
    let mut due = children.clone();
    for _ in 0..GENERATIONS {
        let before = found.absent.values().map(Vec::len).sum::<usize>();
        for touched in due {
            let left: Vec<Child> = touched
                .children
                .iter()
                .filter(|child| !found.has(touched.key.child_relation, child.row))
                .copied()
                .collect();
            orphans(&touched.key, &left, &mut found);
        }
        if found.absent.values().map(Vec::len).sum::<usize>() == before {
            break;
        }
        let lost = |t: &&&TouchedKey| {
            t.key.parent_relation.is_some_and(|id| found.absent.contains_key(&id))
        };
        due = children.iter().filter(lost).copied().collect();
    }
    for touched in touched.of_key.values().filter(|touched| !touched.key.is_child) {
        still_used(&touched.key, &touched.gone, &mut found);
    }
    found.broken
}

impl Found {
    fn has(&self, relation: Option<i32>, row: RowId) -> bool {
        relation.is_some_and(|relation_id| self.rows.contains(&(relation_id, row)))
    }

    fn add(&mut self, relation: Option<i32>, row: RowId, message: String, detail: String) {
        let Some(relation_id) = relation else { return };
        if self.rows.insert((relation_id, row)) {
            self.broken.push(Broken { relation_id, row, message, detail });
        }
    }

    fn absent_of(&self, relation: Option<i32>) -> String {
        let rows = relation.and_then(|relation_id| self.absent.get(&relation_id));
        array(rows.into_iter().flatten().map(ToString::to_string))
    }
}

/// Children whose parent is not there.
fn orphans(key: &Key, children: &[Child], found: &mut Found) {
    let Some(keys) = &key.keys else { return };
    let message = format!(
        "insert or update on table \"{}\" violates foreign key constraint \"{}\"",
        key.child_name, key.name
    );
    let not_counted = found.absent_of(key.parent_relation);
    for batch in children.chunks(BATCH) {
        pgrx::check_for_interrupts!();
        let mut hits = Vec::new();
        let ids = array(batch.iter().map(|child| child.row.to_string()));
        if let Some(mixed) = &key.mixed {
            let detail = "MATCH FULL does not allow mixing of null and nonnull key values.";
            mixed.run(&[&ids], |row| hits.extend(row.uuid(1).map(|id| (id, detail.to_owned()))));
        }
        // Without a key there is nothing to ask for.
        let given = arrays(keys, &[&ids], key.own_columns.len()).unwrap_or_default();
        let mut texts: Vec<&str> = given.iter().map(String::as_str).collect();
        if texts.is_empty() {
            texts.resize(key.own_columns.len() + 1, "{}");
        }
        texts.push(&not_counted);
        key.orphans.run(&texts, |row| {
            let (Some(id), Some(values)) = (row.uuid(1), row.text(2)) else { return };
            let (columns, parent) = (&key.columns, &key.parent_name);
            let detail =
                format!("Key ({columns})=({values}) is not present in table \"{parent}\".");
            hits.push((id, detail));
        });
        let new: HashSet<RowId> =
            batch.iter().filter(|child| child.is_new).map(|child| child.row).collect();
        for (id, detail) in hits {
            let row = RowId(id);
            if new.contains(&row) && !found.has(key.child_relation, row) {
                let relation = key.child_relation.unwrap_or_default();
                found.absent.entry(relation).or_default().push(row);
            }
            found.add(key.child_relation, row, message.clone(), detail);
        }
    }
}

/// Parents that have gone, or have another key, while a child uses the old one.
fn still_used(key: &Key, gone: &[Gone], found: &mut Found) {
    let message = format!(
        "update or delete on table \"{}\" violates foreign key constraint \"{}\" on table \"{}\"",
        key.parent_name, key.name, key.child_name
    );
    let width = key.own_columns.len();
    for batch in gone.chunks(BATCH) {
        pgrx::check_for_interrupts!();
        let mut given = vec![array(batch.iter().map(|gone| gone.row.to_string()))];
        given.extend((0..width).map(|place| array(batch.iter().map(|gone| &gone.values[place]))));
        let absent = found.absent_of(key.parent_relation);
        let texts: Vec<&str> = given.iter().map(String::as_str).chain([&*absent]).collect();
        let Some(given) = arrays(&key.absent, &texts, width) else { continue };
        let absent = found.absent_of(key.child_relation);
        let texts: Vec<&str> = given.iter().map(String::as_str).chain([&*absent]).collect();
        key.used.run(&texts, |row| {
            let (Some(id), Some(values)) = (row.uuid(1), row.text(2)) else { return };
            let (columns, child) = (&key.columns, &key.child_name);
            let detail =
                format!("Key ({columns})=({values}) is still referenced from table \"{child}\".");
            found.add(key.parent_relation, RowId(id), message.clone(), detail);
        });
    }
}

/// The arrays that a query gives as its only row: identities, and one for each column of the key.
fn arrays(query: &Query, texts: &[&str], width: usize) -> Option<Vec<String>> {
    let mut arrays = None;
    query.run(texts, |row: &Row| {
        arrays = (1..=width as i32 + 1).map(|column| row.text(column)).collect();
    });
    arrays
}

/// An array as text.
fn array(values: impl Iterator<Item = impl AsRef<str>>) -> String {
    let mut text = String::from("{");
    for value in values {
        if text.len() > 1 {
            text.push(',');
        }
        text.push('"');
        for character in value.as_ref().chars() {
            if matches!(character, '"' | '\\') {
                text.push('\\');
            }
            text.push(character);
        }
        text.push('"');
    }
    text.push('}');
    text
}
