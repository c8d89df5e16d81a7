//! Windows of the journal from one end to the other.

use super::ends::Ends;
use super::extras::{self, ExtraReport};
use crate::error::{Error, Result};
use crate::source::{Purpose, WindowMode};
use crate::target::{Pipeline, Totals};
use tokio_util::sync::CancellationToken;

/// What one window brought.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct WindowReport {
    pub(super) totals: Totals,
    pub(super) bytes: u64,
}

/// Brings one set over, part by part, and confirms it.
pub(super) async fn bring(
    ends: &mut Ends,
    mode: WindowMode,
    stop: &CancellationToken,
) -> Result<WindowReport> {
    let mut report = WindowReport::default();
    let mut set_id = None;
    let mut window = ends.source.window(mode, &ends.flow, Purpose::Apply).await?;
    let mut pipeline = Pipeline::new(&ends.target);
    while let Some(part) = window.next().await? {
        // Between transactions only: a part that continues one waits for its others.
        if stop.is_cancelled() && !pipeline.in_set() {
            pipeline.finish().await?;
            return Err(Error::stopped());
        }
        report.bytes += part.data.len() as u64;
        set_id = Some(part.set_id);
        report.totals += pipeline.send(part.data, part.continues).await?;
        if mode == WindowMode::Full {
            tracing::info!(bytes = report.bytes, entries = report.totals.entries, "first sync");
        }
    }
    report.totals += pipeline.finish().await?;
    window.finish().await?;
    if let Some(set_id) = set_id {
        ends.target.make_durable(None).await?;
        ends.source.confirm_set(set_id).await?;
    }
    Ok(report)
}

/// Brings everything as it is now, once what only the target has is dealt with.
pub(super) async fn bring_all(
    ends: &mut Ends,
    stop: &CancellationToken,
) -> Result<(WindowReport, Vec<ExtraReport>)> {
    let extras = extras::handle(ends).await?;
    Ok((bring(ends, WindowMode::Full, stop).await?, extras))
}
