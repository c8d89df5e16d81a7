//! `status`: how each link stands, as the databases at its ends see it.
//!
//! The agent that runs the links keeps nothing that could be asked: whether a flow streams is seen
//! by a lock that its session holds at the source, its lag in the source's view of the peer, what
//! came of the entries in the target's.

use crate::config::{Config, Flow, LinkConfig, Mode};
use crate::database::Database;
use crate::error::Result;
use crate::exit::Outcome;
use crate::link::{activity_of, is_claimed};
use crate::logging;
use crate::net::SessionName;
use crate::output::{Table, print, print_json};
use clap::Args;
use serde::Serialize;
use std::sync::Arc;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Links by name; all active ones if none is named
    #[arg(value_name = "LINK")]
    links: Vec<String>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// One way of a link.
#[derive(Debug, Clone, Serialize)]
struct FlowStatus {
    source: String,
    destination: String,
    state: &'static str,
    /// Not sent yet.
    lag_entries: i64,
    lag_seconds: f64,
    /// Applied at the destination so far.
    entries: i64,
    /// So far, and those of them that wait for a person.
    conflicts: i64,
    pending: i64,
    quarantined: i64,
    last_error: Option<String>,
}

/// A link: the sum of its flows, and the state of the one that is worst off.
#[derive(Debug, Serialize)]
struct LinkStatus {
    link: String,
    state: &'static str,
    mode: &'static str,
    lag_entries: i64,
    lag_seconds: f64,
    entries: i64,
    conflicts: i64,
    pending: i64,
    quarantined: i64,
    flows: Vec<FlowStatus>,
}

/// From best to worst.
const STATES: &[&str] = &[
    "streaming",
    "idle",
    "windows",
    "catching_up",
    "waiting_for_slot",
    "stopped",
    "paused",
    "needs full set",
    "new",
    "failing",
    "unreachable",
];

pub(super) async fn execute(config: &Config, arguments: &Arguments) -> Result<Outcome> {
    let mut statuses = Vec::new();
    let mut failures = Vec::new();
    for link in config.links(&arguments.links)? {
        let mut flows = Vec::new();
        for flow in config.flows_of(std::slice::from_ref(&link))? {
            flows.push(match flow_status(&flow, link.active).await {
                Ok(status) => status,
                Err(error) => {
                    let status = empty(&flow, "unreachable");
                    let last_error = Some(error.chain());
                    failures.push(error.at(format_args!("link \"{}\"", link.name)));
                    FlowStatus { last_error, ..status }
                }
            });
        }
        statuses.push(sum(&link, flows));
    }
    if arguments.json {
        print_json(&statuses)?;
    } else {
        print(&table(&statuses).render())?;
        print(&notes(&statuses))?;
    }
    match failures.pop() {
        None => Ok(Outcome::Done),
        Some(last) => {
            failures.iter().for_each(logging::report);
            Err(last)
        }
    }
}

fn empty(flow: &Flow, state: &'static str) -> FlowStatus {
    FlowStatus {
        source: flow.source.name.clone(),
        destination: flow.target.name.clone(),
        state,
        lag_entries: 0,
        lag_seconds: 0.0,
        entries: 0,
        conflicts: 0,
        pending: 0,
        quarantined: 0,
        last_error: None,
    }
}

async fn flow_status(flow: &Flow, active: bool) -> Result<FlowStatus> {
    let name = SessionName::of_command("status");
    let (source, target) = tokio::try_join!(
        Database::connect(&flow.source, &name),
        Database::connect(&flow.target, &name)
    )?;
    let mut status = empty(flow, "new");
    let peer = source.peer_of(&target.identity, &flow.target.name).await?;
    let Some(sent) = peer_row(&source, peer.as_deref()).await? else { return Ok(status) };
    let peer = target.peer_of(&source.identity, &flow.source.name).await?;
    let Some(applied) = peer_row(&target, peer.as_deref()).await? else { return Ok(status) };
    status.lag_entries = sent.lag_entries;
    status.lag_seconds = sent.lag_seconds;
    status.entries = applied.entries;
    status.conflicts = applied.conflicts;
    status.pending = applied.pending;
    status.quarantined = applied.quarantined;
    let failing = applied.is_failing(flow);
    status.last_error = applied.last_error;
    status.state = match (sent.state.as_str(), applied.state.as_str()) {
        ("inactive", _) | (_, "inactive") => "paused",
        ("needs full set", _) => "needs full set",
        _ if !active => "paused",
        _ => match activity_of(&source, target.identity.node_id).await? {
            Some(activity) => activity.word(),
            None if failing => "failing",
            None if is_claimed(&target, source.identity.node_id).await? => "catching_up",
            None if flow.mode == Mode::Live => "stopped",
            None => "idle",
        },
    };
    Ok(status)
}

