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
    /// One of the ends has rows that the other may not have: not compared.
    #[serde(rename = "by slices")]
    BySlices,
}

impl Verdict {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Different => "different",
            Self::Changing => "changing",
            Self::BySlices => "by slices",
        }
    }
}

/// A group of rows: how many, and their digest.
type Group = (i64, Vec<u8>);
/// Groups that differ, with both sides.
type Differences = BTreeMap<Vec<u8>, [Option<Group>; 2]>;

/// A table, and the ends that hold it.
struct Pair<'a> {
    source: &'a Database,
    target: &'a Database,
    /// As SQL names it.
    table: &'a str,
    /// Who has it by slices: of the source's rows those that are in them count.
    by_slices: Option<&'a str>,
}

/// A table that was copied.
pub(super) struct Copied {
    pub(super) schema: String,
    pub(super) name: String,
    /// It was empty.
    pub(super) is_filled: bool,
}

/// What was found, by table.
pub(super) struct Comparison {
    pub(super) verdicts: Vec<Verdict>,
    /// What of this source waits for a person.
    pub(super) unsettled: i64,
}

pub(super) async fn compare(flow: &Flow, all: &[Flow], tables: &[Copied]) -> Result<Comparison> {
    let mut ends = Ends::connect(flow, &SessionName::of_flow(flow)).await?;
    ends.register().await?;
    let node = ends.source.database.identity.node_id;
    let destination = Destination::connect(flow, node).await?;
    let (source, target) = (&ends.source.database, &destination.database);
    let goes_in_part = sliced(source, &ends.source.peer).await?;
    let came_in_part = sliced(target, &ends.target_peer).await?;
    let names: Vec<String> = tables.iter().map(Copied::sql).collect();
    let pair = |place: usize| {
        let table = names[place].as_str();
        let by_slices = goes_in_part.contains(table).then_some(ends.source.peer.as_str());
        Pair { source, target, table, by_slices }
    };
    let mut verdicts = vec![Verdict::Equal; tables.len()];
    let mut open: BTreeMap<usize, Differences> = BTreeMap::new();
    for (place, table) in tables.iter().enumerate() {
        let has_more = goes_in_part.contains(&names[place]) && !table.is_filled;
        if has_more || came_in_part.contains(&names[place]) {
            verdicts[place] = Verdict::BySlices;
            continue;
        }
        let pair = pair(place);
        // One line for a whole table is nearly always all that need be asked.
        if pair.level(0, &[]).await?.is_empty() {
            continue;
        }
        if let Some(found) = pair.differences().await? {
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
            let Some(now) = pair(place).differences().await? else { continue };
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

impl Copied {
    fn sql(&self) -> String {
        let quoted = |name: &str| name.replace('"', "\"\"");
        format!("\"{}\".\"{}\"", quoted(&self.schema), quoted(&self.name))
    }
}

/// The tables that a peer of this database has by slices.
async fn sliced(database: &Database, peer: &str) -> Result<BTreeSet<String>> {
    let sql = "select distinct '\"' || pg_catalog.replace(n.nspname, '\"', '\"\"') || '\".\"'
                   || pg_catalog.replace(c.relname, '\"', '\"\"') || '\"'
               from syncjournal.slices s
                   join pg_catalog.pg_class c on c.oid = s.relation
                   join pg_catalog.pg_namespace n on n.oid = c.relnamespace
               where $1 = any (s.peers)";
    let rows = database.session.query(sql, &[&peer]).await;
    let rows = rows.map_err(|error| database.explain(error))?;
    let names = rows.iter().map(|row| row.try_get(0)).collect::<std::result::Result<_, _>>();
    names.map_err(|error: tokio_postgres::Error| database.explain(error))
}

impl Pair<'_> {
    /// The groups in which a table differs; none where it does not.
    async fn differences(&self) -> Result<Option<Differences>> {
        let mut found = self.level(DEPTH, &[]).await?;
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
                deeper.extend(self.level(DEPTH, prefix).await?);
            }
            if deeper.is_empty() {
                return Ok(None);
            }
            found = deeper;
        }
    }

    async fn level(&self, depth: i32, prefix: &[u8]) -> Result<Differences> {
        let (here, there) = tokio::try_join!(
            self.groups(self.source, self.by_slices, depth, prefix),
            self.groups(self.target, None, depth, prefix)
        )?;
        let prefixes: BTreeSet<&Vec<u8>> = here.keys().chain(there.keys()).collect();
        let pairs = prefixes.into_iter().map(|prefix| {
            (prefix.clone(), [here.get(prefix).cloned(), there.get(prefix).cloned()])
        });
        Ok(pairs.filter(|(_, [here, there])| here != there).collect())
    }

    /// The groups of one end: of all of its rows, or of those that the peer may have.
    async fn groups(
        &self,
        database: &Database,
        peer: Option<&str>,
        depth: i32,
        prefix: &[u8],
    ) -> Result<BTreeMap<Vec<u8>, Group>> {
        let rows = match peer {
            None => {
                let sql = "select d.prefix, d.row_count, d.hash
                           from syncjournal.digest($1::text::pg_catalog.regclass, $2, $3) d";
                database.session.query(sql, &[&self.table, &depth, &prefix]).await
            }
            Some(peer) => {
                let sql = "select d.prefix, d.row_count, d.hash
                           from syncjournal.clone_digest(
                               $4, $1::text::pg_catalog.regclass, $2, $3) d";
                database.session.query(sql, &[&self.table, &depth, &prefix, &peer]).await
            }
        };
        let rows = rows.map_err(|error| database.explain(error))?;
        let read =
            |row: &tokio_postgres::Row| Ok((row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?)));
        let all: std::result::Result<_, tokio_postgres::Error> = rows.iter().map(read).collect();
        all.map_err(|error| database.explain(error))
    }
}
