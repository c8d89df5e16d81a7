//! A live flow: performs what [`State`] says, until it is told to stop or something fails.

use super::ends::Ends;
use super::feed::{Feed, POSITION_EVERY, Turn};
use super::state::{Event, State};
use super::windows::{align, bring};
use crate::config::Flow;
use crate::error::{Error, Kind, Result};
use crate::net::SessionName;
use crate::source::{Layouts, PendingSlot, ReadySlot, Stream, WindowMode};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

/// What the extension calls its publication.
const PUBLICATION: &str = "syncjournal";
/// How often the journal is looked at while there is no stream.
const WINDOW_EVERY: Duration = Duration::from_millis(500);
/// How often it is seen whether a stream can be had by now.
const STREAM_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// How often a peer that is not active is looked at again.
const PAUSE: Duration = Duration::from_secs(10);
/// From here on the wait for the slot is worth a line in the log.
const WAIT_WORTH_A_WORD: Duration = Duration::from_secs(10);

pub(super) struct Live<'a> {
    name: SessionName,
    stop: &'a CancellationToken,
    shown: &'a watch::Sender<State>,
    ends: Ends,
    offer_read_at: Instant,
    state_since: Instant,
    slot: Option<PendingSlot>,
    ready: Option<ReadySlot>,
    told_of_waiting: bool,
}

impl<'a> Live<'a> {
    pub(super) async fn connect(
        flow: &Flow,
        stop: &'a CancellationToken,
        shown: &'a watch::Sender<State>,
    ) -> Result<Self> {
        let name = SessionName::of_link(&flow.link.name);
        let mut ends = Ends::connect(flow, &name).await?;
        ends.register().await?;
        ends.claim().await?;
        ends.source.check_patterns(flow).await?;
        let now = Instant::now();
        Ok(Self {
            name,
            stop,
            shown,
            ends,
            offer_read_at: now,
            state_since: now,
            slot: None,
            ready: None,
            told_of_waiting: false,
        })
    }

    /// Runs until told to stop.
    pub(super) async fn run(mut self) -> Result<()> {
        let mut state = State::Connecting;
        while !self.stop.is_cancelled() {
            let event = self.perform(&state).await?;
            let before = state.clone();
            state = state.after(event);
            if state != before {
                tracing::info!(state = %state, "now");
                self.state_since = Instant::now();
                self.shown.send_replace(state.clone());
            }
        }
        Ok(())
    }

    async fn perform(&mut self, state: &State) -> Result<Event> {
        match state {
            State::Connecting => self.connected().await,
            State::FirstSync => self.window(WindowMode::Full).await,
            State::CatchingUp => self.window(WindowMode::Changes).await,
            State::WaitingForSlot => self.wait_for_slot().await,
            State::Windows { .. } => self.window_by_window().await,
            State::Streaming => self.stream().await,
            State::Paused => {
                self.pause(PAUSE).await;
                self.connected().await
            }
            State::Retrying { .. } | State::Scheduled | State::Stopped => {
                Err(Error::protocol("a live flow cannot be in this state"))
            }
        }
    }

    async fn connected(&mut self) -> Result<Event> {
        if !self.ends.offer().await?.active {
            return Ok(Event::Deactivated);
        }
        Ok(Event::Connected { has_position: align(&self.ends).await? })
    }

    async fn window(&mut self, mode: WindowMode) -> Result<Event> {
        let report = bring(&mut self.ends, mode, self.stop).await?;
        let obstacle = self.ends.source.obstacle_to_streaming().await?;
        Ok(Event::Window { bytes: report.bytes, obstacle })
    }

