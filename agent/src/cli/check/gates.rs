//! What would keep a flow from going at all: ranks, and peers that are switched off.

use super::{Findings, Severity};
use crate::config::Flow;
use crate::database::Database;
use crate::error::Result;

pub(super) async fn check(
    source: &Database,
    target: &Database,
    flow: &Flow,
    findings: &mut Findings<'_>,
) -> Result<()> {
    ranks(source, target, flow, findings);
    for (here, there) in [(source, target), (target, source)] {
        let Some(peer) = here.peer_of(&there.identity, &there.node.name).await? else { continue };
        if !is_active(here, &peer).await? {
            findings.add(
                &here.node.name,
                "switches",
                Severity::Warning,
                &format!("peer \"{peer}\" is not active here: nothing goes"),
                "select syncjournal.alter_peer(name, active => true); see view syncjournal.activity.",
            );
        }
    }
    Ok(())
}

fn ranks(source: &Database, target: &Database, flow: &Flow, findings: &mut Findings<'_>) {
    let Some((from, to)) = source.rank.zip(target.rank) else { return };
    let node = &target.node.name;
    if from <= to {
        findings.add(node, "ranks", Severity::Ok, &format!("from rank {from} to {to}"), "");
    } else if flow.options.allow_backward == Some(true) {
        let detail = format!("from rank {from} to {to}: backward, as the link allows");
        findings.add(node, "ranks", Severity::Ok, &detail, "");
    } else {
        let detail = format!("from rank {from} to {to}: this would go backward and is refused");
        let hint = "If it is meant to: allow_backward = true in the link.";
        findings.add(node, "ranks", Severity::Error, &detail, hint);
    }
}

async fn is_active(database: &Database, peer: &str) -> Result<bool> {
    let row = database
        .session
        .query_one("select f.active from syncjournal.peer_filter($1) f", &[&peer])
        .await
        .map_err(|error| database.explain(error))?;
    row.try_get(0).map_err(|error| database.explain(error))
}
