//! A flow brought up to date once.

use super::ends::Ends;
use super::extras::{self, ExtraReport};
use super::meeting::align;
use super::state::SMALL_WINDOW_BYTES;
use super::windows::{bring, bring_all};
use crate::config::Flow;
use crate::error::Result;
use crate::net::SessionName;
use crate::source::{Purpose, Trial, WindowMode};
use crate::target::{RowAhead, Totals};
use serde::Serialize;
use std::collections::HashSet;
use tokio_util::sync::CancellationToken;

/// A source that is written to without pause would never be "up to date": after so many windows
/// what is left is what was written meanwhile.
const WINDOWS_AT_MOST: u32 = 10;

/// What a sync did.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct FlowReport {
    pub(crate) link: String,
    pub(crate) source: String,
    pub(crate) destination: String,
    pub(crate) first_sync: bool,
    pub(crate) bytes: u64,
    /// Conflicts with this source that wait for a person, and what stands in quarantine.
    pub(crate) unsettled: i64,
    /// Of a dry run one way: rows that the target has changed and the source has not got.
    pub(crate) ahead: Vec<RowAhead>,
    /// Of a full sync: rows that only the target has, or had.
    pub(crate) extras: Vec<ExtraReport>,
    #[serde(flatten)]
    pub(crate) totals: Totals,
}

impl FlowReport {
    fn new(flow: &Flow) -> Self {
        Self {
            link: flow.links.join(", "),
            source: flow.source.name.clone(),
            destination: flow.target.name.clone(),
            first_sync: false,
            bytes: 0,
            unsettled: 0,
            ahead: Vec::new(),
            extras: Vec::new(),
            totals: Totals::default(),
        }
    }
}

impl FlowReport {
    /// Something of it waits for a person.
    pub(crate) fn needs_person(&self) -> bool {
        self.unsettled > 0 || self.extras.iter().any(|table| table.extra > table.deleted)
    }
}

/// First sync where there was none, then windows until little is left.
pub(crate) async fn sync_flow(
    flow: &Flow,
    full: bool,
    stop: &CancellationToken,
) -> Result<FlowReport> {
    let mut ends = Ends::connect(flow, &SessionName::of_flow(flow)).await?;
    ends.register().await?;
    let mut report = FlowReport::new(flow);
    if !ends.is_open().await? {
        warn_inactive(flow);
        return Ok(report);
    }
    ends.source.check_patterns(flow).await?;
    if !full && !ends.try_claim().await? {
        tracing::info!(%flow, "a running agent has this flow: waiting until it is up to date");
        ends.await_other_agent().await?;
        report.unsettled = ends.target.unsettled(&ends.target_peer).await?;
        return Ok(report);
    }
    report.first_sync = !align(&mut ends).await?;
    if full || report.first_sync {
        let (window, extras) = bring_all(&mut ends, stop).await?;
        report.extras = extras;
        report.totals += window.totals;
        report.bytes += window.bytes;
    }
    for _ in 0..WINDOWS_AT_MOST {
        let window = bring(&mut ends, WindowMode::Changes, stop).await?;
        report.totals += window.totals;
        report.bytes += window.bytes;
        if window.bytes <= SMALL_WINDOW_BYTES {
            break;
        }
    }
    ends.target.retry_quarantine().await?;
    report.unsettled = ends.target.unsettled(&ends.target_peer).await?;
    ends.release().await?;
    Ok(report)
}

/// The same, rolled back at both ends: everything is really applied, and nothing stays.
pub(crate) async fn try_flow(flow: &Flow, full: bool) -> Result<FlowReport> {
    let mut ends = Ends::connect(flow, &SessionName::of_flow(flow)).await?;
    let mut report = FlowReport::new(flow);
    ends.target.begin_trial().await?;
    let source = ends.source.database.identity.node_id;
    let peer = ends.source.database.node.name.clone();
    ends.target_peer = ends
        .target
        .database
        .register(&peer, Some(source), "receive", &flow.options.at_target())
        .await?;
    if !ends.would_be_open().await? {
        warn_inactive(flow);
        ends.target.end_trial().await?;
        return Ok(report);
    }
    let position = ends.position().await?;
    report.first_sync = position.is_none();
    let full = full || report.first_sync;
    let mode = if full { WindowMode::Full } else { WindowMode::Changes };
    if !flow.two_way {
        report.ahead = ends.target.ahead_of(&ends.target_peer).await?;
    }
    if full {
        report.extras = extras::handle(&ends).await?;
    }
    let target = ends.target.database.identity.node_id;
    let trial = Purpose::Trial(Trial { target, position: position.as_ref() });
    let mut window = ends.source.window(mode, flow, trial).await?;
    while let Some(part) = window.next().await? {
        report.totals += ends.target.apply(&part.data, part.continues).await?;
        report.bytes += part.data.len() as u64;
    }
    window.forget().await?;
    mark_overwritten(&ends, &mut report.ahead).await?;
    report.unsettled = ends.target.unsettled(&ends.target_peer).await?;
    ends.target.end_trial().await?;
    Ok(report)
}

/// What is ahead no longer once all has been applied is overwritten by it.
async fn mark_overwritten(ends: &Ends, ahead: &mut [RowAhead]) -> Result<()> {
    if ahead.is_empty() {
        return Ok(());
    }
    let left = ends.target.ahead_of(&ends.target_peer).await?;
    let left: HashSet<_> = left.iter().map(|row| (&row.relation, &row.row_id)).collect();
    for row in ahead {
        row.would_overwrite = !left.contains(&(&row.relation, &row.row_id));
    }
    Ok(())
}

fn warn_inactive(flow: &Flow) {
    tracing::warn!(%flow, "the peer is not active: nothing is brought");
}
