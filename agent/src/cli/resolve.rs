//! `resolve`: a person's word on a conflict that waits for it.
//!
//! Numbers of conflicts are each database's own. Where no node is named, the one that has a pending
//! conflict of this number is taken, if it is only one.

use super::conflicts::{Conflict, Which, find, table};
use crate::config::{Config, Node};
use crate::database::Database;
use crate::error::{Error, Kind, Result};
use crate::exit::Outcome;
use crate::net::SessionName;
use crate::output::{print, print_json};
use clap::{Args, ValueEnum};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The conflict's id, as `conflicts` shows it
    #[arg(value_name = "ID")]
    id: i64,
    /// Which side stays
    #[arg(long, value_enum, required_unless_present = "row")]
    choice: Option<Choice>,
    /// A row of one's own instead
    #[arg(long, value_name = "JSON", conflicts_with = "choice")]
    row: Option<String>,
    /// The node where the conflict is: ids are each database's own
    #[arg(long, value_name = "NODE", conflicts_with = "link")]
    node: Option<String>,
    /// The link at whose ends to look for it
    #[arg(long, value_name = "LINK")]
    link: Option<String>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Choice {
    Local,
    Remote,
}

impl Arguments {
    fn choice(&self) -> &'static str {
        match self.choice {
            Some(Choice::Local) => "local",
            Some(Choice::Remote) => "remote",
            None => "row",
        }
    }
}

pub(super) async fn execute(config: &Config, arguments: &Arguments) -> Result<Outcome> {
    if let Some(row) = &arguments.row {
        serde_json::from_str::<serde::de::IgnoredAny>(row).map_err(|error| {
            Error::config("the row is not JSON")
                .caused_by(error)
                .hint("Give its columns, for example: --row '{\"label\": \"agreed\"}'.")
        })?;
    }
    let mut found = Vec::new();
    for node in nodes(config, arguments)? {
        let database = Database::connect(&node, &SessionName::of_command("resolve")).await?;
        let which = Which::One(arguments.id);
        for conflict in find(&database, &which, None).await? {
            found.push((node.name.clone(), conflict));
        }
    }
    let (node, _) = only(arguments.id, found)?;
    let database =
        Database::connect(config.node(&node)?, &SessionName::of_command("resolve")).await?;
    database
        .session
        .execute(
            "select syncjournal.resolve_conflict($1, $2, $3::text::pg_catalog.jsonb)",
            &[&arguments.id, &arguments.choice(), &arguments.row],
        )
        .await
        .map_err(|error| database.explain(error))?;
    let now = find(&database, &Which::One(arguments.id), None).await?;
    if arguments.json {
        print_json(&now)?;
    } else {
        print(&table(&now).render())?;
    }
    Ok(Outcome::Done)
}

/// Where to look: at the node that is named, at the link's ends, or wherever links lead to.
fn nodes(config: &Config, arguments: &Arguments) -> Result<Vec<Arc<Node>>> {
    if let Some(name) = &arguments.node {
        return Ok(vec![Arc::clone(config.node(name)?)]);
    }
    let links = config.links(arguments.link.as_slice())?;
    let mut nodes = BTreeMap::new();
    for flow in config.flows_of(&links)? {
        nodes.insert(flow.target.name.clone(), flow.target);
    }
    Ok(nodes.into_values().collect())
}

/// The only one that is pending, or the only one.
fn only(id: i64, mut found: Vec<(String, Conflict)>) -> Result<(String, Conflict)> {
    let nodes = |found: &[(String, Conflict)]| {
        found.iter().map(|(node, _)| format!("\"{node}\"")).collect::<Vec<_>>().join(" and ")
    };
    if found.iter().filter(|(_, conflict)| conflict.status == "pending").count() == 1 {
        found.retain(|(_, conflict)| conflict.status == "pending");
    }
    if found.len() > 1 {
        return Err(Error::config(format!("nodes {} have a conflict {id} each", nodes(&found)))
            .hint("Name the node: --node NODE. `syncjournal-agent conflicts` shows them."));
    }
    found.pop().ok_or_else(|| {
        Error::new(Kind::Server, format!("there is no conflict {id}"))
            .hint("`syncjournal-agent conflicts` lists what waits for a person.")
    })
}
