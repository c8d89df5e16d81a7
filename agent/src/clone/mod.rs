//! The first copy of a flow: tables in parallel, large ones in pieces, by sessions that share one
//! snapshot of the source.
//!
//! ```text
//! [`plan`]  what comes next   ->  [`worker`]s: COPY out of the source | COPY into the destination
//! [`source`] [`destination`]      what is asked of the two ends
//! [`compare`]                     whether both hold the same in the end
//! ```
//!
//! What has come is written down at the destination with the rows. A clone that goes on after it was
//! killed reads under a new snapshot: what came earlier is looked through for rows that are new since
//! and for rows that are gone, so that in the end all stands as of that one snapshot, which becomes
//! the position. From there on windows of the journal go on, without a gap or a double.

mod compare;
mod destination;
mod plan;
mod progress;
mod source;
mod worker;

use crate::config::Flow;
use crate::conninfo::Host;
use crate::database::Database;
use crate::error::{Error, Kind, Result};
use crate::link::{Ends, align, sync_flow};
use crate::net::SessionName;
use crate::target::Totals;
pub(crate) use compare::Verdict;
use compare::{Comparison, Copied};
use destination::{Completed, Destination};
use futures_util::future::try_join_all;
use plan::{Entry, Piece, Plan, Way, cut};
use progress::{Before, Progress};
use serde::Serialize;
use source::{Snapshot, SourceTable};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use worker::{Came, Shared, Table, Worker, passes};

/// Pieces for each session, so that all are at work to the end; none smaller than so many blocks.
const PIECES_A_JOB: i64 = 4;
const LEAST_BLOCKS: i64 = 256;
/// Rows that are removed by one statement.
const GONE_AT_ONCE: usize = 10_000;
/// A snapshot that sees nothing.
const NOTHING_SEEN: &str = "1:1:";
/// Of bringing what was written meanwhile, where users' transactions are in the way.
const MOST_TRIES: u32 = 20;

/// How a clone is to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// Sessions at each end.
    pub(crate) jobs: usize,
    /// Blocks of a piece, at most.
    pub(crate) piece_blocks: i64,
    pub(crate) restart: bool,
    /// Shows progress.
    pub(crate) shown: bool,
}

impl Options {
    /// Blocks of a piece where there are so many in all.
    fn piece_blocks_of(&self, all: i64) -> i64 {
        let jobs = i64::try_from(self.jobs.max(1)).unwrap_or(1);
        (all / (jobs * PIECES_A_JOB)).max(LEAST_BLOCKS).min(self.piece_blocks)
    }
}

/// What a clone of one flow did.
#[derive(Debug, Serialize)]
pub(crate) struct CloneReport {
    pub(crate) link: String,
    pub(crate) source: String,
    pub(crate) destination: String,
    /// How often it was begun before it was complete.
    pub(crate) runs: i32,
    pub(crate) snapshot: String,
    pub(crate) tables: Vec<TableReport>,
    pub(crate) rows: i64,
    pub(crate) bytes: i64,
    pub(crate) seconds: f64,
    /// Both ends hold the same, as far as it was not being written to.
    pub(crate) equal: bool,
    /// Conflicts with this source that wait for a person, and what stands in quarantine.
    pub(crate) unsettled: i64,
}

/// What became of one table.
#[derive(Debug, Serialize)]
pub(crate) struct TableReport {
    pub(crate) table: String,
    #[serde(skip)]
    schema: String,
    #[serde(skip)]
    name: String,
    pub(crate) way: &'static str,
    /// In this run.
    pub(crate) bytes: i64,
    #[serde(flatten)]
    pub(crate) totals: Totals,
    pub(crate) digest: Verdict,
}

