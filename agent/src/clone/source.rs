//! What a clone asks of the source: one snapshot for all of its sessions.

use crate::config::Flow;
use crate::database::Database;
use crate::error::{Error, Result};
use crate::net::SessionName;
use bytes::Bytes;
use tokio_postgres::CopyOutStream;
use uuid::Uuid;

use super::plan::Piece;

/// A table of the source, with its leaves.
#[derive(Debug)]
pub(super) struct SourceTable {
    pub(super) oid: u32,
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) parents: Vec<u32>,
    pub(super) leaves: Vec<Leaf>,
}

/// What holds the rows.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) oid: u32,
    pub(super) name: String,
    pub(super) file: i64,
    pub(super) blocks: i64,
    /// The slices by which the table comes, in words; empty where it comes whole.
    pub(super) slices: String,
}

/// How far a column's sequence is.
#[derive(Debug)]
pub(super) struct ColumnSequence {
    pub(super) schema: String,
    pub(super) table: String,
    pub(super) column: String,
    pub(super) last: i64,
}

/// A snapshot of the source that others can read under as well, as long as this session lives.
pub(super) struct Snapshot {
    pub(super) session: SourceSession,
    /// As other sessions name it.
    id: String,
    /// As the journal does.
    pub(super) text: String,
}

/// A session with the source, in one transaction for all it reads.
pub(super) struct SourceSession {
    pub(super) database: Database,
    peer: String,
    compress: bool,
}

impl Snapshot {
    pub(super) async fn take(database: Database, peer: &str, compress: bool) -> Result<Self> {
        let session = SourceSession::begin(database, peer, compress, None).await?;
        let row = session
            .database
            .session
            .query_one(
                "select pg_catalog.pg_export_snapshot(), pg_catalog.pg_current_snapshot()::text",
                &[],
            )
            .await
            .map_err(|error| session.explain(error))?;
        let get = |column| row.try_get(column).map_err(|error| session.explain(error));
        let (id, text) = (get(0)?, get(1)?);
        Ok(Self { session, id, text })
    }

    /// One more session that sees the same.
    pub(super) async fn share(&self, flow: &Flow) -> Result<SourceSession> {
        let SourceSession { peer, compress, .. } = &self.session;
        let database = Database::connect(&flow.source, &SessionName::of_flow(flow)).await?;
        SourceSession::begin(database, peer, *compress, Some(&self.id)).await
    }
}

impl SourceSession {
    async fn begin(
        database: Database,
        peer: &str,
        compress: bool,
        snapshot: Option<&str>,
    ) -> Result<Self> {
        let mut begin = "begin isolation level repeatable read read only".to_owned();
        if let Some(snapshot) = snapshot {
            begin += &format!("; set transaction snapshot {}", quoted(snapshot));
        }
        let begun = database.session.batch_execute(&begin).await;
        begun.map_err(|error| database.explain(error))?;
        Ok(Self { database, peer: peer.to_owned(), compress })
    }

    pub(super) fn explain(&self, error: impl Into<Error>) -> Error {
        self.database.explain(error)
    }

    /// The tables of the flow that hold rows, or may.
    pub(super) async fn tables(&self, flow: &Flow) -> Result<Vec<SourceTable>> {
        let (include, exclude) = flow.lists();
        let rows = self
            .database
            .session
            .query(
                "select o.relation, o.schema_name, o.table_name, o.parents, o.leaf, o.leaf_name,
                        o.file, o.blocks, o.slices
                 from syncjournal.clone_offer($1, $2, $3) o",
                &[&self.peer, &include, &exclude],
            )
            .await
            .map_err(|error| self.explain(error))?;
        let mut tables: Vec<SourceTable> = Vec::new();
        for row in rows {
            let read = || -> std::result::Result<(SourceTable, Leaf), tokio_postgres::Error> {
                let table = SourceTable {
                    oid: row.try_get(0)?,
                    schema: row.try_get(1)?,
                    name: row.try_get(2)?,
                    parents: row.try_get(3)?,
                    leaves: Vec::new(),
                };
                let (oid, name) = (row.try_get(4)?, row.try_get(5)?);
                let (file, blocks, slices) = (row.try_get(6)?, row.try_get(7)?, row.try_get(8)?);
                Ok((table, Leaf { oid, name, file, blocks, slices }))
            };
            let (table, leaf) = read().map_err(|error| self.explain(error))?;
            if tables.last().is_none_or(|last| last.oid != table.oid) {
                tables.push(table);
            }
            if let Some(last) = tables.last_mut() {
                last.leaves.push(leaf);
            }
        }
        Ok(tables)
    }

    /// The rows of a piece, as COPY's binary stream of chunks.
    pub(super) async fn read(&self, leaf: u32, piece: &Piece) -> Result<CopyOutStream> {
        let end = piece.end.map_or_else(|| "null".to_owned(), |end| end.to_string());
        let text = |text: &Option<String>| match text {
            Some(text) => quoted(text),
            None => "null".to_owned(),
        };
        let (since, hidden_since) = (text(&piece.since), text(&piece.hidden_since));
        // COPY takes no parameters. The call stands in the select list: rows are handed on one by one.
        let sql = format!(
            "copy (select syncjournal.clone_read(
                 {}, {leaf}, {}, {end}, {since}, {}, {hidden_since}))
             to stdout (format binary)",
            quoted(&self.peer),
            piece.first,
            self.compress
        );
        let stream = self.database.session.copy_out(sql.as_str()).await;
        stream.map_err(|error| self.explain(error))
    }

    /// Rows that were deleted since an earlier snapshot, with the versions of their deletes.
    pub(super) async fn gone(&self, table: u32, since: &str) -> Result<(Vec<Uuid>, Vec<Uuid>)> {
        let rows = self
            .database
            .session
            .query(
                "select g.row_id, g.version
                 from syncjournal.clone_gone($1, $2, $3::text::pg_catalog.pg_snapshot) g",
                &[&self.peer, &table, &since],
            )
            .await
            .map_err(|error| self.explain(error))?;
        let pairs = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
        let pairs: std::result::Result<Vec<(Uuid, Uuid)>, tokio_postgres::Error> = pairs.collect();
        Ok(pairs.map_err(|error| self.explain(error))?.into_iter().unzip())
    }

    pub(super) async fn sequences(&self, flow: &Flow) -> Result<Vec<ColumnSequence>> {
        let (include, exclude) = flow.lists();
        let rows = self
            .database
            .session
            .query(
                "select s.schema_name, s.table_name, s.column_name, s.last_value
                 from syncjournal.clone_sequences($1, $2, $3) s",
                &[&self.peer, &include, &exclude],
            )
            .await
            .map_err(|error| self.explain(error))?;
        let read = |row: &tokio_postgres::Row| {
            Ok(ColumnSequence {
                schema: row.try_get(0)?,
                table: row.try_get(1)?,
                column: row.try_get(2)?,
                last: row.try_get(3)?,
            })
        };
        let all: std::result::Result<_, tokio_postgres::Error> = rows.iter().map(read).collect();
        all.map_err(|error| self.explain(error))
    }
}

fn quoted(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if doubled.contains('\\') {
        return format!("e'{}'", doubled.replace('\\', "\\\\"));
    }
    format!("'{doubled}'")
}

/// What COPY hands on.
pub(super) type Chunk = Bytes;
