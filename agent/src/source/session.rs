//! What is asked of a source's database by SQL.

use super::window::{Purpose, Window, WindowMode};
use crate::config::Flow;
use crate::database::Database;
use crate::error::{Error, Kind, Result};
use crate::net::SessionName;
use crate::replication::Lsn;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use syncjournal_core::Snapshot;
use syncjournal_core::pattern::Selection;
use syncjournal_core::slice::{Audience, Lock, SliceId};
use syncjournal_core::wire::Terms;
use tokio::sync::OnceCell;
use tokio_postgres::{Row, Statement};
use uuid::Uuid;

/// Between two looks whether a transaction that was decoded is seen by others.
const VISIBILITY_POLL: Duration = Duration::from_millis(2);

/// A session with the source, for one of its peers.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) database: Database,
    /// The target's name, which is the peer's name here.
    pub(crate) peer: String,
    /// For a live flow, which tells its position once a second.
    confirm: OnceCell<Statement>,
}

/// What the source lets the peer have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) include: Vec<String>,
    pub(crate) exclude: Vec<String>,
    pub(crate) active: bool,
    /// Whether the peer may receive at all.
    pub(crate) sends: bool,
    /// The origin that frames from this peer carry in the journal here.
    pub(crate) peer_id: i16,
    /// The slices named for the peer, and how they stand.
    pub(crate) slices: String,
    /// What is said to the peer with every batch.
    pub(crate) terms: Terms,
}

impl Offer {
    pub(crate) fn selection(&self) -> Result<Selection> {
        Selection::parse(&self.include, &self.exclude).map_err(|error| {
            Error::new(Kind::Server, "the source's list for the peer cannot be read")
                .caused_by(error)
        })
    }
}

/// Everything visible in `snapshot` commits before `lsn`.
#[derive(Debug, Clone)]
pub(crate) struct StreamPosition {
    pub(crate) snapshot: Snapshot,
    pub(crate) lsn: Lsn,
    /// What had come from other nodes by then: how far the source was with each.
    pub(crate) received: Arc<HashMap<Uuid, Snapshot>>,
}

impl Source {
    pub(crate) async fn connect(flow: &Flow, name: &SessionName) -> Result<Self> {
        let database = Database::connect(&flow.source, name).await?;
        Ok(Self::new(database, flow.target.name.clone()))
    }

    pub(crate) fn new(database: Database, peer: String) -> Self {
        Self { database, peer, confirm: OnceCell::new() }
    }

    pub(crate) fn explain(&self, error: impl Into<Error>) -> Error {
        self.database.explain(error)
    }

    pub(crate) async fn offer(&self) -> Result<Offer> {
        let row = self
            .database
            .session
            .query_opt(
                "select f.include, f.exclude, f.active, f.direction, f.peer_id, t.rank,
                        t.restrictions, f.slices
                 from syncjournal.peer_filter($1) f, syncjournal.peer_terms($1) t",
                &[&self.peer],
            )
            .await
            .map_err(|error| self.explain(error))?
            .ok_or_else(|| {
                self.explain(
                    Error::new(Kind::Prerequisite, format!("there is no peer \"{}\"", self.peer))
                        .hint("Run `syncjournal-agent sync`, which registers both ends."),
                )
            })?;
        offer_of(&row).map_err(|error| self.explain(error))
    }

