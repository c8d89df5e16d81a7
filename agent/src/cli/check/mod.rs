//! `check`: the prerequisites at both ends of a link, each with its remedy. Changes nothing.

mod gates;
mod rules;
mod sequences;

use crate::config::{Config, Flow, Mode};
use crate::database::Database;
use crate::error::{Error, Result};
use crate::exit::Outcome;
use crate::net::SessionName;
use crate::output::{Table, print, print_json};
use crate::source::Source;
use clap::Args;
use serde::Serialize;
use std::collections::BTreeSet;
use syncjournal_core::pattern::Selection;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Links by name; all active ones if none is named
    #[arg(value_name = "LINK")]
    links: Vec<String>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    Ok,
    Warning,
    Error,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One prerequisite.
#[derive(Debug, Serialize)]
struct Finding {
    link: String,
    node: String,
    check: String,
    severity: Severity,
    detail: String,
    hint: String,
}

/// What is found at one node of one link.
struct Findings<'a> {
    link: &'a str,
    all: Vec<Finding>,
}

impl Findings<'_> {
    fn add(&mut self, node: &str, check: &str, severity: Severity, detail: &str, hint: &str) {
        self.all.push(Finding {
            link: self.link.to_owned(),
            node: node.to_owned(),
            check: check.to_owned(),
            severity,
            detail: detail.to_owned(),
            hint: hint.to_owned(),
        });
    }

    fn failed(&mut self, node: &str, check: &str, error: &Error) {
        let hint = error.hint_text().unwrap_or_default().to_owned();
        self.add(node, check, Severity::Error, &error.chain(), &hint);
    }
}

pub(super) async fn execute(config: &Config, arguments: &Arguments) -> Result<Outcome> {
    let mut all = Vec::new();
    for link in config.links(&arguments.links)? {
        let mut findings = Findings { link: &link.name, all: Vec::new() };
        let mut nodes_seen = BTreeSet::new();
        for flow in config.flows_of(std::slice::from_ref(&link))? {
            check_flow(&flow, &mut nodes_seen, &mut findings).await;
        }
        all.append(&mut findings.all);
    }
    if arguments.json {
        print_json(&all)?;
    } else {
        print(&table(&all).render())?;
    }
    let failed = all.iter().any(|finding| finding.severity == Severity::Error);
    Ok(if failed { Outcome::NeedsPerson } else { Outcome::Done })
}

async fn check_flow(flow: &Flow, seen: &mut BTreeSet<String>, findings: &mut Findings<'_>) {
    let name = SessionName::of_command("check");
    let mut ends = Vec::new();
    for node in [&flow.source, &flow.target] {
        match Database::connect(node, &name).await {
            Ok(database) => {
                if seen.insert(node.name.clone()) {
                    findings.add(&node.name, "connection", Severity::Ok, "a node answers", "");
                    if let Err(error) = check_node(&database, findings).await {
                        findings.failed(&node.name, "health", &error);
                    }
                }
                ends.push(database);
            }
            Err(error) if seen.insert(node.name.clone()) => {
                findings.failed(&node.name, "connection", &error);
            }
            Err(_) => {}
        }
    }
    let Ok([source, target]) = <[Database; 2]>::try_from(ends) else { return };
    let source = Source::new(source, flow.target.name.clone());
    if let Err(error) = check_source(&source, flow, findings).await {
        findings.failed(&flow.source.name, "streaming", &error);
    }
    if let Err(error) = gates::check(&source.database, &target, flow, findings).await {
        findings.failed(&flow.target.name, "gates", &error);
    }
    if let Err(error) = check_tables(&source, &target, flow, findings).await {
        findings.failed(&flow.source.name, "tables", &error);
    }
}

/// The role's rights, and what the extension finds of its own database.
async fn check_node(database: &Database, findings: &mut Findings<'_>) -> Result<()> {
    let node = &database.node.name;
    let row = database
        .session
        .query_one("select pg_catalog.pg_has_role(session_user, 'syncjournal_agent', 'usage')", &[])
        .await
        .map_err(|error| database.explain(error))?;
    if row.try_get(0).map_err(|error| database.explain(error))? {
        findings.add(node, "role", Severity::Ok, "is a member of syncjournal_agent", "");
    } else {
        let user = &database.node.endpoint.user;
        let detail = format!("role \"{user}\" is no member of syncjournal_agent");
        let hint = format!("grant syncjournal_agent to \"{user}\";");
        findings.add(node, "role", Severity::Error, &detail, &hint);
    }
    let rows = database
        .session
        .query(
            "select h.check_name, h.severity, h.detail, coalesce(h.hint, '')
             from syncjournal.health h",
            &[],
        )
        .await
        .map_err(|error| database.explain(error))?;
    for row in rows {
        let read =
            || -> std::result::Result<(String, String, String, String), tokio_postgres::Error> {
                Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))
            };
        let (check, severity, detail, hint) = read().map_err(|error| database.explain(error))?;
        let severity = match severity.as_str() {
            "ok" => Severity::Ok,
            "warning" => Severity::Warning,
            _ => Severity::Error,
        };
        findings.add(node, &check, severity, &detail, &hint);
    }
    Ok(())
}

