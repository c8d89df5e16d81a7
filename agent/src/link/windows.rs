//! Windows of the journal from one end to the other.

use super::ends::Ends;
use super::extras::{self, ExtraReport};
use crate::error::{Error, Result};
use crate::source::WindowMode;
use crate::target::Totals;
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
    let mut window = ends.source.window(mode, &ends.flow, None).await?;
    while let Some(part) = window.next().await? {
        // Between transactions only: a part that continues one waits for its others.
        if stop.is_cancelled() && !ends.target.in_set() {
            return Err(Error::stopped());
        }
        report.totals += ends.target.apply(&part.data, part.continues).await?;
        report.bytes += part.data.len() as u64;
        set_id = Some(part.set_id);
        if mode == WindowMode::Full {
            tracing::info!(bytes = report.bytes, entries = report.totals.entries, "first sync");
        }
    }
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
