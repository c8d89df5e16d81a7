//! A node's database, met: a session, and who answers there.

use crate::config::{Flow, LinkOptions, Node};
use crate::conninfo::Address;
use crate::error::{Error, Kind, Result};
use crate::net::{Session, SessionName, open};
use std::sync::Arc;
use syncjournal_core::wire::NodeInfo;
use uuid::Uuid;

/// Waits for another agent that works on the same flow: a restart overlaps with its predecessor
/// until the server has noticed that the old connection is gone.
pub(crate) const LOCK_CLASS: i32 = 0x5359_4e43;

/// An SQL session with a database that is a node.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) node: Arc<Node>,
    pub(crate) session: Session,
    /// Where it was found, of several hosts.
    pub(crate) address: Address,
    pub(crate) identity: NodeInfo,
    /// Tells databases apart that are copies of each other: of a server that runs, the database.
    pub(crate) instance: String,
    /// Its place in the order in which changes are pushed, where it has one.
    pub(crate) rank: Option<i32>,
}

impl Database {
    pub(crate) async fn connect(node: &Arc<Node>, name: &SessionName) -> Result<Self> {
        let place = |error: Error| error.at(format_args!("node \"{}\"", node.name));
        let established = open(&node.endpoint, name).await.map_err(place)?;
        let (identity, instance, rank) = identity(&established.session).await.map_err(|error| {
            place(with_remedy(error, &node.endpoint.dbname, &node.endpoint.user))
        })?;
        Ok(Self {
            node: Arc::clone(node),
            session: established.session,
            address: established.address,
            identity,
            instance,
            rank,
        })
    }

    /// Asks anew who this is: the node may go on under another tag.
    pub(crate) async fn identify_again(&mut self) -> Result<()> {
        let again = identity(&self.session).await.map_err(|error| self.explain(error))?;
        (self.identity, self.instance) = (again.0, again.1);
        Ok(())
    }

    /// Says of an error at which node it happened, and what helps where the server does not.
    pub(crate) fn explain(&self, error: impl Into<Error>) -> Error {
        let Node { name, endpoint } = &*self.node;
        with_remedy(error.into(), &endpoint.dbname, &endpoint.user)
            .at(format_args!("node \"{name}\""))
    }

    /// Makes the peer at the other end known here and says under which name; refuses where the name
    /// is another node's.
    pub(crate) async fn register(
        &self,
        peer: &str,
        peer_node: Option<Uuid>,
        direction: &str,
        options: &LinkOptions,
    ) -> Result<String> {
        let row = self
            .session
            .query_one(
                "select syncjournal.register_link($1, $2, $3, $4, $5, $6)",
                &[
                    &peer,
                    &peer_node,
                    &direction,
                    &options.constraints,
                    &options.stop_on,
                    &options.slices,
                ],
            )
            .await
            .map_err(|error| self.explain(error))?;
        row.try_get(0).map_err(|error| self.explain(error))
    }

    /// Says what the links to a peer select.
    pub(crate) async fn link_selects(&self, peer: &str, flow: &Flow) -> Result<()> {
        let sql = "select syncjournal.link_selects($1, $2, $3)";
        let asked = self.session.execute(sql, &[&peer, &flow.include, &flow.exclude]).await;
        asked.map_err(|error| self.explain(error))?;
        Ok(())
    }

    /// The name under which a node goes among the peers here, if it does.
    pub(crate) async fn peer_of(&self, node: &NodeInfo, name: &str) -> Result<Option<String>> {
        let row = self
            .session
            .query_opt(
                "select p.name from syncjournal.peer p where p.node_id = $1 or p.name = $2
                 order by p.node_id = $1 desc nulls last limit 1",
                &[&node.node_id, &name],
            )
            .await
            .map_err(|error| self.explain(error))?;
        row.map(|row| row.try_get(0)).transpose().map_err(|error| self.explain(error))
    }

