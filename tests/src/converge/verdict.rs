//! Whether the nodes are equal, and hold all that was acknowledged.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::shape::Policy;
use super::work::Done;
use super::{NAMES, TABLES, still};
use crate::compare::table_rows;
use crate::database::Db;
use crate::random::Random;

/// Rows that differ, to be shown with their history.
const SHOWN: usize = 3;
/// Rounds of resolving: what was resolved may meet another head that waits.
const ROUNDS: usize = 20;

/// Every entry of a journal, but for the first copies: see [`still`].
const ENTRIES: &str = "
select entry from (
    select version::text || ' ' || coalesce(prev::text, '-') || ' ' || coalesce(row_id::text, '-')
        || ' ' || op
    from syncjournal.journal_entry where get_byte(uuid_send(frame), 12) not between 128 and 254
    ) as of_change (entry)
order by entry collate \"C\"";

/// Conflicts and quarantined entries that are open.
const OPEN: &str = "
select concat_ws(' ', 'conflict', conflict_type, relation, row_id, local_version, remote_version)
from syncjournal.conflict where status = 'pending'
union all
select concat_ws(' ', 'quarantine', relation, row_id, op, sqlstate, error, 'attempts', attempts)
from syncjournal.quarantine";

/// For entries in quarantine to be tried again: see the agent's interval and the back-off.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until nothing is open: what could not be applied for a moment is tried again by the agent.
/// Whether there was anything.
#[track_caller]
pub(super) fn wait_until_released(nodes: &[Db; 3]) -> bool {
    let begun = Instant::now();
    let mut waited = false;
    for db in nodes {
        loop {
            let open: Vec<String> = db.column(OPEN);
            if open.is_empty() {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{} waits for a person: {open:#?}", db.name());
            waited = true;
            std::thread::sleep(Duration::from_millis(250));
        }
    }
    waited
}

/// Settles what waits for a person, on whichever node shows it first; returns how many there were.
#[track_caller]
pub(super) fn resolve_all(nodes: &[Db; 3], random: &mut Random, written: Duration) -> usize {
    let pending =
        "select conflict_id from syncjournal.conflict where status = 'pending' order by 1";
    let mut resolved = 0;
    for _ in 0..ROUNDS {
        let waiting = nodes.iter().find_map(|db| {
            let ids: Vec<i64> = db.column(pending);
            (!ids.is_empty()).then_some((db, ids))
        });
        let Some((db, ids)) = waiting else { return resolved };
        for id in ids {
            // One that was settled with another of its row is no longer there.
            let open = format!("{} and conflict_id = {id}", pending.replace(" order by 1", ""));
            if db.column::<i64>(&open).is_empty() {
                continue;
            }
            let choice = random.pick(&["local", "remote"]);
            db.exec(&format!("select syncjournal.resolve_conflict({id}, '{choice}')"));
            resolved += 1;
        }
        still::wait(nodes, written);
    }
    panic!("conflicts are still pending after {ROUNDS} rounds");
}

/// Returns the number of merges.
#[track_caller]
pub(super) fn judge(nodes: &[Db; 3], done: &Done, policy: Policy) -> usize {
    for table in TABLES {
        let digest = format!(
            "select row_count || ' rows, ' || encode(hash, 'hex')
             from syncjournal.digest('{table}')"
        );
        let digests = nodes.each_ref().map(|db| db.text(&digest));
        if digests.iter().any(|digest| *digest != digests[0]) {
            explain(nodes, table);
            panic!("{table} differs under {}: {digests:#?}", policy.as_str());
        }
        // Not only the content: the version, too.
        let rows = nodes.each_ref().map(|db| table_rows(db, table));
        if rows.iter().any(|others| *others != rows[0]) {
            explain(nodes, table);
            panic!("{table} has the same rows at different versions under {}", policy.as_str());
        }
    }
    for db in nodes {
        let stock: i64 = db.query_one("select sum(stock)::int8 from tally");
        assert_eq!(stock, done.stock, "{}: the sum of all that was counted", db.name());
    }
    let journals = nodes.each_ref().map(|db| db.column::<String>(ENTRIES));
    for (journal, name) in journals.iter().zip(NAMES).skip(1) {
        let only = |these: &[String], those: &[String]| -> Vec<String> {
            let those: HashSet<&String> = those.iter().collect();
            these.iter().filter(|entry| !those.contains(entry)).take(SHOWN).cloned().collect()
        };
        let (a, other) = (only(&journals[0], journal), only(journal, &journals[0]));
        assert!(
            *journal == journals[0],
            "only in a's journal: {a:#?}, only in {name}'s: {other:#?}"
        );
    }
    nothing_is_lost(&journals[0], done);
    journals[0].iter().filter(|entry| entry.ends_with(" MERGE")).count()
}

#[track_caller]
fn nothing_is_lost(journal: &[String], done: &Done) {
    let mut versions = HashSet::new();
    let mut deletes = HashSet::new();
    for entry in journal {
        let words: Vec<&str> = entry.split(' ').collect();
        let uuid = |word: &str| word.parse::<Uuid>().ok();
        versions.extend(uuid(words[0]));
        if words[3] == "DELETE" {
            deletes.insert((uuid(words[2]), uuid(words[1])));
        }
    }
    let lost: Vec<&Uuid> = done.versions.iter().filter(|v| !versions.contains(v)).collect();
    assert!(lost.is_empty(), "acknowledged and in no journal: {lost:#?}");
    let lost: Vec<_> =
        done.deletes.iter().filter(|(row, prev)| !deletes.contains(&(Some(*row), *prev))).collect();
    assert!(lost.is_empty(), "deletes that were acknowledged and are in no journal: {lost:#?}");
}

/// Prints rows that differ, with all that each node knows of them.
fn explain(nodes: &[Db; 3], table: &str) {
    let mut seen: BTreeMap<String, Vec<(&str, String)>> = BTreeMap::new();
    for (db, name) in nodes.iter().zip(NAMES) {
        for row in table_rows(db, table) {
            seen.entry(row[1..37].to_owned()).or_default().push((name, row));
        }
    }
    let differs = |rows: &Vec<(&str, String)>| {
        rows.len() < NAMES.len() || rows.iter().any(|(_, row)| *row != rows[0].1)
    };
    let differing: Vec<_> = seen.iter().filter(|(_, rows)| differs(rows)).collect();
    eprintln!("{} rows of {table} differ", differing.len());
    for (id, rows) in differing.into_iter().take(SHOWN) {
        eprintln!("\nrow {id}: {rows:#?}");
        for (db, name) in nodes.iter().zip(NAMES) {
            let history = format!(
                "select version, prev, merged, node, op, old, new
                 from syncjournal.history('{table}', '{id}')"
            );
            let conflicts = format!(
                "select conflict_type, winner, status, base_version, local_version, remote_version
                 from syncjournal.conflict where row_id = '{id}' order by conflict_id"
            );
            for (what, query) in [("history", history), ("conflicts", conflicts)] {
                eprintln!("{what} at {name}:");
                for line in db.rows(&query) {
                    let cells: Vec<&str> =
                        line.iter().map(|cell| cell.as_deref().unwrap_or("-")).collect();
                    eprintln!("  {}", cells.join(" | "));
                }
            }
        }
    }
}
