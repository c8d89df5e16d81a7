//! A live flow: performs what [`State`] says, until it is told to stop or something fails.

use super::activity::{Activity, show};
use super::ends::Ends;
use super::feed::{Feed, POSITION_EVERY, Position, Turn};
use super::meeting::align;
use super::state::{Event, State};
use super::windows::{Brought, bring, bring_all, carry, confirm};
use crate::config::Flow;
use crate::error::{Error, Kind, Result};
use crate::net::SessionName;
use crate::source::{Joined, Layouts, SharedStream, Ticket, WindowMode, Wish};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tokio_util::sync::CancellationToken;

/// How often the journal is looked at while there is no stream, as long as something comes.
const WINDOW_EVERY: Duration = Duration::from_millis(500);
/// The same while nothing does: with the other looks less than one question in a second.
const IDLE_WINDOW_EVERY: Duration = Duration::from_millis(1250);
/// How often it is seen whether a stream can be had by now.
const STREAM_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// How often a peer that is not active is looked at again.
const PAUSE: Duration = Duration::from_secs(10);

pub(super) struct Live<'a> {
    stop: &'a CancellationToken,
    shown: &'a watch::Sender<State>,
    ends: Ends,
    offer_read_at: Instant,
    state_since: Instant,
    /// The last look at the journal found nothing.
    is_idle: bool,
    stream: &'a SharedStream,
    /// The stream is made while the first window is on its way.
    wish: Option<Wish>,
    ticket: Option<Ticket>,
    joined: Option<Joined>,
    /// The window by which the stream was reached.
    brought: Option<Brought>,
}

impl<'a> Live<'a> {
    pub(super) async fn connect(
        flow: &Flow,
        stream: &'a SharedStream,
        stop: &'a CancellationToken,
        shown: &'a watch::Sender<State>,
    ) -> Result<Self> {
        let mut ends = Ends::connect(flow, &SessionName::of_flow(flow)).await?;
        ends.register().await?;
        ends.claim().await?;
        ends.source.check_patterns(flow).await?;
        let now = Instant::now();
        Ok(Self {
            stop,
            shown,
            ends,
            offer_read_at: now,
            state_since: now,
            is_idle: false,
            stream,
            wish: None,
            ticket: None,
            joined: None,
            brought: None,
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
                let (was, now) = (Activity::of(&before), Activity::of(&state));
                let target = self.ends.target.database.identity.node_id;
                show(&self.ends.source.database, target, was, now).await?;
                self.state_since = Instant::now();
                self.shown.send_replace(state.clone());
            }
        }
        Ok(())
    }

    async fn perform(&mut self, state: &State) -> Result<Event> {
        match state {
            State::Connecting => self.connected().await,
            State::FirstSync => self.first_sync().await,
            State::CatchingUp => self.window(WindowMode::Changes).await,
            State::WaitingForSlot => self.wait_for_slot().await,
            State::Windows { .. } => self.window_by_window().await,
            State::Streaming => self.stream().await,
            State::Paused => {
                let event = self.connected().await?;
                if event == Event::Deactivated {
                    self.pause(PAUSE).await;
                }
                Ok(event)
            }
            State::Retrying { .. } | State::Scheduled | State::Stopped => {
                Err(Error::protocol("a live flow cannot be in this state"))
            }
        }
    }

    async fn connected(&mut self) -> Result<Event> {
        if !self.ends.is_open().await? {
            return Ok(Event::Deactivated);
        }
        let has_position = align(&mut self.ends).await?;
        // It is made beside the window that comes next; where it cannot be, nobody need know yet.
        self.wish = has_position.then(|| self.stream.warm());
        Ok(Event::Connected { has_position })
    }

    async fn first_sync(&mut self) -> Result<Event> {
        let (report, extras) = bring_all(&mut self.ends, self.stop).await?;
        for table in extras.iter().filter(|table| table.deleted == 0) {
            let (relation, rows) = (&table.relation, table.extra);
            tracing::warn!(%relation, rows, "rows that only the target has");
        }
        self.after_window(report.bytes).await
    }

