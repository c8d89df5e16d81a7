//! A flow that is kept going: live, or by its schedule.

use super::backoff::Backoff;
use super::live::Live;
use super::state::State;
use super::sync::sync_flow;
use crate::config::{Flow, Mode, Schedule};
use crate::database::Database;
use crate::error::{Error, Kind, Result};
use crate::net::SessionName;
use crate::source::{SharedStream, Streams};
use chrono::Local;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// A clock that is set must not make a schedule miss its time by more than this.
const LOOK_AT_CLOCK_EVERY: Duration = Duration::from_secs(30);

/// Runs until told to stop; an error is waited out and tried again.
pub(crate) async fn keep_running(
    flow: Flow,
    streams: Arc<Streams>,
    stop: CancellationToken,
    shown: watch::Sender<State>,
) {
    match &flow.mode {
        Mode::Once => {}
        // Held through every retry: the stream is there when the flow comes back.
        Mode::Live => keep_live(&flow, &streams.of(&flow.source), &stop, &shown).await,
        Mode::Plan(schedule) => keep_schedule(&flow, schedule, &stop, &shown).await,
    }
    shown.send_replace(State::Stopped);
}

async fn keep_live(
    flow: &Flow,
    stream: &SharedStream,
    stop: &CancellationToken,
    shown: &watch::Sender<State>,
) {
    let mut backoff = Backoff::new();
    while !stop.is_cancelled() {
        shown.send_replace(State::Connecting);
        let begun = Instant::now();
        let Err(error) = live_once(flow, stream, stop, shown).await else { return };
        if stop.is_cancelled() {
            return;
        }
        let wait = backoff.after(begun.elapsed());
        log_failure(&error, wait);
        note_failure(flow, &error).await;
        shown.send_replace(State::Retrying { error: error.chain() });
        pause(stop, wait).await;
    }
}

async fn live_once(
    flow: &Flow,
    stream: &SharedStream,
    stop: &CancellationToken,
    shown: &watch::Sender<State>,
) -> Result<()> {
    // Nothing is under way before both ends are there: a stop may cut this short.
    let live = stop
        .run_until_cancelled(Live::connect(flow, stream, stop, shown))
        .await
        .ok_or_else(Error::stopped)??;
    live.run().await
}

async fn keep_schedule(
    flow: &Flow,
    schedule: &Schedule,
    stop: &CancellationToken,
    shown: &watch::Sender<State>,
) {
    loop {
        shown.send_replace(State::Scheduled);
        let Some(next) = schedule.next_after(Local::now()) else {
            tracing::warn!("the schedule has no next time");
            stop.cancelled().await;
            return;
        };
        tracing::info!(next = %next.format("%Y-%m-%d %H:%M:%S %Z"), "scheduled");
        while Local::now() < next {
            let left = (next - Local::now()).to_std().unwrap_or_default();
            pause(stop, left.min(LOOK_AT_CLOCK_EVERY)).await;
            if stop.is_cancelled() {
                return;
            }
        }
        shown.send_replace(State::CatchingUp);
        match sync_flow(flow, false, stop).await {
            Ok(report) => tracing::info!(
                entries = report.totals.entries,
                skipped = report.totals.skipped,
                bytes = report.bytes,
                "synced"
            ),
            Err(_) if stop.is_cancelled() => return,
            // The schedule itself is the retry.
            Err(error) => {
                tracing::error!(error = %error.chain(), hint = error.hint_text(), "failed");
                note_failure(flow, &error).await;
            }
        }
    }
}

/// Leaves the error where `status` and the target's `stat_peer` show it. A connection that is lost
/// tells nothing about the data, and the target may be the one that is gone.
async fn note_failure(flow: &Flow, error: &Error) {
    if error.kind == Kind::Connection {
        return;
    }
    let name = SessionName::of_flow(flow);
    let noted = async {
        let target = Database::connect(&flow.target, &name).await?;
        target.note_error(&flow.source.name, &error.note()).await
    };
    if let Err(error) = noted.await {
        tracing::debug!(error = %error.chain(), "could not note the error at the target");
    }
}

fn log_failure(error: &Error, wait: Duration) {
    let retry_in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    tracing::warn!(
        error = %error.chain(),
        code = error.code(),
        hint = error.hint_text(),
        retry_in_ms,
        "failed, will try again"
    );
}

async fn pause(stop: &CancellationToken, time: Duration) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = sleep(time) => {}
    }
}