    /// Windows go on while the slot is in the making.
    async fn wait_for_slot(&mut self) -> Result<Event> {
        if self.slot.is_none() {
            self.ends.source.ensure_publication().await?;
            self.told_of_waiting = false;
            match PendingSlot::request(&self.ends.source, &self.name).await {
                Ok(slot) => self.slot = Some(slot),
                Err(error) => return no_slot(error),
            }
        }
        let Some(slot) = &mut self.slot else { return Err(Error::protocol("no slot asked for")) };
        let waiting = slot.waiting();
        match slot.ready_within(WINDOW_EVERY).await {
            Ok(None) => {
                if waiting > WAIT_WORTH_A_WORD && !self.told_of_waiting {
                    self.told_of_waiting = true;
                    let xid = self.ends.source.oldest_transaction().await?;
                    tracing::info!(
                        oldest_xid = xid,
                        "waiting for transactions to end; windows go on"
                    );
                }
                self.window_if_any().await
            }
            Ok(Some(ready)) => {
                self.slot = None;
                self.reach_start_of(&ready).await?;
                self.ready = Some(ready);
                Ok(Event::SlotReady)
            }
            Err(error) => {
                self.slot = None;
                no_slot(error)
            }
        }
    }

    /// Brings everything that committed before the slot's start. The slot's own snapshot sees
    /// exactly that, and one more window nearly always does too: only a commit that still waits
    /// for its synchronous standby is in the log already and not visible yet.
    async fn reach_start_of(&mut self, ready: &ReadySlot) -> Result<()> {
        let start = self.ends.source.exported_snapshot(&ready.slot.snapshot).await?;
        loop {
            let seen = self.ends.source.stream_position().await?.snapshot;
            bring(&mut self.ends, WindowMode::Changes, self.stop).await?;
            if seen.covers(&start) {
                return Ok(());
            }
            self.pause(WINDOW_EVERY).await;
        }
    }

    async fn window_by_window(&mut self) -> Result<Event> {
        self.pause(WINDOW_EVERY).await;
        if self.stop.is_cancelled() || self.state_since.elapsed() >= STREAM_AGAIN_AFTER {
            return Ok(Event::TryStreamAgain);
        }
        if self.offer_read_at.elapsed() >= PAUSE {
            self.offer_read_at = Instant::now();
            if !self.ends.offer().await?.active {
                return Ok(Event::Deactivated);
            }
        }
        self.window_if_any().await
    }

    /// A window where there is something to bring: each one leaves a line in the log of sets at
    /// both ends.
    async fn window_if_any(&mut self) -> Result<Event> {
        if self.ends.source.is_ahead().await? {
            return self.window(WindowMode::Changes).await;
        }
        Ok(Event::Window { bytes: 0, obstacle: None })
    }

    async fn stream(&mut self) -> Result<Event> {
        let Some(ready) = self.ready.take() else {
            return Err(Error::protocol("no slot to stream from"));
        };
        let layouts = Layouts::new(self.ends.offer().await?)?;
        let Some(position) = self.ends.position().await? else {
            return Err(Error::new(Kind::Gap, "the target has no position after its first sync"));
        };
        let stream = Stream::start(ready, PUBLICATION).await?;
        let mut feed = Feed::new(&mut self.ends, stream, layouts, position);
        let mut ticks = interval(POSITION_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // What is awaited here is safe to drop; what is done about it runs to its end.
            let event = tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                _ = ticks.tick() => None,
                event = feed.next_event() => Some(event?),
            };
            match event {
                Some(event) => feed.take(event, self.stop).await?,
                None if feed.tick().await? == Turn::Deactivated => {
                    feed.close().await?;
                    return Ok(Event::Deactivated);
                }
                None => {}
            }
        }
        feed.close().await?;
        Err(Error::stopped())
    }

    async fn pause(&self, time: Duration) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = sleep(time) => {}
        }
    }
}

/// A refusal of the server is a reason to go on by windows; a lost connection is not.
fn no_slot(error: Error) -> Result<Event> {
    match error.kind {
        Kind::Server | Kind::Prerequisite | Kind::Authentication => {
            Ok(Event::NoSlot { because: error.chain() })
        }
        _ => Err(error),
    }
}