    /// Whether there is a peer of this name.
    pub(crate) async fn has_peer(&self, name: &str) -> Result<bool> {
        let row = self
            .session
            .query_one("select exists (select from syncjournal.peer p where p.name = $1)", &[&name])
            .await
            .map_err(|error| self.explain(error))?;
        row.try_get(0).map_err(|error| self.explain(error))
    }

    /// Leaves an error in the view of a peer.
    pub(crate) async fn note_error(&self, peer: &str, error: &str) -> Result<()> {
        self.session
            .execute("select syncjournal.note_error($1, $2)", &[&peer, &error])
            .await
            .map_err(|error| self.explain(error))?;
        Ok(())
    }

    /// From here on commits of this session do not wait for the disk, unless a person has set that
    /// for the role, the database or in the connection string. What is brought, and the position it
    /// leads to, commit together: a crash loses both or neither.
    pub(crate) async fn commit_without_waiting(&self) -> Result<()> {
        self.session
            .execute(
                "select pg_catalog.set_config(s.name, 'off', false) from pg_catalog.pg_settings s
                 where s.name = 'synchronous_commit'
                     and s.source not in ('client', 'user', 'database', 'database user')",
                &[],
            )
            .await
            .map_err(|error| self.explain(error))?;
        Ok(())
    }

    /// Takes the flow from `source` for this session; two agents on one flow would get in each
    /// other's way. False where another session has it.
    pub(crate) async fn claim(&self, source: Uuid) -> Result<bool> {
        let key = lock_key(source);
        let row = self
            .session
            .query_one("select pg_catalog.pg_try_advisory_lock($1, $2)", &[&LOCK_CLASS, &key])
            .await
            .map_err(|error| self.explain(error))?;
        row.try_get(0).map_err(|error| self.explain(error))
    }
}

/// A node as the second key of an advisory lock.
pub(crate) fn lock_key(node: Uuid) -> i32 {
    let [a, b, c, d, ..] = node.into_bytes();
    i32::from_be_bytes([a, b, c, d])
}

async fn identity(session: &Session) -> Result<(NodeInfo, String, Option<i32>)> {
    let row = session
        .query_opt(
            "select n.node_id, n.name, n.node_tag, s.system_identifier,
                    pg_catalog.concat_ws(' ', s.system_identifier,
                        pg_catalog.pg_postmaster_start_time(), pg_catalog.current_database()),
                    n.rank
             from syncjournal.node n, pg_catalog.pg_control_system() s where n.is_local",
            &[],
        )
        .await?;
    let Some(row) = row else {
        return Err(Error::new(Kind::Prerequisite, "this database is not a node yet").hint(
            "Name it: select syncjournal.create_node('name'); a restored copy of another: \
                   adopt_clone('name');",
        ));
    };
    let (tag, system): (i32, i64) = (row.try_get(2)?, row.try_get(3)?);
    let node = NodeInfo {
        node_id: row.try_get(0)?,
        name: row.try_get(1)?,
        tag: tag.cast_unsigned(),
        system_identifier: system.cast_unsigned(),
    };
    Ok((node, row.try_get(4)?, row.try_get(5)?))
}

/// Adds what helps against a missing prerequisite, where the server said nothing better.
fn with_remedy(error: Error, dbname: &str, user: &str) -> Error {
    let text = error.to_string();
    match error.code() {
        // The server's own hint would be about type casts.
        Some(code @ ("3F000" | "42P01" | "42883"))
            if text.contains("syncjournal") && text.contains("does not exist") =>
        {
            let message = format!(
                "extension \"syncjournal\" is missing or outdated in database \"{dbname}\""
            );
            Error::new(Kind::Prerequisite, message)
                .hint("create extension syncjournal; -- or: alter extension syncjournal update;")
                .sqlstate(code)
                .caused_by(error)
        }
        Some("42501") if error.hint_text().is_none() => {
            error.hint(format!("grant syncjournal_agent to \"{user}\";"))
        }
        _ => error,
    }
}
