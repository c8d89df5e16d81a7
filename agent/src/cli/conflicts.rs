//! `conflicts`: what both sides had changed, at the nodes where it was met.

use crate::config::{Config, Node};
use crate::database::Database;
use crate::error::{Error, Result};
use crate::exit::Outcome;
use crate::logging;
use crate::net::SessionName;
use crate::output::{Table, print, print_json};
use clap::Args;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Links by name; all active ones if none is named
    #[arg(value_name = "LINK")]
    links: Vec<String>,
    /// Also those that are settled
    #[arg(long)]
    all: bool,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// A conflict, as the node where it was met tells it.
#[derive(Debug, Serialize)]
pub(super) struct Conflict {
    pub(super) id: i64,
    pub(super) node: String,
    pub(super) peer: Option<String>,
    pub(super) when: String,
    pub(super) relation: String,
    pub(super) row: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) policy: String,
    pub(super) base: Option<Value>,
    pub(super) local: Option<Value>,
    pub(super) remote: Option<Value>,
    pub(super) winner: Option<String>,
    pub(super) status: String,
}

/// Which conflicts of a node.
pub(super) enum Which<'a> {
    One(i64),
    /// From these nodes, by the names that they have in the configuration; from any where none is
    /// named.
    From {
        nodes: &'a [Arc<Node>],
        settled_too: bool,
    },
}

/// Nodes are independent: one that is not there does not hide what is known of the others.
pub(super) async fn execute(config: &Config, arguments: &Arguments) -> Result<Outcome> {
    let flows = config.flows_of(&config.links(&arguments.links)?)?;
    let mut sources_of: BTreeMap<&str, (&Arc<Node>, Vec<Arc<Node>>)> = BTreeMap::new();
    for flow in &flows {
        let known = sources_of.entry(&flow.target.name).or_insert((&flow.target, Vec::new()));
        if !arguments.links.is_empty() {
            known.1.push(Arc::clone(&flow.source));
        }
    }
    let (mut all, mut failures) = (Vec::new(), Vec::new());
    for (node, sources) in sources_of.into_values() {
        let which = Which::From { nodes: &sources, settled_too: arguments.all };
        match conflicts_at(node, which).await {
            Ok(mut found) => all.append(&mut found),
            Err(error) => failures.push(error),
        }
    }
    if arguments.json {
        print_json(&all)?;
    } else {
        print(&table(&all).render())?;
    }
    match failures.pop() {
        None => Ok(Outcome::Done),
        Some(last) => {
            failures.iter().for_each(logging::report);
            Err(last)
        }
    }
}

/// Oldest first.
async fn conflicts_at(node: &Arc<Node>, which: Which<'_>) -> Result<Vec<Conflict>> {
    let name = SessionName::of_command("conflicts");
    let database = Database::connect(node, &name).await?;
    let mut peers = None;
    if let Which::From { nodes, .. } = &which
        && !nodes.is_empty()
    {
        let mut names = Vec::new();
        for source in nodes.iter() {
            // Under the name that its peer has here, where it can be asked who it is.
            let known = match Database::connect(source, &name).await {
                Ok(there) => database.peer_of(&there.identity, &source.name).await?,
                Err(_) => None,
            };
            names.push(known.unwrap_or_else(|| source.name.clone()));
        }
        peers = Some(names);
    }
    find(&database, &which, peers.as_deref()).await
}

/// Looks into the view of a database.
pub(super) async fn find(
    database: &Database,
    which: &Which<'_>,
    peers: Option<&[String]>,
) -> Result<Vec<Conflict>> {
    let (id, settled_too) = match which {
        Which::One(id) => (Some(*id), true),
        Which::From { settled_too, .. } => (None, *settled_too),
    };
    let rows = database
        .session
        .query(
            "select c.conflict_id, c.peer, c.detected_at::text, c.relation, c.row_id::text,
                    c.conflict_type, c.policy, c.base::text, c.local::text, c.remote::text,
                    c.winner, c.status
             from syncjournal.conflict c
             where ($1::int8 is null or c.conflict_id = $1)
                 and ($2 or c.status = 'pending') and ($3::text[] is null or c.peer = any ($3))
             order by c.conflict_id",
            &[&id, &settled_too, &peers],
        )
        .await
        .map_err(|error| database.explain(error))?;
    let read = |row: &tokio_postgres::Row| -> Result<Conflict> {
        Ok(Conflict {
            id: row.try_get(0)?,
            node: database.node.name.clone(),
            peer: row.try_get(1)?,
            when: row.try_get(2)?,
            relation: row.try_get(3)?,
            row: row.try_get(4)?,
            kind: row.try_get(5)?,
            policy: row.try_get(6)?,
            base: json(row.try_get(7)?)?,
            local: json(row.try_get(8)?)?,
            remote: json(row.try_get(9)?)?,
            winner: row.try_get(10)?,
            status: row.try_get(11)?,
        })
    };
    rows.iter().map(|row| read(row).map_err(|error| database.explain(error))).collect()
}

fn json(text: Option<String>) -> Result<Option<Value>> {
    text.map(|text| serde_json::from_str(&text))
        .transpose()
        .map_err(|error| Error::protocol("the server's JSON cannot be read").caused_by(error))
}

pub(super) fn table(all: &[Conflict]) -> Table {
    let mut table = Table::new(&[
        "id", "node", "when", "relation", "row", "type", "policy", "base", "local", "remote",
        "winner", "status",
    ]);
    for one in all {
        let text = |value: &Option<Value>| value.as_ref().map(Value::to_string).unwrap_or_default();
        table.row([
            one.id.to_string(),
            one.node.clone(),
            one.when.clone(),
            one.relation.clone(),
            one.row.clone(),
            one.kind.clone(),
            one.policy.clone(),
            text(&one.base),
            text(&one.local),
            text(&one.remote),
            one.winner.clone().unwrap_or_default(),
            one.status.clone(),
        ]);
    }
    table
}
