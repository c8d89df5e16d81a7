//! The task behind a shared stream: makes a slot when somebody wants to join, reads and decodes
//! as long as anybody does.
//!
//! It keeps reporting while the log is full: a walsender that hears nothing for
//! `wal_sender_timeout` ends the stream, and would do so again after every reconnect.

use super::Joined;
use super::log::Log;
use crate::config::Node;
use crate::database::Database;
use crate::error::{Error, Kind, Result};
use crate::net::SessionName;
use crate::pgoutput::Message;
use crate::replication::{CopyBoth, Lsn, Received};
use crate::source::journal_row::{JournalColumns, JournalRow};
use crate::source::slot::{PendingSlot, ReadySlot};
use crate::source::{Source, StreamPosition};
use bytes::Bytes;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

/// What a flow asks for; one that asks no more has dropped the other side.
pub(super) enum Request {
    /// A place in the stream.
    Join(oneshot::Sender<Result<Joined>>),
    /// That the stream runs: a place is wanted soon. Since when.
    Run(oneshot::Sender<()>, Instant),
}

impl Request {
    fn is_dropped(&self) -> bool {
        match self {
            Self::Join(asked) => asked.is_closed(),
            Self::Run(asked, since) => asked.is_closed() || since.elapsed() > WISHED_AT_MOST,
        }
    }

    /// The stream runs.
    fn grant(self, log: &Arc<Log>) {
        if let Self::Join(asked) = self {
            let _ = asked.send(Ok(log.join()));
        }
    }
}

/// What the extension calls its publication.
const PUBLICATION: &str = "syncjournal";
/// `wal_receiver_status_interval` of Postgres is 10 s and `wal_sender_timeout` 60 s by default;
/// somebody who sets the latter to 5 s gets by as well. It is also how often the source is asked
/// for a position while rows come.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// How old the position may be while none come: only transactions that were open when it was
/// taken make it old.
const IDLE_POSITION_EVERY: Duration = Duration::from_secs(60);
/// A stream that nobody is in is kept for so long: a new slot waits for every open transaction.
const LINGER: Duration = Duration::from_secs(30);
/// After a stream has broken, the next one is made so much later.
const MAKE_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How often it is seen whether those who asked for a slot still want it.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A slot waits for the window beside which it is made, whose transaction writes, and pins WAL until it
/// is ready: beside a long one it is given up, and made when a place is asked for.
const WISHED_AT_MOST: Duration = Duration::from_secs(3);
/// From here on the wait for the slot is worth a line in the log.
const WAIT_WORTH_A_WORD: Duration = Duration::from_secs(10);
/// A log that stays full keeps the reader from reading, and so the server from forgetting its WAL:
/// after so long without any progress, or with so much WAL waiting, the slowest goes.
const HELD_AT_MOST: Duration = Duration::from_secs(60);
const HELD_WAL_AT_MOST: u64 = 1 << 30;

/// What the task knows between streams.
pub(super) struct Pump {
    node: Arc<Node>,
    requests: mpsc::UnboundedReceiver<Request>,
}

/// Why a stream is read no more.
enum Ended {
    /// Nobody holds the shared stream any longer.
    Released,
    /// Nobody is in it for now.
    Deserted,
}

impl Pump {
    pub(super) fn new(node: Arc<Node>, requests: mpsc::UnboundedReceiver<Request>) -> Self {
        Self { node, requests }
    }

    /// Runs until nobody holds the shared stream any longer.
    pub(super) async fn run(mut self) {
        let mut not_before = Instant::now();
        while let Some(first) = self.requests.recv().await {
            let mut waiting = vec![first];
            let made = self.make(&mut waiting, not_before).await;
            let reader = match made {
                Ok(Some(reader)) => reader,
                Ok(None) => continue,
                Err(error) => {
                    refuse(waiting, &error);
                    continue;
                }
            };
            let log = Arc::clone(&reader.log);
            for request in waiting {
                request.grant(&log);
            }
            match reader.run(&mut self.requests).await {
                Ok(Ended::Released) => return,
                Ok(Ended::Deserted) => log.end("nobody was in the stream".into()),
                Err(error) => {
                    let because = error.chain();
                    tracing::warn!(node = %self.node.name, error = %because, "the stream broke");
                    log.end(because);
                    not_before = Instant::now() + MAKE_AGAIN_AFTER;
                }
            }
        }
    }

