//! What a clone asks of the destination, which keeps all that is to be known of it.

use crate::config::Flow;
use crate::database::Database;
use crate::error::{Error, Result};
use crate::net::SessionName;
use syncjournal_core::wire::NodeInfo;
use tokio_postgres::{CopyInSink, Row};
use uuid::Uuid;

use super::plan::{Piece, Way};
use super::source::{Chunk, ColumnSequence, Leaf};
use crate::target::Totals;

/// A session with the destination.
pub(super) struct Destination {
    pub(super) database: Database,
    source: Uuid,
}

/// How a table stands here.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) oid: u32,
    pub(super) way: Way,
    pub(super) finished: bool,
}

/// Blocks that came in an earlier run.
#[derive(Debug)]
pub(super) struct Came {
    pub(super) leaf: String,
    pub(super) file: i64,
    pub(super) slices: String,
    pub(super) first: i64,
    pub(super) end: Option<i64>,
    pub(super) snapshot: String,
    pub(super) rows: i64,
    pub(super) bytes: i64,
}

/// What was known of a clone when it ended.
#[derive(Debug)]
pub(super) struct Completed {
    /// All tables were empty here when it began, and where this node stood then.
    pub(super) was_empty: bool,
    pub(super) here: String,
    pub(super) rows: i64,
    pub(super) bytes: i64,
}

impl Destination {
    pub(super) async fn connect(flow: &Flow, source: Uuid) -> Result<Self> {
        let database = Database::connect(&flow.target, &SessionName::of_flow(flow)).await?;
        // A crash loses rows and what is noted of them together: see `complete`.
        database.commit_without_waiting().await?;
        Ok(Self { database, source })
    }

    pub(super) fn explain(&self, error: impl Into<Error>) -> Error {
        self.database.explain(error)
    }

    pub(super) async fn command(&self, sql: &str) -> Result<()> {
        self.database.session.batch_execute(sql).await.map_err(|error| self.explain(error))
    }

    async fn one(
        &self,
        sql: &str,
        parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) -> Result<Row> {
        let row = self.database.session.query_one(sql, parameters).await;
        row.map_err(|error| self.explain(error))
    }

    /// Begins a clone, or goes on with one: gives the number of this run.
    pub(super) async fn begin(&self, source: &NodeInfo, restart: bool) -> Result<i32> {
        let sql = "select b.runs from syncjournal.clone_begin($1, $2, $3, $4) b";
        let tag = source.tag.cast_signed();
        let row = self.one(sql, &[&self.source, &restart, &tag, &source.name]).await?;
        row.try_get(0).map_err(|error| self.explain(error))
    }

    /// Takes a table up.
    pub(super) async fn table(&self, schema: &str, name: &str) -> Result<Standing> {
        let sql = "select t.relation, t.way, t.finished
                   from syncjournal.clone_table($1, $2, $3) t";
        let row = self.one(sql, &[&self.source, &schema, &name]).await?;
        let read = || {
            let way: String = row.try_get(1)?;
            let way = if way == "fill" { Way::Fill } else { Way::Merge };
            Ok(Standing { oid: row.try_get(0)?, way, finished: row.try_get(2)? })
        };
        read().map_err(|error: tokio_postgres::Error| self.explain(error))
    }

    pub(super) async fn ranges(&self) -> Result<Vec<Came>> {
        let sql = "select r.source_leaf, r.source_file, r.source_slices, r.first_block,
                          r.end_block, r.snapshot, r.entries, r.bytes
                   from syncjournal.clone_ranges($1) r";
        let rows = self.database.session.query(sql, &[&self.source]).await;
        let read = |row: &Row| {
            Ok(Came {
                leaf: row.try_get(0)?,
                file: row.try_get(1)?,
                slices: row.try_get(2)?,
                first: row.try_get(3)?,
                end: row.try_get(4)?,
                snapshot: row.try_get(5)?,
                rows: row.try_get(6)?,
                bytes: row.try_get(7)?,
            })
        };
        let rows = rows.map_err(|error| self.explain(error))?;
        let all: std::result::Result<_, tokio_postgres::Error> = rows.iter().map(read).collect();
        all.map_err(|error| self.explain(error))
    }

