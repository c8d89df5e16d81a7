//! One of the sessions that copy: pieces through a pipe, tables put in place.

use super::destination::Destination;
use super::plan::{Piece, Plan, Way, Work};
use super::progress::{Progress, human};
use super::source::{Chunk, SourceSession, SourceTable};
use crate::error::{Error, Result};
use crate::target::Totals;
use futures_util::{SinkExt, TryStreamExt};
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio_postgres::{CopyInSink, CopyOutStream};

/// So often a worker tries again what users' transactions were in the way of.
const MOST_PUT_BACK: u32 = 20;

/// A table at both ends.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) source: SourceTable,
    /// Its number at the destination.
    pub(super) oid: u32,
    pub(super) title: String,
}

/// What a table has come to.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Came {
    pub(super) bytes: i64,
    pub(super) totals: Totals,
}

/// What all workers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) tables: Vec<Table>,
    pub(super) snapshot: String,
    pub(super) progress: Progress,
    plan: Mutex<Plan>,
    came: Mutex<Vec<Came>>,
    changed: Notify,
}

impl Shared {
    pub(super) fn new(
        tables: Vec<Table>,
        snapshot: String,
        plan: Plan,
        came: Vec<Came>,
        progress: Progress,
    ) -> Self {
        let (plan, came) = (Mutex::new(plan), Mutex::new(came));
        Self { tables, snapshot, progress, plan, came, changed: Notify::new() }
    }

    pub(super) fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn came(&self) -> MutexGuard<'_, Vec<Came>> {
        self.came.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next thing to do; none when all is done.
    async fn next(&self) -> Option<Work> {
        let mut changed = pin!(self.changed.notified());
        loop {
            // Before the plan is looked at: what changes afterwards wakes.
            changed.as_mut().enable();
            {
                let mut plan = self.plan();
                if plan.is_over() {
                    return None;
                }
                if let Some(work) = plan.next() {
                    return Some(work);
                }
            }
            changed.as_mut().await;
            changed.set(self.changed.notified());
        }
    }

    fn done(&self, work: &Work) {
        self.plan().done(work);
        self.changed.notify_waiters();
    }

    fn put_back(&self, work: &Work) {
        self.plan().put_back(work);
        self.changed.notify_waiters();
    }

    fn failed(&self, work: &Work) {
        self.plan().failed(work);
        self.changed.notify_waiters();
    }
}

/// A session with each end.
pub(super) struct Worker {
    pub(super) source: SourceSession,
    pub(super) destination: Destination,
}

impl Worker {
    /// Works until nothing is left to do.
    pub(super) async fn run(self, shared: &Shared) -> Result<()> {
        let mut put_back = 0;
        while let Some(work) = shared.next().await {
            let result = match &work {
                Work::Piece(piece) => self.piece(shared, piece).await,
                Work::Finish(table) => self.finish(shared, *table).await,
                Work::OneByOne(table) => self.one_by_one(shared, *table).await,
            };
            match result {
                Ok(()) => shared.done(&work),
                Err(error) if passes(&error) && put_back < MOST_PUT_BACK => {
                    put_back += 1;
                    tracing::debug!(error = %error.chain(), "tried again");
                    self.destination.command("rollback").await?;
                    shared.put_back(&work);
                }
                Err(error) if may_be_avoided(shared, &work, &error) => {
                    tracing::warn!(
                        table = table_of(shared, &work).title,
                        error = %error.chain(),
                        "rows do not fit as they are: they are brought one by one"
                    );
                    self.destination.command("rollback").await?;
                    shared.failed(&work);
                }
                Err(error) => return Err(error.at(&table_of(shared, &work).title)),
            }
        }
        Ok(())
    }

    async fn piece(&self, shared: &Shared, piece: &Piece) -> Result<()> {
        let table = &shared.tables[piece.table];
        let leaf = &table.source.leaves[piece.leaf];
        // The source reads already while the destination gets ready.
        let begun = async {
            self.destination.command("begin").await?;
            self.destination.sink().await
        };
        let (chunks, sink) = tokio::try_join!(self.source.read(leaf.oid, piece), begun)?;
        let bytes = self.pipe(chunks, sink, &shared.progress).await?;
        let totals = self.destination.came(table.oid, leaf, piece, &shared.snapshot, bytes).await?;
        self.destination.command("commit").await?;
        shared.progress.piece(piece.weight, totals.entries, bytes);
        let came = &mut shared.came()[piece.table];
        came.bytes += bytes;
        came.totals += totals;
        Ok(())
    }

    /// What comes out at one end goes in at the other as it is: both are COPY's binary form.
    async fn pipe(
        &self,
        chunks: CopyOutStream,
        sink: CopyInSink<Chunk>,
        progress: &Progress,
    ) -> Result<i64> {
        let (mut chunks, mut sink) = (pin!(chunks), pin!(sink));
        let mut bytes = 0;
        while let Some(chunk) =
            chunks.try_next().await.map_err(|error| self.source.explain(error))?
        {
            bytes += i64::try_from(chunk.len()).unwrap_or(0);
            progress.bytes(chunk.len());
            if let Err(error) = sink.send(chunk).await {
                return Err(self.destination.explain(error));
            }
        }
        sink.as_mut().finish().await.map_err(|error| self.destination.explain(error))?;
        Ok(bytes)
    }

    async fn finish(&self, shared: &Shared, table: usize) -> Result<()> {
        let title = &shared.tables[table].title;
        self.destination.finish(shared.tables[table].oid).await?;
        let came = shared.came()[table];
        let bytes = human(came.bytes);
        tracing::info!(table = title, rows = came.totals.entries, bytes, "copied");
        Ok(())
    }

    async fn one_by_one(&self, shared: &Shared, table: usize) -> Result<()> {
        shared.came()[table] = Came::default();
        self.destination.one_by_one(shared.tables[table].oid).await
    }
}

fn table_of<'a>(shared: &'a Shared, work: &Work) -> &'a Table {
    match work {
        Work::Piece(piece) => &shared.tables[piece.table],
        Work::Finish(table) | Work::OneByOne(table) => &shared.tables[*table],
    }
}

/// A deadlock with users' transactions, or a lock that they hold: nothing that stays.
pub(super) fn passes(error: &Error) -> bool {
    error.code().is_some_and(|code| code.starts_with("40") || code == "55P03")
}

/// Data that a table does not take as a whole: values (22) and constraints (23). One by one, the row
/// that is to blame goes to quarantine.
fn may_be_avoided(shared: &Shared, work: &Work, error: &Error) -> bool {
    let fills = match work {
        Work::Piece(piece) => shared.plan().way(piece.table) == Way::Fill,
        Work::Finish(table) => shared.plan().way(*table) == Way::Fill,
        Work::OneByOne(_) => false,
    };
    fills && error.code().is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
}
