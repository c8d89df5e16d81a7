//! Windows of the journal from one end to the other.

use super::ends::Ends;
use super::extras::{self, ExtraReport};
use crate::error::{Error, Result};
use crate::source::{Purpose, WindowMode};
use crate::target::{Pipeline, Totals};
use tokio::try_join;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What one window brought.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct WindowReport {
    pub(super) totals: Totals,
    pub(super) bytes: u64,
}

/// A set that is at the target, and that the source has not been told of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Brought {
    set_id: Uuid,
    /// Where the target's WAL ended then.
    written: i64,
}

/// Brings one set over, part by part, and confirms it.
pub(super) async fn bring(
    ends: &mut Ends,
    mode: WindowMode,
    stop: &CancellationToken,
) -> Result<WindowReport> {
    let (report, brought) = carry(ends, mode, stop).await?;
    if let Some(brought) = brought {
        confirm(ends, brought).await?;
    }
    Ok(report)
}

/// Tells the source of a set once a crash of the target cannot take it back.
pub(super) async fn confirm(ends: &Ends, brought: Brought) -> Result<()> {
    ends.target.make_durable(Some(brought.written)).await?;
    ends.source.confirm_set(brought.set_id).await
}

/// Brings one set over, which is still to be confirmed.
pub(super) async fn carry(
    ends: &mut Ends,
    mode: WindowMode,
    stop: &CancellationToken,
) -> Result<(WindowReport, Option<Brought>)> {
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
    let Some(set_id) = set_id else {
        window.finish().await?;
        return Ok((report, None));
    };
    let ((), written) = try_join!(window.finish(), ends.target.written())?;
    Ok((report, Some(Brought { set_id, written })))
}

/// Brings everything as it is now, once what only the target has is dealt with.
pub(super) async fn bring_all(
    ends: &mut Ends,
    stop: &CancellationToken,
) -> Result<(WindowReport, Vec<ExtraReport>)> {
    let extras = extras::handle(ends).await?;
    Ok((bring(ends, WindowMode::Full, stop).await?, extras))
}