    /// What had come of a leaf has to come again.
    pub(super) async fn again(&self, leaf: &str) -> Result<()> {
        let sql = "select syncjournal.clone_again($1, $2)";
        self.one(sql, &[&self.source, &leaf]).await.map(drop)
    }

    /// Removes rows that are gone at the source.
    pub(super) async fn remove(&self, table: u32, rows: &[Uuid], versions: &[Uuid]) -> Result<()> {
        let sql = "select syncjournal.clone_remove($1, $2, $3, $4)";
        self.one(sql, &[&self.source, &table, &rows, &versions]).await.map(drop)
    }

    /// Where chunks go; the transaction is the caller's.
    pub(super) async fn sink(&self) -> Result<CopyInSink<Chunk>> {
        let sql = "copy syncjournal.clone_rows from stdin (format binary)";
        self.database.session.copy_in(sql).await.map_err(|error| self.explain(error))
    }

    /// Writes down that a piece has come, and says what became of its rows.
    pub(super) async fn came(
        &self,
        table: u32,
        leaf: &Leaf,
        piece: &Piece,
        snapshot: &str,
        bytes: i64,
    ) -> Result<Totals> {
        let sql = "select d.entries, d.inserted, d.updated, d.skipped, d.conflicts, d.quarantined
                   from syncjournal.clone_range_done(
                       $1, $2, $3, $4, $5, $6, $7, $8::text::pg_catalog.pg_snapshot, $9) d";
        let row = self
            .one(
                sql,
                &[
                    &self.source,
                    &table,
                    &leaf.name,
                    &leaf.file,
                    &leaf.slices,
                    &piece.first,
                    &piece.end,
                    &snapshot,
                    &bytes,
                ],
            )
            .await?;
        let read = || {
            Ok(Totals {
                entries: row.try_get(0)?,
                inserted: row.try_get(1)?,
                updated: row.try_get(2)?,
                deleted: 0,
                skipped: row.try_get(3)?,
                conflicts: row.try_get(4)?,
                quarantined: row.try_get(5)?,
            })
        };
        read().map_err(|error: tokio_postgres::Error| self.explain(error))
    }

    /// What was filled takes the table's place, with its indexes.
    pub(super) async fn finish(&self, table: u32) -> Result<()> {
        let sql = "select syncjournal.clone_finish($1, $2)";
        self.one(sql, &[&self.source, &table]).await.map(drop)
    }

    /// The table's rows are to come again, one by one.
    pub(super) async fn one_by_one(&self, table: u32) -> Result<()> {
        let sql = "select syncjournal.clone_one_by_one($1, $2)";
        self.one(sql, &[&self.source, &table]).await.map(drop)
    }

    pub(super) async fn set_sequence(&self, of: &ColumnSequence) -> Result<()> {
        let sql = "select syncjournal.clone_set_sequence($1, $2, $3, $4)";
        self.one(sql, &[&of.schema, &of.table, &of.column, &of.last]).await.map(drop)
    }

    /// Everything that is visible in the snapshot is here: writes the position. The source is told
    /// then, so this commit waits for the disk, and with it for all before.
    pub(super) async fn complete(&self, snapshot: &str) -> Result<Completed> {
        self.command("reset synchronous_commit").await?;
        let sql = "select c.was_empty, c.here, c.entries, c.bytes
                   from syncjournal.clone_complete($1, $2::text::pg_catalog.pg_snapshot) c";
        let row = self.one(sql, &[&self.source, &snapshot]).await?;
        let read = || {
            Ok(Completed {
                was_empty: row.try_get(0)?,
                here: row.try_get(1)?,
                rows: row.try_get(2)?,
                bytes: row.try_get(3)?,
            })
        };
        read().map_err(|error: tokio_postgres::Error| self.explain(error))
    }
}
