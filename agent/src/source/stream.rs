//! The live stream: a task that reads and decodes, and a queue bounded by bytes.
//!
//! ```text
//!  walsender --CopyBoth--> [task: decode] --queue, at most QUEUE_BYTES--> whoever applies
//!      ^                       |  ^                                            |
//!      '---- status updates ---'  '------------- applied LSN ------------------'
//! ```
//!
//! The task keeps reporting while the queue is full: a walsender that hears nothing for
//! `wal_sender_timeout` ends the stream, and would do so again after every reconnect. What it
//! reports is what is *applied*: the server may then forget the WAL before it.

use super::journal_row::{JournalColumns, JournalRow};
use super::slot::ReadySlot;
use crate::error::{Error, Result};
use crate::pgoutput::Message;
use crate::replication::{CopyBoth, Lsn, Received};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Frames that wait to be applied: four parts, so that decoding runs on while one is applied.
const QUEUE_BYTES: u32 = 16 << 20;
/// What a row costs in memory beside its data; also bounds the number of tiny ones.
const ROW_OVERHEAD_BYTES: usize = 256;
/// `wal_receiver_status_interval` of Postgres is 10 s and `wal_sender_timeout` 60 s by default;
/// somebody who sets the latter to 5 s gets by as well.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// What the stream brings, in the order of commits.
#[derive(Debug)]
pub(crate) enum Event {
    Frame(Box<JournalRow>, OwnedSemaphorePermit),
    /// The transaction of the frames before it ends.
    Commit {
        end: Lsn,
    },
    /// Everything that commits before this place has been brought.
    Reached(Lsn),
}

/// The reading end of a running stream.
#[derive(Debug)]
pub(crate) struct Stream {
    events: mpsc::UnboundedReceiver<Event>,
    applied: watch::Sender<Lsn>,
    stop: CancellationToken,
    task: JoinHandle<Result<()>>,
}

impl Stream {
    pub(crate) async fn start(ready: ReadySlot, publication: &str) -> Result<Self> {
        let ReadySlot { walsender, slot } = ready;
        let copy = walsender.start(&slot, publication).await?;
        // Not bounded by number: the semaphore bounds it by bytes, and events without a frame
        // come only between frames or at most once for each keepalive.
        let (sender, events) = mpsc::unbounded_channel();
        let (applied, applied_seen) = watch::channel(slot.consistent_point);
        let stop = CancellationToken::new();
        let reader = Reader {
            copy,
            applied: applied_seen,
            sender,
            budget: Arc::new(Semaphore::new(QUEUE_BYTES as usize)),
            columns: None,
            has_frames: false,
        };
        let task = tokio::spawn(reader.run(stop.clone()));
        Ok(Self { events, applied, stop, task })
    }

    /// The next event; safe to drop. An end of the stream is an error.
    pub(crate) async fn next(&mut self) -> Result<Event> {
        match self.events.recv().await {
            Some(event) => Ok(event),
            None => Err(self.failure().await),
        }
    }

    /// An event that is there already.
    pub(crate) fn ready(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// Everything before this place is applied.
    pub(crate) fn report(&self, applied: Lsn) {
        self.applied.send_replace(applied);
    }

    /// Says goodbye to the walsender with a last report.
    pub(crate) async fn close(mut self) -> Result<()> {
        self.stop.cancel();
        (&mut self.task).await.map_err(task_failed)?
    }

    async fn failure(&mut self) -> Error {
        match (&mut self.task).await {
            Ok(Ok(())) => Error::connection("the source ended the stream: it shuts down"),
            Ok(Err(error)) => error,
            Err(error) => task_failed(error),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // A closed stream has ended by itself; one that is dropped otherwise must not live on.
        self.task.abort();
    }
}

fn task_failed(error: tokio::task::JoinError) -> Error {
    Error::protocol("the stream's task failed").caused_by(error)
}

struct Reader {
    copy: CopyBoth,
    applied: watch::Receiver<Lsn>,
    sender: mpsc::UnboundedSender<Event>,
    budget: Arc<Semaphore>,
    columns: Option<JournalColumns>,
    /// Whether the transaction that is being read has brought any.
    has_frames: bool,
}

impl Reader {
    async fn run(mut self, stop: CancellationToken) -> Result<()> {
        let mut ticks = interval(REPORT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut waiting: Option<JournalRow> = None;
        loop {
            let cost = waiting.as_ref().map_or(0, cost);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = ticks.tick() => self.report().await?,
                permit = Arc::clone(&self.budget).acquire_many_owned(cost), if waiting.is_some() => {
                    let permit = permit.map_err(|error| {
                        Error::protocol("the stream's queue is closed").caused_by(error)
                    })?;
                    if let Some(row) = waiting.take() {
                        self.send(Event::Frame(Box::new(row), permit));
                    }
                }
                received = self.copy.next(), if waiting.is_none() => match received? {
                    Received::Data(data) => waiting = self.decode(data)?,
                    Received::Keepalive { sent, reply_now } => {
                        self.send(Event::Reached(sent));
                        if reply_now {
                            self.report().await?;
                        }
                    }
                    Received::End => break,
                },
            }
        }
        let applied = *self.applied.borrow();
        self.copy.finish(applied).await
    }

    async fn report(&mut self) -> Result<()> {
        let applied = *self.applied.borrow_and_update();
        self.copy.report(applied).await
    }

    /// A frame waits for room in the queue; everything else goes at once.
    fn decode(&mut self, data: Bytes) -> Result<Option<JournalRow>> {
        match Message::decode(data)? {
            Message::Begin { .. } => self.has_frames = false,
            Message::Commit { end_lsn, .. } if self.has_frames => {
                self.send(Event::Commit { end: end_lsn });
            }
            Message::Commit { end_lsn, .. } => self.send(Event::Reached(end_lsn)),
            Message::Relation(relation) => {
                if let Some(columns) = JournalColumns::of(&relation)? {
                    self.columns = Some(columns);
                }
            }
            Message::Insert { relation_id, tuple } => {
                if let Some(columns) = self.columns.filter(|found| found.is_of(relation_id)) {
                    self.has_frames = true;
                    return columns.read(&tuple).map(Some);
                }
            }
            Message::Other(_) => {}
        }
        Ok(None)
    }

    /// The other end is gone only when the link is: the task is then ended as well.
    fn send(&self, event: Event) {
        let _ = self.sender.send(event);
    }
}

/// What a row takes of the queue. One that is larger than the queue waits till it has all of it.
fn cost(row: &JournalRow) -> u32 {
    let bytes = row.data.len() + ROW_OVERHEAD_BYTES;
    u32::try_from(bytes).unwrap_or(u32::MAX).min(QUEUE_BYTES)
}
