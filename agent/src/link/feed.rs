//! The stream, applied: events in, parts out, the position written with the rows.
//!
//! A position is a snapshot S of the source with an LSN that all of its transactions commit
//! before. The stream asks for S at most once a second; it is written with the batch that brings
//! everything up to its LSN: in the same transaction as the rows, so that whenever the target is
//! asked, it has exactly what it says, or a little more, which is skipped when it comes again.
//! While rows come it is never written by itself, since what came meanwhile would wait for that.

use super::ends::Ends;
use super::windows::{self, Brought};
use crate::conninfo::Host;
use crate::error::{Error, Result};
use crate::replication::Lsn;
use crate::source::{
    Batch, Cut as BatchCut, Event, JournalRow, Layouts, Left, Member, Passing, StreamPosition,
};
use std::time::Duration;
use syncjournal_core::Snapshot;
use syncjournal_core::slice::{self, Cut, Piece, Recipient};
use tokio::task::block_in_place;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often the position is looked at.
pub(super) const POSITION_EVERY: Duration = Duration::from_secs(1);
/// The same while none come: only transactions that were open when it was taken make it old.
const IDLE_POSITION_EVERY: Duration = Duration::from_secs(60);
/// Where the last rows are older than this, a position goes without any.
const PAUSE_IN_ROWS: Duration = Duration::from_millis(100);
/// How often it is seen whether both ends are still there and the source's offer still holds.
const LOOK_EVERY: Duration = Duration::from_secs(10);

pub(super) struct Feed<'a> {
    ends: &'a mut Ends,
    member: Member,
    layouts: Layouts,
    batch: Batch,
    /// What the target has written down.
    position: Snapshot,
    /// The place that the position stands for.
    written: Lsn,
    /// The end of the last transaction that brought rows.
    rows_end: Lsn,
    /// A position that the source has not been told of: a crash of the target could take it back.
    /// With it, where the target's WAL ended then.
    unconfirmed: Option<(i64, Snapshot)>,
    /// Nor of the window that came before the stream.
    brought: Option<Brought>,
    written_at: Instant,
    /// Rows were applied last.
    applied_at: Instant,
    looked_at: Instant,
}

/// Where the target stands when the stream begins, and the window that led there.
pub(super) struct Position {
    pub(super) snapshot: Snapshot,
    pub(super) brought: Option<Brought>,
}

/// Why the feed ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    GoOn,
    Deactivated,
}

impl<'a> Feed<'a> {
    pub(super) fn new(ends: &'a mut Ends, member: Member, layouts: Layouts, at: Position) -> Self {
        let (source, target) = (&ends.source.database, &ends.target.database);
        let local = [source, target].iter().all(|end| matches!(end.address.host, Host::Unix(_)));
        let mut batch =
            Batch::new(&ends.flow, source.identity.clone(), target.identity.node_id, local);
        batch.set_terms(&layouts.offer().terms);
        Self {
            ends,
            member,
            layouts,
            batch,
            position: at.snapshot,
            written: Lsn::default(),
            rows_end: Lsn::default(),
            unconfirmed: None,
            brought: at.brought,
            written_at: Instant::now(),
            applied_at: Instant::now(),
            looked_at: Instant::now(),
        }
    }

    /// Waits for something to happen. Safe to drop.
    pub(super) async fn next_event(&self) -> std::result::Result<Event, Left> {
        self.member.next().await
    }

    /// Takes an event and all that are there already, and applies them once nothing more waits.
    pub(super) async fn take(&mut self, first: Event, stop: &CancellationToken) -> Result<()> {
        self.handle(first).await?;
        let begun = Instant::now();
        while let Ok(Some(event)) = self.member.ready() {
            self.handle(event).await?;
            // A stream without a pause would leave the position and the stop unheard.
            if begun.elapsed() >= POSITION_EVERY || stop.is_cancelled() {
                break;
            }
        }
        // Half a transaction waits for its rest, which the server is sending.
        if !self.batch.is_open() && !self.batch.is_empty() {
            self.flush().await?;
        }
        Ok(())
    }

