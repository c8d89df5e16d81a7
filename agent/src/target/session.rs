//! What is asked of a target's database.
//!
//! Parts of one source transaction go into one transaction of the target: [`Target::apply`] opens
//! it at the first part that `continues` and commits after the last. The extension refuses a
//! commit in between.

use super::{RowAhead, Totals};
use crate::config::Node;
use crate::database::Database;
use crate::error::{Error, Kind, Result, kind_of_sqlstate};
use crate::net::SessionName;
use crate::source::parse_snapshot;
use std::sync::Arc;
use syncjournal_core::Snapshot;
use syncjournal_core::operations::Restriction;
use syncjournal_core::pattern::Selection;
use tokio::sync::OnceCell;
use tokio_postgres::{Row, Statement};
use uuid::Uuid;

/// `object_not_in_prerequisite_state`: what `apply` raises where a set does not follow on what is
/// there.
const GAP: &str = "55000";

/// A session with the target.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) database: Database,
    apply: Statement,
    written: Statement,
    /// For a live flow, which asks once a second.
    durable: OnceCell<Statement>,
    /// A transaction is open that holds parts of a set.
    in_set: bool,
    /// Everything is rolled back at the end.
    trial: bool,
    /// What comes from a higher rank is taken, too.
    pub(crate) allow_backward: bool,
}

impl Target {
    pub(crate) async fn connect(node: &Arc<Node>, name: &SessionName) -> Result<Self> {
        let database = Database::connect(node, name).await?;
        let apply = database
            .session
            .prepare("select syncjournal.apply_part($1, $2)")
            .await
            .map_err(|error| database.explain(error))?;
        let written = database
            .session
            .prepare("select (pg_catalog.pg_current_wal_insert_lsn() - '0/0')::int8")
            .await
            .map_err(|error| database.explain(error))?;
        Ok(Self {
            database,
            apply,
            written,
            durable: OnceCell::new(),
            in_set: false,
            trial: false,
            allow_backward: false,
        })
    }

    pub(crate) fn explain(&self, error: impl Into<Error>) -> Error {
        self.database.explain(error)
    }

    /// How far this target has come with a source; None where nothing ever came from there.
    pub(crate) async fn position(&self, source: Uuid) -> Result<Option<Snapshot>> {
        let row = self
            .database
            .session
            .query_opt(
                "select p.snapshot::text from syncjournal.received_position($1) p",
                &[&source],
            )
            .await
            .map_err(|error| self.explain(error))?;
        let text: Option<String> = match row {
            None => None,
            Some(row) => row.try_get(0).map_err(|error| self.explain(error))?,
        };
        text.map(|text| parse_snapshot(&text)).transpose()
    }

    /// From here on everything is tried and nothing kept, until [`Target::end_trial`].
    pub(crate) async fn begin_trial(&mut self) -> Result<()> {
        self.command("begin").await?;
        self.trial = true;
        Ok(())
    }

    pub(crate) async fn end_trial(&mut self) -> Result<()> {
        self.trial = false;
        self.in_set = false;
        self.command("rollback").await
    }

    /// Whether the peer of this name is switched on here.
    pub(crate) async fn takes_from(&self, peer: &str) -> Result<bool> {
        let row = self
            .database
            .session
            .query_one("select f.active from syncjournal.peer_filter($1) f", &[&peer])
            .await
            .map_err(|error| self.explain(error))?;
        row.try_get(0).map_err(|error| self.explain(error))
    }

    /// Applies one part.
    pub(crate) async fn apply(&mut self, data: &[u8], continues: bool) -> Result<Totals> {
        if continues && !self.in_set && !self.trial {
            self.command("begin").await?;
        }
        let totals = self.call(data).await?;
        if self.in_set && !continues && !self.trial {
            self.command("commit").await?;
        }
        self.in_set = continues;
        Ok(totals)
    }

    /// Applies one part in the transaction that is open, or in its own.
    pub(super) async fn call(&self, data: &[u8]) -> Result<Totals> {
        let row = self
            .database
            .session
            .query_one(&self.apply, &[&data, &self.allow_backward])
            .await
            .map_err(|error| self.explain(refusal(error)))?;
        totals_of(&row).map_err(|error| self.explain(error))
    }

    /// What this target takes from a peer.
    pub(crate) async fn accepted(&self, peer: &str) -> Result<Selection> {
        let sql = "select f.include, f.exclude from syncjournal.peer_filter($1) f";
        let row = self.database.session.query_one(sql, &[&peer]).await;
        let row = row.map_err(|error| self.explain(error))?;
        let list = |place| -> Result<Vec<String>> {
            row.try_get(place).map_err(|error| self.explain(error))
        };
        Selection::parse(&list(0)?, &list(1)?).map_err(|error| {
            Error::new(Kind::Server, "the target's list for the source cannot be read")
                .caused_by(error)
        })
    }

    /// What a peer may not do here.
    pub(crate) async fn restrictions(&self, peer: &str) -> Result<Vec<Restriction>> {
        let sql = "select pg_catalog.array_to_string(r.operations, ',') || ' ' || r.relation
                   from syncjournal.restriction r where r.peer = $1 and r.direction <> 'send'";
        let rows = self.database.session.query(sql, &[&peer]).await;
        let rows = rows.map_err(|error| self.explain(error))?;
        let read = |row: &Row| -> Result<Restriction> {
            let text: String = row.try_get(0).map_err(|error| self.explain(error))?;
            text.parse().map_err(|error| {
                Error::protocol("the target's restrictions cannot be read").caused_by(error)
            })
        };
        rows.iter().map(read).collect()
    }