/// Copies a link's flows, the first by COPY; brings them up to date; compares.
pub(crate) async fn clone_flows(flows: &[Flow], options: Options) -> Result<Vec<CloneReport>> {
    let begun = Instant::now();
    let mut reports = Vec::new();
    for flow in flows {
        if reports.is_empty() || !is_known_empty(flow).await? {
            let report = clone_flow(flow, options).await;
            reports.push(report.map_err(|error| error.at(flow.title()))?);
        }
    }
    bring(flows).await?;
    for (flow, report) in flows.iter().zip(&mut reports) {
        let copied = |table: &TableReport| Copied {
            schema: table.schema.clone(),
            name: table.name.clone(),
            is_filled: table.way == Way::Fill.as_str(),
        };
        let copied: Vec<Copied> = report.tables.iter().map(copied).collect();
        let Comparison { verdicts, unsettled } = compare::compare(flow, flows, &copied).await?;
        for (table, verdict) in report.tables.iter_mut().zip(verdicts) {
            table.digest = verdict;
        }
        report.unsettled = unsettled;
        report.equal = !report.tables.iter().any(|table| table.digest == Verdict::Different);
        report.seconds = begun.elapsed().as_secs_f64();
    }
    Ok(reports)
}

/// Brings what was written meanwhile.
async fn bring(flows: &[Flow]) -> Result<()> {
    let stop = CancellationToken::new();
    for flow in flows {
        let mut tries = 0;
        while let Err(error) = sync_flow(flow, false, &stop).await {
            tries += 1;
            if !passes(&error) || tries == MOST_TRIES {
                return Err(error.at(flow.title()));
            }
        }
    }
    Ok(())
}

/// Whether the other end has a position already: the flow that goes back from tables that were empty.
async fn is_known_empty(flow: &Flow) -> Result<bool> {
    let mut ends = Ends::connect(flow, &SessionName::of_flow(flow)).await?;
    ends.register().await?;
    Ok(ends.position().await?.is_some())
}

async fn clone_flow(flow: &Flow, options: Options) -> Result<CloneReport> {
    let mut ends = Ends::connect(flow, &SessionName::of_flow(flow)).await?;
    let node = ends.source.database.identity.node_id;
    let name = SessionName::of_flow(flow);
    let ((), destination, reader) = tokio::try_join!(
        ends.register(),
        Destination::connect(flow, node),
        Database::connect(&flow.source, &name)
    )?;
    if !ends.is_open().await? {
        return Err(Error::new(Kind::Prerequisite, "the peer is not active: nothing is brought")
            .hint("select syncjournal.alter_peer(name, active => true);"));
    }
    ends.claim().await?;
    ends.source.check_patterns(flow).await?;
    let runs = destination.begin(&ends.source.database.identity, options.restart).await?;
    let near = [&ends.source.database, &ends.target.database]
        .iter()
        .all(|end| matches!(end.address.host, Host::Unix(_)));
    begin(&ends).await?;
    let snapshot = Snapshot::take(reader, &ends.source.peer, !near).await?;
    let (shared, workers) = tokio::try_join!(
        prepare(flow, &snapshot, &destination, options),
        workers(flow, &snapshot, node, options.jobs)
    )?;
    let shared = Arc::new(shared);
    let worked = work(&shared, workers).await;
    shared.progress.end();
    worked?;
    for sequence in snapshot.session.sequences(flow).await? {
        destination.set_sequence(&sequence).await?;
    }
    let completed = destination.complete(&snapshot.text).await?;
    align(&mut ends).await?;
    confirm(flow, &ends, &snapshot.text, &completed).await?;
    ends.release().await?;
    Ok(report(flow, &snapshot, &shared, runs, &completed))
}