    async fn handle(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Frame(row) => self.frame(&row).await?,
            Event::Commit { end } => {
                if self.batch.is_open() {
                    self.rows_end = end;
                }
                self.batch.commit(end);
            }
            Event::Reached(place) => self.batch.reached(place),
        }
        if self.batch.is_full() { self.flush().await } else { Ok(()) }
    }

    async fn frame(&mut self, row: &JournalRow) -> Result<()> {
        let peer_id = self.layouts.offer().peer_id;
        // What came from the target is not sent back to it, but for what has left its slices by that.
        let is_origin = row.origin != 0 && row.origin == peer_id;
        if is_origin && row.reach.is_empty() {
            return Ok(());
        }
        let is_new = !self.layouts.knows(row.layout);
        if is_new || slice::tells_of_lists(&row.reach, peer_id) {
            self.ends.source.until_visible(row.xid).await?;
            self.read_offer().await?;
        }
        let Passing { layout, audience, locks } =
            self.layouts.passing(row.layout, &self.ends.source, &self.ends.flow).await?;
        let audience = audience.at(&locks, (row.xid, row.lsn));
        let to = Recipient { peer_id, audience: &audience, is_origin };
        let damaged = |error| Error::protocol("a frame of the source is damaged").caused_by(error);
        match slice::cut(row.frame, &row.data, &row.reach, to).map_err(damaged)? {
            Cut::Nothing => {}
            Cut::Whole => self.batch.add(row, &layout),
            Cut::Pieces(pieces) => {
                for Piece { id, entries, bytes } in &pieces {
                    self.batch.add_as(row, &layout, (*id, u64::from(*entries), bytes));
                }
            }
        }
        Ok(())
    }

    /// What comes from here on is judged by what the source offers now.
    async fn read_offer(&mut self) -> Result<()> {
        let mut offer = self.ends.offer().await?;
        let known = self.layouts.offer();
        // The terms of a set that is begun stay as they are.
        offer.terms.clone_from(&known.terms);
        if offer != *known {
            tracing::info!("the source's list for the peer has changed");
            self.layouts = Layouts::new(offer)?;
        }
        Ok(())
    }

    /// The position to write with what is gathered: where rows came since the last, and all that it
    /// stands for is there.
    fn due_position(&self) -> Option<StreamPosition> {
        let due = self.moved() || self.written_at.elapsed() >= IDLE_POSITION_EVERY;
        let position = if due && !self.batch.is_open() { self.member.position() } else { None };
        position.filter(|position| position.lsn > self.written && position.lsn <= self.batch.end())
    }

    /// Rows came since the position was written.
    fn moved(&self) -> bool {
        self.rows_end > self.written
    }

    /// Applies what is gathered, if anything is, and writes the position if one is due.
    async fn flush(&mut self) -> Result<()> {
        let due = self.due_position();
        let to = due.as_ref().map_or_else(|| self.position.clone(), |due| due.snapshot.clone());
        let rows = !self.batch.is_empty();
        if rows || to != self.position {
            let target = self.ends.target.database.identity.node_id;
            let received = due.as_ref().and_then(|due| due.received.get(&target).cloned());
            let cut = self.cut(&to, received);
            let totals = self.ends.target.apply(&cut.data, cut.continues).await?;
            tracing::debug!(
                entries = cut.entries,
                skipped = totals.skipped,
                bytes = cut.data.len(),
                "batch applied"
            );
            if rows {
                self.applied_at = Instant::now();
            }
            if cut.continues {
                return Ok(());
            }
        }
        let Some(due) = due else { return Ok(()) };
        self.written = due.lsn;
        self.written_at = Instant::now();
        if to != self.position {
            self.unconfirmed = Some((self.ends.target.written().await?, to.clone()));
            self.position = to;
        }
        Ok(())
    }

    /// Checksum and compression of a large row take their time. The stream's reader, which must
    /// report meanwhile, may have been woken on this very thread: it is let go elsewhere.
    fn cut(&mut self, to: &Snapshot, received: Option<Snapshot>) -> BatchCut {
        if self.batch.is_full() {
            block_in_place(|| self.batch.cut(&self.position, to, received))
        } else {
            self.batch.cut(&self.position, to, received)
        }
    }

    /// Tells the source of the position before. The target's WAL writer has nearly always brought it
    /// to the disk in the second since, so that nothing waits here.
    async fn confirm(&mut self) -> Result<()> {
        if let Some(brought) = self.brought.take() {
            windows::confirm(self.ends, brought).await?;
        }
        if let Some((written, position)) = self.unconfirmed.take() {
            self.ends.target.make_durable(Some(written)).await?;
            self.ends.source.confirm_position(&position).await?;
        }
        Ok(())
    }

    /// Without rows, unless there will be some to go with. How far the stream is without any, the
    /// log tells nobody who does not ask.
    async fn write_position(&mut self) -> Result<()> {
        if self.applied_at.elapsed() < PAUSE_IN_ROWS {
            return Ok(());
        }
        while !self.batch.is_open()
            && let Ok(Some(event)) = self.member.ready()
        {
            self.handle(event).await?;
        }
        if self.batch.is_open() { Ok(()) } else { self.flush().await }
    }

    /// Once a second: writes the position, and sees now and then whether all is as it was.
    pub(super) async fn tick(&mut self) -> Result<Turn> {
        if !self.batch.is_open() {
            self.confirm().await?;
            self.write_position().await?;
        }
        if self.looked_at.elapsed() < LOOK_EVERY {
            return Ok(Turn::GoOn);
        }
        self.looked_at = Instant::now();
        let Some(offer) = self.ends.open_offer().await? else {
            return Ok(Turn::Deactivated);
        };
        if offer != *self.layouts.offer() && !self.batch.is_open() {
            tracing::info!("the source's list for the peer has changed");
            self.batch.set_terms(&offer.terms);
            self.layouts = Layouts::new(offer)?;
        }
        // Also seen by it: an idle session with a target that is gone would look well for ever.
        if !self.batch.is_open() {
            self.ends.target.retry_quarantine().await?;
        }
        Ok(Turn::GoOn)
    }

    /// Applies what is whole and leaves the stream. Half a transaction is taken back: it comes
    /// again, from the position.
    pub(super) async fn close(mut self) -> Result<()> {
        if !self.batch.is_open() {
            self.flush().await?;
        }
        self.ends.target.take_back().await?;
        self.confirm().await
    }
}
