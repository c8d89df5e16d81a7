//! What both ends of a link must say alike, so that they settle conflicts alike.

use super::{Findings, Severity};
use crate::config::Flow;
use crate::database::Database;
use crate::error::Result;
use std::collections::BTreeMap;
use uuid::Uuid;

/// The rules of a table.
#[derive(Debug, PartialEq, Eq)]
struct Rules {
    policy: String,
    counters: Vec<String>,
    natural_key: Vec<String>,
    on_key_collision: String,
}

type Tables = BTreeMap<(String, String), Rules>;

/// Compares the tables that pass and are tracked at both ends.
pub(super) async fn check(
    source: &Database,
    target: &Database,
    flow: &Flow,
    passes: impl Fn(&str, &str) -> bool,
    findings: &mut Findings<'_>,
) -> Result<()> {
    let (there, here) = (rules(source).await?, rules(target).await?);
    let (mut count, mut same, mut by_priority) = (0, true, false);
    for ((schema, table), theirs) in &there {
        let Some(ours) = here.get(&(schema.clone(), table.clone())) else { continue };
        if !passes(schema, table) {
            continue;
        }
        count += 1;
        by_priority |= ours.policy == "node_priority";
        let name = format!("{schema}.{table}");
        same &= check_table(&name, theirs, ours, flow, findings);
    }
    if by_priority {
        same &= check_priority(source, target, flow, findings).await?;
    }
    if same && count > 0 {
        let detail = format!("{count} tables settle conflicts alike at both ends");
        findings.add(&flow.target.name, "conflict rules", Severity::Ok, &detail, "");
    }
    Ok(())
}

fn check_table(
    name: &str,
    theirs: &Rules,
    ours: &Rules,
    flow: &Flow,
    findings: &mut Findings<'_>,
) -> bool {
    let node = &flow.target.name;
    let one_way = ["keep_local", "apply_remote"];
    if flow.two_way && one_way.contains(&ours.policy.as_str()) {
        let detail = format!("{name}: policy {} and a link both ways never agree", ours.policy);
        let hint = format!(
            "Choose another: select syncjournal.alter_tracking('{name}', conflict_policy => '...');"
        );
        findings.add(node, "conflict rules", Severity::Error, &detail, &hint);
        return false;
    }
    if theirs == ours {
        return true;
    }
    // On a one-way link a difference may be meant: what the source settles by is its own affair.
    let severity = if flow.two_way { Severity::Error } else { Severity::Warning };
    let mut differ = Vec::new();
    if theirs.policy != ours.policy {
        differ.push(format!("policy {} here, {} at the source", ours.policy, theirs.policy));
    }
    if theirs.counters != ours.counters {
        let list = |names: &[String]| format!("{{{}}}", names.join(","));
        let (here, there) = (list(&ours.counters), list(&theirs.counters));
        differ.push(format!("counters {here} here, {there} at the source"));
    }
    if theirs.natural_key != ours.natural_key {
        let list = |names: &[String]| format!("{{{}}}", names.join(","));
        let (here, there) = (list(&ours.natural_key), list(&theirs.natural_key));
        differ.push(format!("natural key {here} here, {there} at the source"));
    }
    if theirs.on_key_collision != ours.on_key_collision {
        let (here, there) = (&ours.on_key_collision, &theirs.on_key_collision);
        differ.push(format!("on_key_collision {here} here, {there} at the source"));
    }
    let detail = format!("{name}: {}", differ.join("; "));
    let hint = format!(
        "Make them alike: select syncjournal.alter_tracking('{name}', \
         conflict_policy => '{}', counters => '{{{}}}');",
        theirs.policy,
        theirs.counters.join(",")
    );
    findings.add(node, "conflict rules", severity, &detail, &hint);
    false
}

async fn check_priority(
    source: &Database,
    target: &Database,
    flow: &Flow,
    findings: &mut Findings<'_>,
) -> Result<bool> {
    let (there, here) = (priority(source).await?, priority(target).await?);
    if there == here {
        return Ok(true);
    }
    let list: Vec<String> = there.iter().map(Uuid::to_string).collect();
    let hint = format!(
        "As at the source: select syncjournal.set_node_priority('{{{}}}');",
        list.join(",")
    );
    let detail = "the order of node_priority is not the source's";
    findings.add(&flow.target.name, "conflict rules", Severity::Error, detail, &hint);
    Ok(false)
}

async fn rules(database: &Database) -> Result<Tables> {
    let rows = database
        .session
        .query(
            "select n.nspname::text, c.relname::text, t.conflict_policy,
                    array(select x::text from pg_catalog.unnest(t.counters) x order by 1),
                    coalesce(t.natural_key::text[], '{}'), t.on_key_collision
             from syncjournal.tracked_table t join pg_catalog.pg_class c on c.oid = t.relation
                 join pg_catalog.pg_namespace n on n.oid = c.relnamespace",
            &[],
        )
        .await
        .map_err(|error| database.explain(error))?;
    rows.iter()
        .map(|row| {
            let rules = Rules {
                policy: row.try_get(2)?,
                counters: row.try_get(3)?,
                natural_key: row.try_get(4)?,
                on_key_collision: row.try_get(5)?,
            };
            Ok(((row.try_get(0)?, row.try_get(1)?), rules))
        })
        .collect::<std::result::Result<_, tokio_postgres::Error>>()
        .map_err(|error| database.explain(error))
}

async fn priority(database: &Database) -> Result<Vec<Uuid>> {
    let rows = database
        .session
        .query("select p.node_id from syncjournal.node_priority p order by p.priority", &[])
        .await
        .map_err(|error| database.explain(error))?;
    rows.iter()
        .map(|row| row.try_get(0))
        .collect::<std::result::Result<_, tokio_postgres::Error>>()
        .map_err(|error| database.explain(error))
}
