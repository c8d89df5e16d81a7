//! The making of a temporary slot, beside everything else.
//!
//! The server answers only once every transaction that was open at the start has ended: hours, if
//! somebody is running a report that writes. So it happens in a task of its own, the link goes on
//! by windows, and after a deadline the attempt is called off (a half-made slot pins WAL).

use super::Source;
use crate::error::{Error, Result};
use crate::net::SessionName;
use crate::replication::{CancelKey, Slot, Walsender};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// Long enough for any ordinary transaction to end; then the WAL that is held back is let go, and
/// another attempt begins.
const DEADLINE: Duration = Duration::from_secs(15 * 60);

/// A slot that is ready, and the session that owns it.
#[derive(Debug)]
pub(crate) struct ReadySlot {
    pub(crate) walsender: Walsender,
    pub(crate) slot: Slot,
}

/// A slot in the making.
#[derive(Debug)]
pub(crate) struct PendingSlot {
    task: JoinHandle<Result<ReadySlot>>,
    cancel: CancelKey,
    since: Instant,
}

impl PendingSlot {
    /// Logs in and asks for the slot.
    pub(crate) async fn request(source: &Source, name: &SessionName) -> Result<Self> {
        let database = &source.database;
        let mut walsender = Walsender::connect(&database.node.endpoint, &database.address, name)
            .await
            .map_err(|error| source.explain(error))?;
        let cancel = walsender.cancel_key();
        // Unique while it lives, and no name that a person would give to a lasting slot.
        let slot_name = format!("syncjournal_{}", uuid::Uuid::new_v4().simple());
        let task = tokio::spawn(async move {
            let slot = walsender.create_temporary_slot(&slot_name).await?;
            Ok(ReadySlot { walsender, slot })
        });
        Ok(Self { task, cancel, since: Instant::now() })
    }

    /// Waits a while; None where the slot is not ready yet.
    pub(crate) async fn ready_within(&mut self, limit: Duration) -> Result<Option<ReadySlot>> {
        match timeout(limit, &mut self.task).await {
            Ok(Ok(result)) => result.map(Some),
            Ok(Err(error)) => Err(Error::protocol("the slot's task failed").caused_by(error)),
            Err(_) if self.since.elapsed() > DEADLINE => Err(Error::connection(format!(
                "no slot after {} minutes: a transaction at the source does not end",
                DEADLINE.as_secs() / 60
            ))),
            Err(_) => Ok(None),
        }
    }

    pub(crate) fn waiting(&self) -> Duration {
        self.since.elapsed()
    }
}

impl Drop for PendingSlot {
    fn drop(&mut self) {
        if self.task.is_finished() {
            return;
        }
        self.task.abort();
        // Closing the socket is not enough: the walsender looks at it again only when it has
        // something to send, and keeps the half-made slot until then.
        let cancel = self.cancel.clone();
        tokio::spawn(async move {
            if let Err(error) = cancel.cancel().await {
                tracing::debug!(error = %error.chain(), "could not cancel the making of a slot");
            }
        });
    }
}