/// The plan: what has not come, and what may have changed since it came.
async fn prepare(
    flow: &Flow,
    snapshot: &Snapshot,
    destination: &Destination,
    options: Options,
) -> Result<Shared> {
    let sources = snapshot.session.tables(flow).await?;
    let parents = parents(&sources);
    let (mut tables, mut entries) = (Vec::new(), Vec::new());
    let (mut before, mut blocks) = (Before::default(), 0);
    let mut standings = Vec::new();
    // All before the first: a table that is missing here stops the clone before anything is written.
    for source in &sources {
        standings.push(destination.table(&source.schema, &source.name).await?);
    }
    let came = destination.ranges().await?;
    let all = sources.iter().flat_map(|source| &source.leaves).map(|leaf| leaf.blocks).sum();
    let piece_blocks = options.piece_blocks_of(all);
    for (at, (source, standing)) in sources.into_iter().zip(standings).enumerate() {
        remove_gone(snapshot, destination, &source, standing.oid, &came).await?;
        let hidden_since = hidden_since(&source, &came);
        let (mut pending, mut whole) = (Vec::new(), Vec::new());
        for (place, leaf) in source.leaves.iter().enumerate() {
            let here = came.iter().filter(|came| came.leaf == leaf.name);
            let stands =
                |came: &&destination::Came| came.file == leaf.file && came.slices == leaf.slices;
            let (valid, moved): (Vec<_>, Vec<_>) = here.partition(stands);
            if !moved.is_empty() {
                destination.again(&leaf.name).await?;
            }
            let covered: Vec<_> = if moved.is_empty() {
                valid.iter().map(|came| (came.first, came.end)).collect()
            } else {
                Vec::new()
            };
            let mut fresh = cut((at, place), leaf.blocks, piece_blocks, &covered);
            fresh.iter_mut().for_each(|piece| piece.hidden_since.clone_from(&hidden_since));
            blocks += leaf.blocks;
            if moved.is_empty() {
                before.blocks += leaf.blocks - fresh.iter().map(|piece| piece.weight).sum::<i64>();
                for came in valid {
                    before.rows += came.rows;
                    before.bytes += came.bytes;
                    let (first, end) = (came.first, came.end);
                    let since = Some(came.snapshot.clone());
                    let hidden_since = hidden_since.clone();
                    let (table, leaf, weight) = (at, place, 0);
                    pending.push(Piece { table, leaf, first, end, since, hidden_since, weight });
                }
            }
            pending.extend(fresh);
            whole.extend(cut((at, place), leaf.blocks, piece_blocks, &[]));
        }
        if standing.finished {
            tracing::debug!(table = source.name, "is there already");
        }
        entries.push(Entry::new(standing.way, pending, whole));
        let title = format!("{}.{}", source.schema, source.name);
        tables.push(Table { source, oid: standing.oid, title });
    }
    let came = vec![Came::default(); tables.len()];
    let progress = Progress::new(options.shown, blocks, before);
    Ok(Shared::new(tables, snapshot.text.clone(), Plan::new(entries, &parents), came, progress))
}

/// Of a table that comes by slices: rows that came, and left the slices since this snapshot, are to go.
/// Where the slices themselves have changed, any row may have.
fn hidden_since(table: &SourceTable, came: &[destination::Came]) -> Option<String> {
    let leaf = |came: &destination::Came| table.leaves.iter().find(|leaf| leaf.name == came.leaf);
    let own = || came.iter().filter_map(|came| Some((came, leaf(came)?)));
    if own().all(|(_, leaf)| leaf.slices.is_empty()) {
        return None;
    }
    if own().any(|(came, leaf)| came.slices != leaf.slices) {
        return Some(NOTHING_SEEN.to_owned());
    }
    let begins =
        |snapshot: &str| snapshot.split(':').next().and_then(|xmin| xmin.parse::<u64>().ok());
    let oldest = own().min_by_key(|(came, _)| begins(&came.snapshot));
    oldest.map(|(came, _)| came.snapshot.clone())
}