    /// Begins a transaction for what is this agent's own doing; a trial has one already.
    pub(crate) async fn begin_own(&self) -> Result<()> {
        if self.trial { Ok(()) } else { self.command("begin").await }
    }

    pub(crate) async fn end_own(&self) -> Result<()> {
        if self.trial { Ok(()) } else { self.command("commit").await }
    }

    /// Deletes rows that the peer has not got.
    pub(crate) async fn delete_extra(
        &self,
        peer: &str,
        relation: &str,
        ids: &[Uuid],
    ) -> Result<()> {
        let sql = "select syncjournal.delete_extra($1, $2::text::pg_catalog.regclass, $3)";
        let done = self.database.session.execute(sql, &[&peer, &relation, &ids]).await;
        done.map_err(|error| self.explain(error))?;
        Ok(())
    }

    /// The rows here that stand at a version which the peer has not got.
    pub(crate) async fn ahead_of(&self, peer: &str) -> Result<Vec<RowAhead>> {
        let rows = self
            .database
            .session
            .query(
                "select a.relation, a.row_id::text, a.operation, a.changed_at::text, a.node
                 from syncjournal.destination_ahead($1) a",
                &[&peer],
            )
            .await
            .map_err(|error| self.explain(error))?;
        let rows: std::result::Result<_, _> = rows.iter().map(row_ahead).collect();
        rows.map_err(|error: tokio_postgres::Error| self.explain(error))
    }

    /// Where the target's WAL ends.
    pub(crate) async fn written(&self) -> Result<i64> {
        let row = self
            .database
            .session
            .query_one(&self.written, &[])
            .await
            .map_err(|error| self.explain(error))?;
        row.try_get(0).map_err(|error| self.explain(error))
    }

    /// Waits until what was written up to a place, or by now, survives a crash: only then may the
    /// source be told.
    pub(crate) async fn make_durable(&self, written: Option<i64>) -> Result<()> {
        let session = &self.database.session;
        let prepare = || session.prepare("select syncjournal.make_durable($1)");
        let done = async {
            session.execute(self.durable.get_or_try_init(prepare).await?, &[&written]).await
        };
        done.await.map_err(|error| self.explain(error))?;
        Ok(())
    }

    /// What of a peer's waits for a person: pending conflicts, quarantine.
    pub(crate) async fn unsettled(&self, peer: &str) -> Result<i64> {
        let row = self
            .database
            .session
            .query_one(
                "select (select pg_catalog.count(*) from syncjournal.conflict c
                         where c.peer = $1 and c.status = 'pending')
                      + (select pg_catalog.count(*) from syncjournal.quarantine q
                         where q.source = $1)",
                &[&peer],
            )
            .await
            .map_err(|error| self.explain(error))?;
        row.try_get(0).map_err(|error| self.explain(error))
    }

    /// Takes back the parts of a set that is not whole.
    pub(crate) async fn take_back(&mut self) -> Result<()> {
        if !self.in_set {
            return Ok(());
        }
        self.in_set = false;
        self.command("rollback").await
    }

    /// A transaction is open that holds parts of a set.
    pub(crate) fn in_set(&self) -> bool {
        self.in_set
    }

    /// Tries what stands in quarantine and whose time has come; cheap where there is nothing. Also
    /// finds out whether the session still stands.
    pub(crate) async fn retry_quarantine(&self) -> Result<()> {
        let row = self
            .database
            .session
            .query_one("select syncjournal.retry_due_quarantine()", &[])
            .await
            .map_err(|error| self.explain(error))?;
        let applied: i64 = row.try_get(0).map_err(|error| self.explain(error))?;
        if applied > 0 {
            tracing::info!(applied, "entries left the quarantine");
        }
        Ok(())
    }

    pub(super) async fn command(&self, command: &str) -> Result<()> {
        self.database.session.batch_execute(command).await.map_err(|error| self.explain(error))
    }
}

/// A refused set is a gap; everything else is what the server says it is.
fn refusal(error: tokio_postgres::Error) -> Error {
    let gap = error.code().is_some_and(|code| code.code() == GAP);
    let mut error = Error::from(error);
    error.kind = match (gap, error.code()) {
        (true, _) => Kind::Gap,
        // A missing table or right inside of apply is the data's trouble, not the extension's.
        (false, Some(code)) if kind_of_sqlstate(code) == Kind::Prerequisite => Kind::Server,
        (false, _) => error.kind,
    };
    error
}

/// From what `apply_part` gives back.
fn totals_of(row: &Row) -> Result<Totals> {
    let numbers: Vec<i64> = row.try_get(0)?;
    let numbers = <[i64; 7]>::try_from(numbers);
    let [entries, inserted, updated, deleted, skipped, conflicts, quarantined] =
        numbers.map_err(|_| Error::protocol("apply_part gives other numbers than are known"))?;
    Ok(Totals { entries, inserted, updated, deleted, skipped, conflicts, quarantined })
}

fn row_ahead(row: &Row) -> std::result::Result<RowAhead, tokio_postgres::Error> {
    Ok(RowAhead {
        relation: row.try_get(0)?,
        row_id: row.try_get(1)?,
        operation: row.try_get(2)?,
        changed_at: row.try_get(3)?,
        node: row.try_get(4)?,
        would_overwrite: false,
    })
}