    /// A running stream; None where nobody wants it any more. Further requests are gathered.
    async fn make(
        &mut self,
        waiting: &mut Vec<Request>,
        not_before: Instant,
    ) -> Result<Option<Reader>> {
        let node = Arc::clone(&self.node);
        let making = async {
            sleep_until(not_before).await;
            open(&node).await
        };
        tokio::pin!(making);
        let mut looks = interval(LOOK_EVERY);
        loop {
            tokio::select! {
                made = &mut making => return made.map(Some),
                request = self.requests.recv() => match request {
                    Some(request) => waiting.push(request),
                    None => return Ok(None),
                },
                _ = looks.tick() => {
                    waiting.retain(|request| !request.is_dropped());
                    if waiting.is_empty() {
                        return Ok(None);
                    }
                }
            }
        }
    }
}

/// The requests were made for one error: each gets its like.
fn refuse(waiting: Vec<Request>, error: &Error) {
    for request in waiting {
        if let Request::Join(asked) = request {
            let _ = asked.send(Err(Error::new(Kind::Server, error.chain())));
        }
    }
}

/// Makes the slot and starts to stream from it.
async fn open(node: &Arc<Node>) -> Result<Reader> {
    let name = SessionName::of_stream();
    let database = Database::connect(node, &name).await?;
    let source = Source::new(database, String::new());
    // Who only wishes that the stream runs has not asked.
    if let Some(because) = source.obstacle_to_streaming().await? {
        return Err(Error::new(Kind::Prerequisite, because));
    }
    source.ensure_publication().await?;
    let mut pending = PendingSlot::request(&source, &name).await?;
    let ready = loop {
        let was_short = pending.waiting() < WAIT_WORTH_A_WORD;
        if let Some(ready) = pending.ready_within(WAIT_WORTH_A_WORD).await? {
            break ready;
        }
        if was_short && pending.waiting() >= WAIT_WORTH_A_WORD {
            let xid = source.oldest_transaction().await?;
            tracing::info!(
                node = %node.name,
                oldest_xid = xid,
                "the slot waits for transactions to end; windows go on"
            );
        }
    };
    let start = source.exported_snapshot(&ready.slot.snapshot).await?;
    let ReadySlot { walsender, slot } = ready;
    let copy = walsender.start(&slot, PUBLICATION).await?;
    tracing::info!(node = %node.name, start = %slot.consistent_point, "the stream runs");
    Ok(Reader {
        source: Arc::new(source),
        copy,
        log: Log::new(slot.consistent_point, start),
        columns: None,
        in_frames: false,
        moved: Moved::default(),
        deserted_since: None,
    })
}

/// A question to the source that is under way.
type Asking<'a> = Pin<Box<dyn Future<Output = Result<StreamPosition>> + Send + 'a>>;

/// Its answer; nothing is lost where this is dropped.
async fn answer(asking: &mut Option<Asking<'_>>) -> Result<StreamPosition> {
    match asking {
        Some(asking) => asking.await,
        None => std::future::pending().await,
    }
}

/// The running stream.
struct Reader {
    source: Arc<Source>,
    copy: CopyBoth,
    log: Arc<Log>,
    columns: Option<JournalColumns>,
    /// The transaction that is being read has brought frames.
    in_frames: bool,
    moved: Moved,
    deserted_since: Option<Instant>,
}

/// Whether the last position is behind what has been read.
#[derive(Default)]
struct Moved {
    /// The end of the last transaction with frames.
    end: Lsn,
    asked_at: Option<(Instant, Lsn)>,
}

impl Moved {
    fn position_is_due(&self) -> bool {
        self.asked_at.is_none_or(|(at, lsn)| lsn < self.end || at.elapsed() >= IDLE_POSITION_EVERY)
    }
}