/// A row of `stat_peer`.
struct PeerRow {
    state: String,
    lag_entries: i64,
    lag_seconds: f64,
    entries: i64,
    conflicts: i64,
    pending: i64,
    quarantined: i64,
    last_error: Option<String>,
    /// It came within the last minute: longer than a retry is waited for.
    error_is_fresh: bool,
    /// Nothing went well since.
    error_is_last: bool,
}

impl PeerRow {
    /// A flow that no session works at ended by this error.
    fn is_failing(&self, flow: &Flow) -> bool {
        if flow.mode == Mode::Live { self.error_is_fresh } else { self.error_is_last }
    }
}

async fn peer_row(database: &Database, peer: Option<&str>) -> Result<Option<PeerRow>> {
    let row = database
        .session
        .query_opt(
            "select s.state, s.lag_entries::int8, coalesce(s.lag_seconds, 0)::float8,
                    s.entries_applied::int8, s.conflicts::int8, s.quarantined::int8, s.last_error,
                    coalesce(s.last_error_at > pg_catalog.now() - interval '1 minute', false),
                    coalesce(s.last_error_at > coalesce(s.last_sync_at, '-infinity'), false),
                    (select pg_catalog.count(*) from syncjournal.conflict c
                     where c.peer = s.name and c.status = 'pending')
             from syncjournal.stat_peer s where s.name = $1",
            &[&peer],
        )
        .await
        .map_err(|error| database.explain(error))?;
    let Some(row) = row else { return Ok(None) };
    let read = || -> std::result::Result<PeerRow, tokio_postgres::Error> {
        Ok(PeerRow {
            state: row.try_get(0)?,
            lag_entries: row.try_get(1)?,
            lag_seconds: row.try_get(2)?,
            entries: row.try_get(3)?,
            conflicts: row.try_get(4)?,
            quarantined: row.try_get(5)?,
            last_error: row.try_get(6)?,
            error_is_fresh: row.try_get(7)?,
            error_is_last: row.try_get(8)?,
            pending: row.try_get(9)?,
        })
    };
    read().map(Some).map_err(|error| database.explain(error))
}

fn sum(link: &Arc<LinkConfig>, flows: Vec<FlowStatus>) -> LinkStatus {
    let rank = |state: &str| STATES.iter().position(|known| *known == state).unwrap_or(0);
    let worst = flows.iter().map(|flow| flow.state).max_by_key(|state| rank(state));
    LinkStatus {
        link: link.name.clone(),
        state: worst.unwrap_or("idle"),
        mode: link.mode.as_str(),
        lag_entries: flows.iter().map(|flow| flow.lag_entries).sum(),
        lag_seconds: flows.iter().map(|flow| flow.lag_seconds).fold(0.0, f64::max),
        entries: flows.iter().map(|flow| flow.entries).sum(),
        conflicts: flows.iter().map(|flow| flow.conflicts).sum(),
        pending: flows.iter().map(|flow| flow.pending).sum(),
        quarantined: flows.iter().map(|flow| flow.quarantined).sum(),
        flows,
    }
}

/// A line for each flow that fails, below the table.
fn notes(statuses: &[LinkStatus]) -> String {
    let mut text = String::new();
    for status in statuses {
        for flow in status.flows.iter().filter(|flow| flow.state == "failing") {
            let error = flow.last_error.as_deref().unwrap_or_default();
            let FlowStatus { source, destination, .. } = flow;
            text += &format!("{} ({source} to {destination}): {error}\n", status.link);
        }
    }
    text
}

fn table(statuses: &[LinkStatus]) -> Table {
    let mut table = Table::new(&[
        "link",
        "state",
        "mode",
        "lag_entries",
        "lag_seconds",
        "entries",
        "conflicts",
        "pending",
        "quarantined",
    ]);
    for status in statuses {
        table.row([
            status.link.clone(),
            status.state.to_owned(),
            status.mode.to_owned(),
            status.lag_entries.to_string(),
            format!("{:.1}", status.lag_seconds),
            status.entries.to_string(),
            status.conflicts.to_string(),
            status.pending.to_string(),
            status.quarantined.to_string(),
        ]);
    }
    table
}