/// Whether a live link can stream: without, it goes on by windows.
async fn check_source(source: &Source, flow: &Flow, findings: &mut Findings<'_>) -> Result<()> {
    if !matches!(flow.mode, Mode::Live) {
        return Ok(());
    }
    let node = &flow.source.name;
    match source.obstacle_to_streaming().await? {
        None => findings.add(node, "streaming", Severity::Ok, "can be streamed from", ""),
        Some(obstacle) => findings.add(
            node,
            "streaming",
            Severity::Warning,
            &format!("the link goes by windows: {obstacle}"),
            "Streaming needs wal_level = logical, free slots and senders, and a role with REPLICATION.",
        ),
    }
    if source.free_slots().await? <= 0 {
        findings.add(
            node,
            "slots",
            Severity::Warning,
            "every replication slot is in use",
            "Raise max_replication_slots, or drop slots that nobody uses.",
        );
    }
    Ok(())
}

/// What the lists select, and whether the target has it.
async fn check_tables(
    source: &Source,
    target: &Database,
    flow: &Flow,
    findings: &mut Findings<'_>,
) -> Result<()> {
    let node = &flow.source.name;
    let there = tracked(&source.database).await?;
    for pattern in &flow.include {
        let one = Selection::parse(std::slice::from_ref(pattern), &[])
            .map_err(|error| Error::config(error.to_string()))?;
        if !there.iter().any(|(schema, table)| one.selects(schema, table)) {
            let detail = format!("pattern \"{pattern}\" of the link matches no tracked table");
            let hint = "Correct the pattern, or track the table: select syncjournal.track('...');";
            findings.add(node, "patterns", Severity::Error, &detail, hint);
        }
    }
    let offered = match source.database.has_peer(&source.peer).await? {
        true => Some(source.offer().await?.selection()?),
        false => None,
    };
    let passes = |(schema, table): &&(String, String)| {
        flow.selection.selects(schema, table)
            && offered.as_ref().is_none_or(|list| list.selects(schema, table))
    };
    let here = tracked(target).await?;
    let missing: Vec<String> = there
        .iter()
        .filter(passes)
        .filter(|table| !here.contains(*table))
        .map(|(schema, table)| format!("{schema}.{table}"))
        .collect();
    let count = there.iter().filter(passes).count();
    if !missing.is_empty() {
        let detail = format!("not tracked here: {}", missing.join(", "));
        let hint = "Create the tables, and select syncjournal.track('...'); or exclude them.";
        findings.add(&flow.target.name, "tables", Severity::Error, &detail, hint);
    } else if count == 0 {
        let hint = "Widen the link's lists or the source's list for the peer (alter_peer).";
        findings.add(node, "tables", Severity::Error, "nothing is selected", hint);
    } else {
        let detail = format!("{count} tables are selected and are there at both ends");
        findings.add(node, "tables", Severity::Ok, &detail, "");
    }
    let passes = |schema: &str, table: &str| passes(&&(schema.to_owned(), table.to_owned()));
    rules::check(&source.database, target, flow, &passes, findings).await?;
    sequences::check(&source.database, target, flow, &passes, findings).await
}

async fn tracked(database: &Database) -> Result<BTreeSet<(String, String)>> {
    let rows = database
        .session
        .query(
            "select n.nspname::text, c.relname::text
             from syncjournal.tracked_table t join pg_catalog.pg_class c on c.oid = t.relation
                 join pg_catalog.pg_namespace n on n.oid = c.relnamespace",
            &[],
        )
        .await
        .map_err(|error| database.explain(error))?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect::<std::result::Result<_, tokio_postgres::Error>>()
        .map_err(|error| database.explain(error))
}

fn table(all: &[Finding]) -> Table {
    let mut table = Table::new(&["link", "node", "check", "severity", "detail", "hint"]);
    for finding in all {
        table.row([
            finding.link.clone(),
            finding.node.clone(),
            finding.check.clone(),
            finding.severity.as_str().to_owned(),
            finding.detail.clone(),
            finding.hint.clone(),
        ]);
    }
    table
}
