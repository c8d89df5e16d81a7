//! A sync set from `prep_sync`, read part by part: neither end holds more than a few of them.
//!
//! The whole set is read in one transaction of the source, which must end before it counts:
//! [`Window::finish`]. A window that is dropped half way leaves no trace there but an open
//! transaction, so its session is not used again.

use super::Source;
use crate::config::Flow;
use crate::error::{Error, Kind, Result};
use futures_util::TryStreamExt;
use std::pin::Pin;
use syncjournal_core::Snapshot;
use syncjournal_core::wire::SetPart;
use tokio_postgres::RowStream;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

/// `mode` of `prep_sync`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WindowMode {
    Changes,
    Full,
    /// No rows: only that the peer is switched off.
    Notice,
}

impl WindowMode {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Changes => "changes",
            Self::Full => "full",
            Self::Notice => "notice",
        }
    }
}

/// What a window is read for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose<'a> {
    /// To be applied as it comes.
    Apply,
    /// To be kept: each part says how many there are.
    File,
    Trial(Trial<'a>),
}

/// A window that will be forgotten: what `sync` would do before it happens in its transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trial<'a> {
    pub(crate) target: Uuid,
    pub(crate) position: Option<&'a Snapshot>,
}

/// One part, as it travels.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) set_id: Uuid,
    pub(crate) data: Vec<u8>,
    /// Its last transaction runs on into the next part.
    pub(crate) continues: bool,
    pub(crate) entries: u64,
}

/// A set that is being read.
pub(crate) struct Window<'a> {
    source: &'a Source,
    rows: Pin<Box<RowStream>>,
}

impl<'a> Window<'a> {
    pub(super) async fn open(
        source: &'a mut Source,
        mode: WindowMode,
        flow: &Flow,
        purpose: Purpose<'_>,
    ) -> Result<Self> {
        let session = &source.database.session;
        session.batch_execute("begin").await.map_err(|error| source.explain(error))?;
        if let Purpose::Trial(trial) = purpose {
            let options = flow.options.at_source();
            source.peer = source
                .database
                .register(&source.peer, Some(trial.target), "send", &options)
                .await?;
            if let Some(position) = trial.position {
                source.confirm_position(position).await?;
            }
        }
        let source = &*source;
        let session = &source.database.session;
        let (include, exclude) = flow.lists();
        // To count the parts takes reading the window twice; only people want to know.
        let counted = matches!(purpose, Purpose::File);
        let parameters: [&(dyn ToSql + Sync); 5] =
            [&source.peer, &mode.as_str(), &include, &exclude, &counted];
        // The set-returning call stands in the select list, behind a fence: PostgreSQL then
        // hands on row after row. In FROM it would first write the whole set to disk.
        let rows = session
            .query_raw(
                "select (s.p).set_id, (s.p).data
                 from (select syncjournal.prep_sync($1, $2, $3, $4, $5) p offset 0) s",
                parameters,
            )
            .await
            .map_err(|error| source.explain(error))?;
        Ok(Self { source, rows: Box::pin(rows) })
    }

    pub(crate) async fn next(&mut self) -> Result<Option<Part>> {
        let row = self.rows.try_next().await.map_err(|error| self.source.explain(error))?;
        let Some(row) = row else { return Ok(None) };
        let set_id = row.try_get(0).map_err(|error| self.source.explain(error))?;
        let data: Vec<u8> = row.try_get(1).map_err(|error| self.source.explain(error))?;
        let header = SetPart::parse(&data)
            .map_err(|error| {
                Error::new(Kind::Protocol, "the source made a set that cannot be read")
                    .caused_by(error)
            })?
            .header;
        Ok(Some(Part { set_id, continues: header.continues, entries: header.entries, data }))
    }

    /// Ends the source's transaction: the set counts as made.
    pub(crate) async fn finish(self) -> Result<()> {
        self.end("commit").await
    }

    /// Ends it without a trace.
    pub(crate) async fn forget(self) -> Result<()> {
        self.end("rollback").await
    }

    async fn end(self, command: &str) -> Result<()> {
        let Self { source, rows } = self;
        drop(rows);
        source.database.session.batch_execute(command).await.map_err(|error| source.explain(error))
    }
}
