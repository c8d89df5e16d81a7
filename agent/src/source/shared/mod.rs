//! One live stream of a source, shared by all flows that leave from it in this process.
//!
//! ```text
//!  walsender --CopyBoth--> pump: decode, once --> log, at most LOG_BYTES --> member: select, apply
//!      ^                     |                                           \-> member
//!      '-- status updates ---'                                            `-> member
//! ```
//!
//! The flows are [`Member`]s, each with a place of its own in the [`log::Log`]. The fastest sets the
//! pace: a member that falls further behind it than the log holds has left the stream, goes on by
//! windows of the journal, and joins again. So what is held in memory is bounded by one number,
//! however many flows there are, and a target that stands still holds up nobody else.
//!
//! Nothing is ever read again from the slot: whoever has missed something gets it by a window. So
//! what has been read is reported as flushed, and a slow target pins no WAL.

mod log;
mod pump;

pub(crate) use log::{Event, Left, Member};

use crate::config::Node;
use crate::error::{Error, Result};
use pump::{Pump, Request};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use syncjournal_core::Snapshot;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// How long the pumps may take to say goodbye to their walsenders.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

/// The streams of this process, one a source.
#[derive(Debug, Default)]
pub(crate) struct Streams(Mutex<Registry>);

#[derive(Debug, Default)]
struct Registry {
    known: Vec<Weak<SharedStream>>,
    pumps: JoinSet<()>,
}

/// A source's stream, or the wish for it. It ends with the last flow that holds it.
#[derive(Debug)]
pub(crate) struct SharedStream {
    node: Arc<Node>,
    requests: mpsc::UnboundedSender<Request>,
}

/// A place in the stream, and what must be brought by windows before what it gives fits on.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) member: Member,
    missed: Missed,
}

/// What went by before a member joined.
#[derive(Debug)]
struct Missed {
    /// Sees exactly what committed before the slot's start.
    start: Snapshot,
    /// Transactions that the stream has brought since, as far as they are not known to be visible:
    /// a commit that waits for its synchronous standby is in the log already, and in no snapshot.
    transactions: Vec<u64>,
}

impl Joined {
    /// Whether whoever has everything that is visible in this snapshot has missed nothing.
    pub(crate) fn fits_on(&self, seen: &Snapshot) -> bool {
        let Missed { start, transactions } = &self.missed;
        seen.covers(start) && transactions.iter().all(|xid| seen.is_visible(*xid))
    }
}

/// The wish that the stream runs, for one who will soon ask for a place. Dropped, it is withdrawn.
#[derive(Debug)]
pub(crate) struct Wish {
    _held: oneshot::Receiver<()>,
}

/// Waits for a place in the stream. Dropped, it withdraws the request.
#[derive(Debug)]
pub(crate) struct Ticket(oneshot::Receiver<Result<Joined>>);

impl Streams {
    /// The stream of a node; flows of the same node get the same one.
    pub(crate) fn of(&self, node: &Arc<Node>) -> Arc<SharedStream> {
        let mut registry = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while registry.pumps.try_join_next().is_some() {}
        registry.known.retain(|known| known.strong_count() > 0);
        let mut known = registry.known.iter().filter_map(Weak::upgrade);
        if let Some(found) = known.find(|stream| stream.node == *node) {
            return found;
        }
        drop(known);
        let (requests, asked) = mpsc::unbounded_channel();
        registry.pumps.spawn(Pump::new(Arc::clone(node), asked).run());
        let stream = Arc::new(SharedStream { node: Arc::clone(node), requests });
        registry.known.push(Arc::downgrade(&stream));
        stream
    }

    /// Waits until all have taken leave of their walsenders; no flow is left that holds one.
    pub(crate) async fn finish(&self) {
        let mut pumps = {
            let mut registry = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut registry.pumps)
        };
        let _ = timeout(LEAVE_WITHIN, async { while pumps.join_next().await.is_some() {} }).await;
    }
}

impl SharedStream {
    /// Asks for a place in the stream, which begins to run if it does not yet.
    pub(crate) fn join(&self) -> Ticket {
        let (sender, receiver) = oneshot::channel();
        // A pump that is gone is seen by the ticket.
        let _ = self.requests.send(Request::Join(sender));
        Ticket(receiver)
    }

    /// Has the stream begin to run, if it does not yet, while a window is on its way: to make a slot
    /// takes longer than most windows. Nobody is in it, so that it holds up nothing.
    pub(crate) fn warm(&self) -> Wish {
        let (sender, receiver) = oneshot::channel();
        let _ = self.requests.send(Request::Run(sender, Instant::now()));
        Wish { _held: receiver }
    }
}

impl Ticket {
    /// Waits a while; None where the stream is not there yet.
    pub(crate) async fn within(&mut self, limit: Duration) -> Result<Option<Joined>> {
        match timeout(limit, &mut self.0).await {
            Ok(Ok(joined)) => joined.map(Some),
            Ok(Err(_)) => Err(Error::protocol("the stream's task has ended")),
            Err(_) => Ok(None),
        }
    }
}