    /// Waits until the transaction can be seen: a commit is decoded a moment before that, longer where
    /// the source waits for a standby.
    pub(crate) async fn until_visible(&self, xid: u64) -> Result<()> {
        let sql = "select pg_catalog.pg_visible_in_snapshot($1::text::xid8,
                pg_catalog.pg_current_snapshot())";
        loop {
            let row = self.database.session.query_one(sql, &[&xid.to_string()]).await;
            if row.map_err(|error| self.explain(error))?.get(0) {
                return Ok(());
            }
            tokio::time::sleep(VISIBILITY_POLL).await;
        }
    }

    /// The slices by which the peer has the table of a layout, and when they were locked; `Nothing`
    /// where it has it by its lists.
    pub(crate) async fn slices_of(&self, layout_id: i32) -> Result<(Audience, Vec<Lock>)> {
        let sql = "select s.slice_id, s.on_leave = 'keep', s.locks
            from syncjournal.layout_slices($1, $2) s";
        let rows = self.database.session.query(sql, &[&self.peer, &layout_id]).await;
        let rows = rows.map_err(|error| self.explain(error))?;
        if rows.is_empty() {
            return Ok((Audience::Nothing, Vec::new()));
        }
        let (mut slices, mut keep, mut locks) = (Vec::new(), Vec::new(), Vec::new());
        for row in &rows {
            let get = || {
                let slice: i32 = row.try_get(0)?;
                Ok::<_, tokio_postgres::Error>((slice, row.try_get(1)?, row.try_get(2)?))
            };
            let (slice, keeps, locked): (_, bool, Vec<String>) =
                get().map_err(|error| self.explain(error))?;
            let slice = slice as SliceId;
            slices.push(slice);
            keep.extend(keeps.then_some(slice));
            for text in locked {
                locks.push(text.parse().map_err(|error| {
                    Error::protocol("the source's locks cannot be read").caused_by(error)
                })?);
            }
        }
        // What is locked shows with each transaction.
        Ok((Audience::Slices { slices, locked: Vec::new(), keep }, locks))
    }

    /// The tables that the peer has by slices.
    pub(crate) async fn sliced_tables(&self) -> Result<Vec<String>> {
        let rows = self
            .database
            .session
            .query(
                "select distinct pg_catalog.format('%I.%I', n.nspname, c.relname)
                 from syncjournal.slices s
                     join pg_catalog.pg_class c on c.oid = s.relation
                     join pg_catalog.pg_namespace n on n.oid = c.relnamespace
                 where $1 = any (s.peers)",
                &[&self.peer],
            )
            .await
            .map_err(|error| self.explain(error))?;
        let names = rows.iter().map(|row| row.try_get(0)).collect::<std::result::Result<_, _>>();
        names.map_err(|error: tokio_postgres::Error| self.explain(error))
    }

    /// Refuses patterns of the links that match nothing the source has: mostly a misspelling.
    pub(crate) async fn check_patterns(&self, flow: &Flow) -> Result<()> {
        let (Some(include), exclude) = flow.lists() else { return Ok(()) };
        self.database
            .session
            .execute(
                "select from syncjournal.exported_tables($1, $2, $3)",
                &[&self.peer, &include, &exclude],
            )
            .await
            .map_err(|error| self.explain(error))?;
        Ok(())
    }

    /// Begins to read a sync set.
    pub(crate) async fn window<'a>(
        &'a mut self,
        mode: WindowMode,
        flow: &Flow,
        purpose: Purpose<'_>,
    ) -> Result<Window<'a>> {
        Window::open(self, mode, flow, purpose).await
    }

    /// Whether the peer ever had a whole set of this source: what exists only as rows that were
    /// there when their table was tracked comes with a full one.
    pub(crate) async fn has_confirmed(&self) -> Result<bool> {
        let row = self
            .database
            .session
            .query_one(
                "select exists (select from syncjournal.sync_set s where s.peer = $1
                     and s.direction = 'sent' and s.confirmed_at is not null)",
                &[&self.peer],
            )
            .await
            .map_err(|error| self.explain(error))?;
        row.try_get(0).map_err(|error| self.explain(error))
    }

    /// Tells the source what the peer has.
    pub(crate) async fn confirm_position(&self, snapshot: &Snapshot) -> Result<()> {
        let session = &self.database.session;
        let sql = "select syncjournal.confirm_position($1, $2::text::pg_catalog.pg_snapshot)";
        let told = async {
            let statement = self.confirm.get_or_try_init(|| session.prepare(sql)).await?;
            session.execute(statement, &[&self.peer, &snapshot.to_string()]).await
        };
        told.await.map_err(|error| self.explain(error))?;
        Ok(())
    }

    pub(crate) async fn confirm_set(&self, set_id: Uuid) -> Result<()> {
        self.database
            .session
            .execute("select syncjournal.confirm_sync($1)", &[&set_id])
            .await
            .map_err(|error| self.explain(error))?;
        Ok(())
    }

    pub(crate) async fn ensure_publication(&self) -> Result<()> {
        self.database
            .session
            .execute("select syncjournal.ensure_publication()", &[])
            .await
            .map_err(|error| self.explain(error))?;
        Ok(())
    }

    pub(crate) async fn stream_position(&self) -> Result<StreamPosition> {
        let row = self
            .database
            .session
            .query_one("select p.snapshot::text, p.lsn, p.received::text from syncjournal.stream_position() p", &[])
            .await
            .map_err(|error| self.explain(error))?;
        let text: String = row.try_get(0).map_err(|error| self.explain(error))?;
        let lsn: Lsn = row.try_get(1).map_err(|error| self.explain(error))?;
        let received: String = row.try_get(2).map_err(|error| self.explain(error))?;
        let unreadable = || Error::protocol("the source's positions cannot be read");
        let received: HashMap<String, String> =
            serde_json::from_str(&received).map_err(|error| unreadable().caused_by(error))?;
        let received = received
            .into_iter()
            .map(|(node, text)| {
                let node = Uuid::parse_str(&node).map_err(|error| unreadable().caused_by(error))?;
                Ok((node, parse_snapshot(&text)?))
            })
            .collect::<Result<_>>()?;
        Ok(StreamPosition { snapshot: parse_snapshot(&text)?, lsn, received: Arc::new(received) })
    }

    /// Whether the journal holds anything that the peer has not confirmed.
    pub(crate) async fn is_ahead(&self) -> Result<bool> {
        let row = self
            .database
            .session
            .query_one(
                "select s.lag_entries > 0 from syncjournal.stat_peer s where s.name = $1",
                &[&self.peer],
            )
            .await
            .map_err(|error| self.explain(error))?;
        row.try_get(0).map_err(|error| self.explain(error))
    }

    /// What a slot's exported snapshot sees.
    pub(crate) async fn exported_snapshot(&self, name: &str) -> Result<Snapshot> {
        let session = &self.database.session;
        // The name is the server's own: hexadecimal digits and dashes.
        let begin = format!(
            "begin isolation level repeatable read read only; set transaction snapshot '{}'",
            name.replace('\'', "''")
        );
        session.batch_execute(&begin).await.map_err(|error| self.explain(error))?;
        let row = session
            .query_one("select pg_catalog.pg_current_snapshot()::text", &[])
            .await
            .map_err(|error| self.explain(error))?;
        session.batch_execute("commit").await.map_err(|error| self.explain(error))?;
        let text: String = row.try_get(0).map_err(|error| self.explain(error))?;
        parse_snapshot(&text)
    }

    /// Why there can be no live stream from here; None where there can.
    pub(crate) async fn obstacle_to_streaming(&self) -> Result<Option<String>> {
        let row = self
            .database
            .session
            .query_one(
                "select pg_catalog.current_setting('wal_level'),
                        pg_catalog.current_setting('max_wal_senders')::int,
                        pg_catalog.current_setting('max_replication_slots')::int,
                        pg_catalog.pg_is_in_recovery(),
                        (select r.rolreplication or r.rolsuper from pg_catalog.pg_roles r
                         where r.rolname = session_user)",
                &[],
            )
            .await
            .map_err(|error| self.explain(error))?;
        let get =
            || -> std::result::Result<(String, i32, i32, bool, bool), tokio_postgres::Error> {
                Ok((
                    row.try_get(0)?,
                    row.try_get(1)?,
                    row.try_get(2)?,
                    row.try_get(3)?,
                    row.try_get(4)?,
                ))
            };
        let (wal_level, senders, slots, standby, replication) =
            get().map_err(|error| self.explain(error))?;
        Ok(match (wal_level.as_str(), senders, slots, standby, replication) {
            (_, _, _, true, _) => Some("the server is a standby".into()),
            ("logical", 0, ..) => Some("max_wal_senders is 0".into()),
            ("logical", _, 0, ..) => Some("max_replication_slots is 0".into()),
            ("logical", _, _, _, false) => {
                Some(format!("role \"{}\" has no REPLICATION", self.database.node.endpoint.user))
            }
            ("logical", ..) => None,
            (other, ..) => Some(format!("wal_level is {other}, not logical")),
        })
    }

    /// Replication slots that nobody has.
    pub(crate) async fn free_slots(&self) -> Result<i64> {
        let row = self
            .database
            .session
            .query_one(
                "select pg_catalog.current_setting('max_replication_slots')::int8
                      - pg_catalog.count(*) from pg_catalog.pg_replication_slots",
                &[],
            )
            .await
            .map_err(|error| self.explain(error))?;
        row.try_get(0).map_err(|error| self.explain(error))
    }

    /// The oldest transaction that is open: the making of a slot waits for it.
    pub(crate) async fn oldest_transaction(&self) -> Result<Option<String>> {
        let row = self
            .database
            .session
            .query_opt(
                "select a.backend_xid::text from pg_catalog.pg_stat_activity a
                 where a.backend_xid is not null and a.pid <> pg_catalog.pg_backend_pid()
                 order by a.xact_start limit 1",
                &[],
            )
            .await
            .map_err(|error| self.explain(error))?;
        row.map(|row| row.try_get(0)).transpose().map_err(|error| self.explain(error))
    }
}

fn offer_of(row: &Row) -> Result<Offer> {
    let direction: String = row.try_get(3)?;
    let restrictions: Vec<String> = row.try_get(6)?;
    let restrictions =
        restrictions.iter().map(|text| text.parse()).collect::<std::result::Result<_, _>>();
    let restrictions = restrictions
        .map_err(|error| Error::protocol("the source's terms cannot be read").caused_by(error))?;
    // That the peer is off is for a set without rows to say, which the source makes.
    let terms = Terms { switched_off: false, rank: row.try_get(5)?, restrictions };
    Ok(Offer {
        include: row.try_get(0)?,
        exclude: row.try_get(1)?,
        active: row.try_get(2)?,
        sends: direction != "receive",
        peer_id: row.try_get(4)?,
        slices: row.try_get(7)?,
        terms,
    })
}

pub(crate) fn parse_snapshot(text: &str) -> Result<Snapshot> {
    text.parse().map_err(|error: syncjournal_core::snapshot::InvalidSnapshot| {
        Error::protocol("the server's snapshot cannot be read").caused_by(error)
    })
}
