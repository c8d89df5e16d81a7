//! Rows that only the target has, looked for before a full set is brought: `on_extra`.
//!
//! The identities of both ends are read in order and compared as they come. The target's are read
//! under the earlier snapshot: a row that came from the source meanwhile is no extra one.

use super::ends::Ends;
use crate::config::{Extra, OnExtra};
use crate::database::Database;
use crate::error::{Error, Kind, Result};
use futures_util::TryStreamExt;
use serde::Serialize;
use std::pin::Pin;
use syncjournal_core::Operation;
use syncjournal_core::operations::{Restriction, permitted};
use syncjournal_core::pattern::Selection;
use tokio_postgres::RowStream;
use uuid::Uuid;

/// Rows deleted by one call.
const AT_A_TIME: usize = 10_000;

/// What a report names of them.
const MOST_NAMED: usize = 20;

/// The extra rows of one table.
#[derive(Debug)]
struct TableExtras {
    relation: String,
    /// All rows of the target's table.
    rows: u64,
    extra: Vec<Uuid>,
    /// The peer may delete here.
    may_go: bool,
}

/// What is said of them.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ExtraReport {
    pub(crate) relation: String,
    pub(crate) rows: u64,
    pub(crate) extra: u64,
    pub(crate) deleted: u64,
    /// The first few.
    pub(crate) row_ids: Vec<String>,
}

/// Does with extra rows what the link says; fails before anything is written where more would go than
/// it allows.
pub(super) async fn handle(ends: &Ends) -> Result<Vec<ExtraReport>> {
    let Some(extra) = ends.flow.options.extra else { return Ok(Vec::new()) };
    if extra.action == OnExtra::Keep {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    let restrictions = restrictions(ends).await?;
    for (schema, table, relation) in shared_tables(ends).await? {
        let may_go = permitted(&restrictions, &schema, &table).allow(Operation::Delete);
        found.push(compare(ends, relation, may_go).await?);
    }
    found.retain(|table| !table.extra.is_empty());
    if extra.action == OnExtra::Delete {
        guard(&extra, &found).map_err(|error| error.at(&ends.flow))?;
        delete(ends, &found).await?;
    }
    let deletes = extra.action == OnExtra::Delete;
    Ok(found.iter().map(|table| table.report(deletes)).collect())
}

impl TableExtras {
    fn count(&self) -> u64 {
        self.extra.len() as u64
    }

    fn report(&self, deletes: bool) -> ExtraReport {
        let named = self.extra.iter().take(MOST_NAMED);
        ExtraReport {
            relation: self.relation.clone(),
            rows: self.rows,
            extra: self.count(),
            deleted: if deletes && self.may_go { self.count() } else { 0 },
            row_ids: named.map(Uuid::to_string).collect(),
        }
    }
}

/// Tables that are tracked at both ends and that all lists select. Of one that goes by slices the
/// target has a part alone: what it has more came otherwise, or was kept.
async fn shared_tables(ends: &Ends) -> Result<Vec<(String, String, String)>> {
    let accepted = ends.target.accepted(&ends.target_peer).await?;
    let offered = match ends.offer_if_known().await? {
        Some(offer) => offer.selection()?,
        None => {
            Selection::parse(&["*.*"], &[]).map_err(|error| Error::protocol(error.to_string()))?
        }
    };
    let mut there = tracked(&ends.source.database).await?;
    let sliced = ends.source.sliced_tables().await?;
    there.retain(|(_, _, relation)| !sliced.contains(relation));
    let mut here = tracked(&ends.target.database).await?;
    let lists = [&accepted, &offered, &ends.flow.selection];
    here.retain(|table| {
        there.contains(table) && lists.iter().all(|list| list.selects(&table.0, &table.1))
    });
    Ok(here)
}

async fn tracked(database: &Database) -> Result<Vec<(String, String, String)>> {
    let rows = database
        .session
        .query(
            "select n.nspname::text, c.relname::text, pg_catalog.format('%I.%I', n.nspname, c.relname)
             from syncjournal.tracked_table t
                 join pg_catalog.pg_class c on c.oid = t.relation
                 join pg_catalog.pg_namespace n on n.oid = c.relnamespace
             order by 1, 2",
            &[],
        )
        .await
        .map_err(|error| database.explain(error))?;
    let read = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)));
    let read: std::result::Result<_, tokio_postgres::Error> = read.collect();
    read.map_err(|error| database.explain(error))
}

/// Those of the source, and the target's own.
async fn restrictions(ends: &Ends) -> Result<Vec<Restriction>> {
    let mut all = ends.target.restrictions(&ends.target_peer).await?;
    if let Some(offer) = ends.offer_if_known().await? {
        all.extend(offer.terms.restrictions);
    }
    Ok(all)
}

