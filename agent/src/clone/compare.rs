//! Whether both ends hold the same, by digests, while both may be written to.
//!
//! A table whose digests differ is looked into, byte by byte of its rows' identities, down to small
//! groups. After another round of windows the groups are asked for again: one that differs and has not
//! moved at either end in between is a difference; one that moves is being written to.

use super::destination::Destination;
use crate::config::Flow;
use crate::database::Database;
use crate::error::Result;
use crate::link::Ends;
use crate::net::SessionName;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::sleep;

/// Rounds, after the first, until what still moves is taken for what it is.
const ROUNDS: usize = 6;
const PAUSE: Duration = Duration::from_millis(500);
/// Bytes of identity that one question tells apart.
const DEPTH: i32 = 2;
/// Deeper only into so few groups: each question reads the whole table.
const FEW: usize = 4;
const DEEPEST: usize = 6;

/// How a table's two digests stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Equal,
    Different,
    /// Equal but for groups of rows that were written to in each round.
    Changing,
}

impl Verdict {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Different => "different",
            Self::Changing => "changing",
        }
    }
}

/// A group of rows: how many, and their digest.
type Group = (i64, Vec<u8>);
/// Groups that differ, with both sides.
type Differences = BTreeMap<Vec<u8>, [Option<Group>; 2]>;

/// What was found, by table.
pub(super) struct Comparison {
    pub(super) verdicts: Vec<Verdict>,
    /// What of this source waits for a person.
    pub(super) unsettled: i64,
}

pub(super) async fn compare(flow: &Flow, all: &[Flow], tables: &[String]) -> Result<Comparison> {
    let mut ends = Ends::connect(flow, &SessionName::of_flow(flow)).await?;
    ends.register().await?;
    let node = ends.source.database.identity.node_id;
    let destination = Destination::connect(flow, node).await?;
    let sides = [&ends.source.database, &destination.database];
    let mut verdicts = vec![Verdict::Equal; tables.len()];
    let mut open: BTreeMap<usize, Differences> = BTreeMap::new();
    for (place, table) in tables.iter().enumerate() {
        // One line for a whole table is nearly always all that need be asked.
        if level(sides, table, 0, &[]).await?.is_empty() {
            continue;
        }
        if let Some(found) = differences(sides, table).await? {
            open.insert(place, found);
        }
    }
    for _ in 0..ROUNDS {
        if open.is_empty() {
            break;
        }
        sleep(PAUSE).await;
        super::bring(all).await?;
        let mut still = BTreeMap::new();
        for (place, before) in open {
            let Some(now) = differences(sides, &tables[place]).await? else { continue };
            let stands = |(prefix, group): (&Vec<u8>, _)| before.get(prefix) == Some(group);
            if now.iter().any(stands) {
                verdicts[place] = Verdict::Different;
            } else {
                still.insert(place, now);
            }
        }
        open = still;
    }
    for place in open.into_keys() {
        verdicts[place] = Verdict::Changing;
    }
    let unsettled = ends.target.unsettled(&ends.target_peer).await?;
    Ok(Comparison { verdicts, unsettled })
}

/// The groups in which a table differs; none where it does not.
async fn differences(sides: [&Database; 2], table: &str) -> Result<Option<Differences>> {
    let mut found = level(sides, table, DEPTH, &[]).await?;
    if found.is_empty() {
        return Ok(None);
    }
    loop {
        let prefixes: Vec<Vec<u8>> = found.keys().cloned().collect();
        if prefixes.len() > FEW || prefixes.iter().any(|prefix| prefix.len() >= DEEPEST) {
            return Ok(Some(found));
        }
        let mut deeper = Differences::new();
        for prefix in &prefixes {
            deeper.extend(level(sides, table, DEPTH, prefix).await?);
        }
        if deeper.is_empty() {
            return Ok(None);
        }
        found = deeper;
    }
}

async fn level(
    sides: [&Database; 2],
    table: &str,
    depth: i32,
    prefix: &[u8],
) -> Result<Differences> {
    let [here, there] = sides;
    let (here, there) =
        tokio::try_join!(groups(here, table, depth, prefix), groups(there, table, depth, prefix))?;
    let prefixes: BTreeSet<&Vec<u8>> = here.keys().chain(there.keys()).collect();
    let pairs = prefixes
        .into_iter()
        .map(|prefix| (prefix.clone(), [here.get(prefix).cloned(), there.get(prefix).cloned()]));
    Ok(pairs.filter(|(_, [here, there])| here != there).collect())
}

async fn groups(
    database: &Database,
    table: &str,
    depth: i32,
    prefix: &[u8],
) -> Result<BTreeMap<Vec<u8>, Group>> {
    let rows = database
        .session
        .query(
            "select d.prefix, d.row_count, d.hash
             from syncjournal.digest($1::text::pg_catalog.regclass, $2, $3) d",
            &[&table, &depth, &prefix],
        )
        .await
        .map_err(|error| database.explain(error))?;
    let read =
        |row: &tokio_postgres::Row| Ok((row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?)));
    let all: std::result::Result<_, tokio_postgres::Error> = rows.iter().map(read).collect();
    all.map_err(|error| database.explain(error))
}