impl Reader {
    async fn run(mut self, requests: &mut mpsc::UnboundedReceiver<Request>) -> Result<Ended> {
        let mut ticks = interval(REPORT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut waiting: Vec<JournalRow> = Vec::new();
        let mut held = Box::pin(sleep(HELD_AT_MOST));
        // The source's answer is awaited beside the stream, which must not stand still for it.
        let source = Arc::clone(&self.source);
        let mut asking: Option<Asking<'_>> = None;
        let ended = loop {
            let log = Arc::clone(&self.log);
            tokio::select! {
                biased;
                request = requests.recv() => match request {
                    None => break Ended::Released,
                    Some(request) => request.grant(&self.log),
                },
                _ = ticks.tick() => {
                    self.report().await?;
                    if asking.is_none() && self.moved.position_is_due() {
                        asking = Some(Box::pin(source.stream_position()));
                    }
                    if self.is_deserted() {
                        break Ended::Deserted;
                    }
                }
                position = answer(&mut asking), if asking.is_some() => {
                    asking = None;
                    self.place_is_known(position?, !waiting.is_empty());
                }
                () = log.room(), if !waiting.is_empty() => {
                    waiting.drain(..).for_each(|row| self.log.frame(row));
                }
                () = &mut held, if !waiting.is_empty() => {
                    self.log.dismiss_slowest();
                    held.as_mut().reset(Instant::now() + HELD_AT_MOST);
                }
                received = self.copy.next(), if waiting.is_empty() => match received? {
                    Received::Data(data) => {
                        waiting = self.decode(data)?;
                        if !waiting.is_empty() {
                            held.as_mut().reset(Instant::now() + HELD_AT_MOST);
                        }
                    }
                    Received::Keepalive { sent, reply_now } => {
                        self.log.reached(sent);
                        if reply_now {
                            self.report().await?;
                        }
                    }
                    Received::End => {
                        self.copy.finish(self.log.place()).await?;
                        return Err(Error::connection("the source ended the stream: it shuts down"));
                    }
                },
            }
        };
        self.copy.finish(self.log.place()).await?;
        Ok(ended)
    }

    async fn report(&mut self) -> Result<()> {
        self.copy.report(self.log.place()).await
    }

    /// The source has said how far it is.
    fn place_is_known(&mut self, position: StreamPosition, held: bool) {
        if held && position.lsn.0.saturating_sub(self.log.place().0) > HELD_WAL_AT_MOST {
            self.log.dismiss_slowest();
        }
        self.moved.asked_at = Some((Instant::now(), position.lsn));
        self.log.set_position(position);
    }

    fn is_deserted(&mut self) -> bool {
        if self.log.has_members() {
            self.deserted_since = None;
            return false;
        }
        self.deserted_since.get_or_insert_with(Instant::now).elapsed() >= LINGER
    }

    /// Frames wait for room in the log; everything else goes at once.
    fn decode(&mut self, data: Bytes) -> Result<Vec<JournalRow>> {
        match Message::decode(data)? {
            Message::Begin { .. } => self.in_frames = false,
            Message::Commit { end_lsn, .. } => {
                if self.in_frames {
                    self.moved.end = end_lsn;
                }
                self.log.commit(end_lsn);
            }
            Message::Relation(relation) => {
                if let Some(columns) = JournalColumns::of(&relation)? {
                    self.columns = Some(columns);
                }
            }
            Message::Insert { relation_id, tuple } => {
                if let Some(columns) = self.columns.filter(|found| found.is_of(relation_id)) {
                    self.in_frames = true;
                    return columns.read(&tuple);
                }
            }
            Message::Other(_) => {}
        }
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_ends_with_its_owner_or_after_a_while() {
        let (asked, held) = oneshot::channel();
        let wish = Request::Run(asked, Instant::now());
        assert!(!wish.is_dropped());
        drop(held);
        assert!(wish.is_dropped());
        let (asked, _held) = oneshot::channel();
        let old = Instant::now().checked_sub(WISHED_AT_MOST * 2).expect("the clock is older");
        assert!(Request::Run(asked, old).is_dropped());
    }
}