async fn compare(ends: &Ends, relation: String, may_go: bool) -> Result<TableExtras> {
    let mut here = Identities::open(&ends.target.database, &relation).await?;
    let mut there = Identities::open(&ends.source.database, &relation).await?;
    let mut found = TableExtras { relation, rows: 0, extra: Vec::new(), may_go };
    let mut at_source = there.next().await?;
    while let Some(id) = here.next().await? {
        found.rows += 1;
        while at_source.is_some_and(|source| source < id) {
            at_source = there.next().await?;
        }
        if at_source != Some(id) {
            found.extra.push(id);
        }
    }
    while at_source.is_some() {
        at_source = there.next().await?;
    }
    Ok(found)
}

/// A table's identities, one after another.
struct Identities<'a> {
    database: &'a Database,
    rows: Pin<Box<RowStream>>,
}

impl<'a> Identities<'a> {
    async fn open(database: &'a Database, relation: &str) -> Result<Self> {
        let sql = "select syncjournal.row_identities($1::text::pg_catalog.regclass)";
        let rows = database.session.query_raw(sql, [relation]).await;
        let rows = Box::pin(rows.map_err(|error| database.explain(error))?);
        Ok(Self { database, rows })
    }

    async fn next(&mut self) -> Result<Option<Uuid>> {
        let row = self.rows.try_next().await.map_err(|error| self.database.explain(error))?;
        let id = row.map(|row| row.try_get(0)).transpose();
        id.map_err(|error| self.database.explain(error))
    }
}

/// Stops where more would go than the link allows.
fn guard(extra: &Extra, found: &[TableExtras]) -> Result<()> {
    let going = found.iter().filter(|table| table.may_go);
    let all: u64 = going.clone().map(TableExtras::count).sum();
    let stop = |message: String, limit: String| {
        Err(Error::new(Kind::Prerequisite, message).detail(limit).hint(
            "Nothing was written. See that the source is whole; on_extra = \"report\" lists the rows. \
             If they are to go, raise the limit.",
        ))
    };
    if extra.max_rows.is_some_and(|most| all > most) {
        let most = extra.max_rows.unwrap_or_default();
        let message = format!("{all} rows that only the target has would be deleted");
        return stop(message, format!("max_delete_rows is {most}."));
    }
    for table in going {
        if u128::from(table.count()) * 1_000_000
            > u128::from(table.rows) * u128::from(extra.most_millionths)
        {
            let TableExtras { relation, rows, .. } = table;
            let message = format!(
                "{} of {rows} rows of {relation} at the target would be deleted",
                table.count()
            );
            let fraction = f64::from(extra.most_millionths) / 1e6;
            return stop(message, format!("max_delete_fraction is {fraction}."));
        }
    }
    Ok(())
}

/// All or nothing.
async fn delete(ends: &Ends, found: &[TableExtras]) -> Result<()> {
    let going: Vec<&TableExtras> = found.iter().filter(|table| table.may_go).collect();
    if going.is_empty() {
        return Ok(());
    }
    ends.target.begin_own().await?;
    for table in going {
        for ids in table.extra.chunks(AT_A_TIME) {
            ends.target.delete_extra(&ends.target_peer, &table.relation, ids).await?;
        }
        let (relation, rows) = (&table.relation, table.extra.len());
        tracing::warn!(%relation, rows, "deleted rows that only the target had");
    }
    ends.target.end_own().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(extra: usize, rows: u64, may_go: bool) -> TableExtras {
        let extra = vec![Uuid::nil(); extra];
        TableExtras { relation: "public.item".into(), rows, extra, may_go }
    }

    fn stops(max_rows: Option<u64>, most_millionths: u32, found: &[TableExtras]) -> bool {
        guard(&Extra { action: OnExtra::Delete, max_rows, most_millionths }, found).is_err()
    }

    #[test]
    fn the_guard_counts_all_rows_and_each_tables_share() {
        assert!(!stops(None, 500_000, &[table(5, 10, true)]));
        assert!(stops(None, 500_000, &[table(1, 10, true), table(6, 10, true)]));
        assert!(stops(None, 999_999, &[table(10, 10, true)]));
        assert!(!stops(None, 1_000_000, &[table(10, 10, true)]));
        assert!(stops(Some(9), 1_000_000, &[table(5, 10, true), table(5, 10, true)]));
        assert!(!stops(Some(5), 1_000_000, &[table(5, 10, true), table(5, 10, false)]));
        assert!(stops(Some(0), 1_000_000, &[table(1, 10, true)]));
    }
}