    async fn window(&mut self, mode: WindowMode) -> Result<Event> {
        let report = bring(&mut self.ends, mode, self.stop).await?;
        self.after_window(report.bytes).await
    }

    async fn after_window(&self, bytes: u64) -> Result<Event> {
        let obstacle = self.ends.source.obstacle_to_streaming().await?;
        Ok(Event::Window { bytes, obstacle })
    }

    /// Windows go on while the slot is in the making, or the stream's next transaction boundary is
    /// waited for.
    async fn wait_for_slot(&mut self) -> Result<Event> {
        let ticket = self.ticket.get_or_insert_with(|| self.stream.join());
        match ticket.within(window_after(self.is_idle)).await {
            Ok(None) => self.window_if_any().await,
            Ok(Some(joined)) => {
                (self.ticket, self.wish) = (None, None);
                self.reach(&joined).await?;
                self.joined = Some(joined);
                Ok(Event::SlotReady)
            }
            Err(error) => {
                self.ticket = None;
                Ok(Event::NoSlot { because: error.chain() })
            }
        }
    }

    /// Brings everything that the stream had brought before this flow joined it. One window nearly
    /// always does: only a commit that still waits for its synchronous standby is in the log
    /// already and not visible yet.
    async fn reach(&mut self, joined: &Joined) -> Result<()> {
        while !self.stop.is_cancelled() {
            let seen = self.ends.source.stream_position().await?.snapshot;
            let (_, brought) = carry(&mut self.ends, WindowMode::Changes, self.stop).await?;
            if joined.fits_on(&seen) {
                // What comes from here on does not wait for the disk.
                self.brought = brought;
                return Ok(());
            }
            if let Some(brought) = brought {
                confirm(&self.ends, brought).await?;
            }
            self.pause(WINDOW_EVERY).await;
        }
        Err(Error::stopped())
    }

    async fn window_by_window(&mut self) -> Result<Event> {
        self.pause(window_after(self.is_idle)).await;
        if self.stop.is_cancelled() || self.state_since.elapsed() >= STREAM_AGAIN_AFTER {
            return Ok(Event::TryStreamAgain);
        }
        if self.offer_read_at.elapsed() >= PAUSE {
            self.offer_read_at = Instant::now();
            if !self.ends.is_open().await? {
                return Ok(Event::Deactivated);
            }
            self.ends.target.retry_quarantine().await?;
        }
        self.window_if_any().await
    }

    /// A window where there is something to bring: each one leaves a line in the log of sets at
    /// both ends.
    async fn window_if_any(&mut self) -> Result<Event> {
        self.is_idle = !self.ends.source.is_ahead().await?;
        if !self.is_idle {
            return self.window(WindowMode::Changes).await;
        }
        Ok(Event::Window { bytes: 0, obstacle: None })
    }

    async fn stream(&mut self) -> Result<Event> {
        let Some(Joined { member, .. }) = self.joined.take() else {
            return Err(Error::protocol("no place in the stream"));
        };
        let Some(offer) = self.ends.open_offer().await? else {
            return Ok(Event::Deactivated);
        };
        let layouts = Layouts::new(offer)?;
        let Some(snapshot) = self.ends.position().await? else {
            return Err(Error::new(Kind::Gap, "the target has no position after its first sync"));
        };
        let position = Position { snapshot, brought: self.brought.take() };
        let mut feed = Feed::new(&mut self.ends, member, layouts, position);
        let mut ticks = interval_at(Instant::now() + POSITION_EVERY, POSITION_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // What is awaited here is safe to drop; what is done about it runs to its end.
            let event = tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                _ = ticks.tick() => None,
                event = feed.next_event() => Some(event),
            };
            match event {
                Some(Ok(event)) => feed.take(event, self.stop).await?,
                Some(Err(left)) => {
                    tracing::info!(because = %left, "left the live stream, goes on by windows");
                    feed.close().await?;
                    return Ok(Event::LeftStream);
                }
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

fn window_after(is_idle: bool) -> Duration {
    if is_idle { IDLE_WINDOW_EVERY } else { WINDOW_EVERY }
}
