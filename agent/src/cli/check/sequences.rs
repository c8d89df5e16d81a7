//! Keys that both ends of a link draw from sequences of their own.

use super::{Findings, Severity};
use crate::config::Flow;
use crate::database::Database;
use crate::error::Result;
use std::collections::BTreeMap;

/// How a column draws its numbers.
#[derive(Debug)]
struct Drawn {
    step: i64,
    position: Option<i32>,
}

impl Drawn {
    fn takes_turns_with(&self, other: &Self) -> bool {
        self.step == other.step
            && self.position.zip(other.position).is_some_and(|(here, there)| here != there)
    }
}

/// By schema, table and column.
type Keys = BTreeMap<(String, String, String), Drawn>;

/// Warns of tables into which both ends insert rows under the same numbers.
pub(super) async fn check(
    source: &Database,
    target: &Database,
    flow: &Flow,
    passes: impl Fn(&str, &str) -> bool,
    findings: &mut Findings<'_>,
) -> Result<()> {
    if !flow.two_way {
        return Ok(());
    }
    let (there, here) = (keys(source).await?, keys(target).await?);
    let both: Vec<_> = there
        .iter()
        .filter(|((schema, table, _), _)| passes(schema, table))
        .filter_map(|(name, theirs)| Some((name, theirs, here.get(name)?)))
        .collect();
    let shared: Vec<String> = both
        .iter()
        .filter(|(_, theirs, ours)| !theirs.takes_turns_with(ours))
        .map(|((schema, table, column), ..)| format!("{schema}.{table}.{column}"))
        .collect();
    let node = &flow.target.name;
    if !shared.is_empty() {
        let detail = format!("both ends give out the same numbers: {}", shared.join(", "));
        let hint = "Let them take turns: select syncjournal.stripe_sequences(1, 2) at one end, \
                    (2, 2) at the other; or track the tables with keys => 'local'.";
        findings.add(node, "sequences", Severity::Warning, &detail, hint);
    } else if !both.is_empty() {
        findings.add(node, "sequences", Severity::Ok, "those of both ends take turns", "");
    }
    Ok(())
}

async fn keys(database: &Database) -> Result<Keys> {
    let rows = database
        .session
        .query(
            "select n.nspname::text, c.relname::text, k.column_name::text, k.step,
                    k.stripe_position
             from syncjournal.key_sequence k join pg_catalog.pg_class c on c.oid = k.relation
                 join pg_catalog.pg_namespace n on n.oid = c.relnamespace
             where k.keys = 'global' and k.is_unique",
            &[],
        )
        .await
        .map_err(|error| database.explain(error))?;
    rows.iter()
        .map(|row| {
            let drawn = Drawn { step: row.try_get(3)?, position: row.try_get(4)? };
            Ok(((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?), drawn))
        })
        .collect::<std::result::Result<_, tokio_postgres::Error>>()
        .map_err(|error| database.explain(error))
}