/// Rows that came in earlier runs and are deleted since.
async fn remove_gone(
    snapshot: &Snapshot,
    destination: &Destination,
    source: &SourceTable,
    oid: u32,
    came: &[destination::Came],
) -> Result<()> {
    let own = came.iter().filter(|came| source.leaves.iter().any(|leaf| leaf.name == came.leaf));
    let snapshots: BTreeSet<&str> = own.map(|came| came.snapshot.as_str()).collect();
    for since in snapshots {
        let (rows, versions) = snapshot.session.gone(source.oid, since).await?;
        for (rows, versions) in rows.chunks(GONE_AT_ONCE).zip(versions.chunks(GONE_AT_ONCE)) {
            destination.remove(oid, rows, versions).await?;
        }
    }
    Ok(())
}

/// By table, the places of those that it refers to.
fn parents(tables: &[SourceTable]) -> Vec<Vec<usize>> {
    let place = |oid: &u32| tables.iter().position(|table| table.oid == *oid);
    tables.iter().map(|table| table.parents.iter().filter_map(place).collect()).collect()
}

/// The sessions that copy.
async fn workers(
    flow: &Flow,
    snapshot: &Snapshot,
    node: uuid::Uuid,
    jobs: usize,
) -> Result<Vec<Worker>> {
    let worker = async || {
        let (source, destination) =
            tokio::try_join!(snapshot.share(flow), Destination::connect(flow, node))?;
        Ok(Worker { source, destination })
    };
    try_join_all((0..jobs.max(1)).map(|_| worker())).await
}

async fn work(shared: &Arc<Shared>, workers: Vec<Worker>) -> Result<()> {
    let mut running = JoinSet::new();
    for worker in workers {
        let shared = Arc::clone(shared);
        running.spawn(async move { worker.run(&shared).await });
    }
    // The first failure ends all: dropping the set ends the sessions.
    while let Some(ended) = running.join_next().await {
        ended.map_err(|error| Error::protocol("a worker died").caused_by(error))??;
    }
    Ok(())
}

/// The source notes that a first copy is about to be read.
async fn begin(ends: &Ends) -> Result<()> {
    let source = &ends.source.database;
    let sql = "select syncjournal.clone_begun($1)";
    let noted = source.session.execute(sql, &[&ends.source.peer]).await;
    noted.map(drop).map_err(|error| source.explain(error))
}

/// The source notes what its peer has; and where the peer had nothing, that it sends nothing from
/// before.
async fn confirm(flow: &Flow, ends: &Ends, snapshot: &str, completed: &Completed) -> Result<()> {
    let source = &ends.source.database;
    source
        .session
        .execute(
            "select syncjournal.clone_sent($1, $2::text::pg_catalog.pg_snapshot, $3, $4)",
            &[&ends.source.peer, &snapshot, &completed.rows, &completed.bytes],
        )
        .await
        .map_err(|error| source.explain(error))?;
    if flow.two_way && completed.was_empty {
        let node = ends.target.database.identity.node_id;
        source
            .session
            .execute(
                "select syncjournal.clone_received($1, $2::text::pg_catalog.pg_snapshot)",
                &[&node, &completed.here],
            )
            .await
            .map_err(|error| source.explain(error))?;
    }
    Ok(())
}

fn report(
    flow: &Flow,
    snapshot: &Snapshot,
    shared: &Shared,
    runs: i32,
    completed: &Completed,
) -> CloneReport {
    let plan = shared.plan();
    let came = shared.came();
    let table = |(at, table): (usize, &Table)| TableReport {
        table: table.title.clone(),
        schema: table.source.schema.clone(),
        name: table.source.name.clone(),
        way: plan.way(at).as_str(),
        bytes: came[at].bytes,
        totals: came[at].totals,
        digest: Verdict::Equal,
    };
    CloneReport {
        link: flow.links.join(", "),
        source: flow.source.name.clone(),
        destination: flow.target.name.clone(),
        runs,
        snapshot: snapshot.text.clone(),
        tables: shared.tables.iter().enumerate().map(table).collect(),
        rows: completed.rows,
        bytes: completed.bytes,
        seconds: 0.0,
        equal: false,
        unsettled: 0,
    }
}
