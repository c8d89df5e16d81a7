//! Both ends say how far they are with each other, before the first window: the last confirmation
//! may have been lost with an agent, and one of the two may have been restored from a backup.

use super::ends::Ends;
use crate::error::{Error, Result};
use tokio_postgres::Row;

/// Who turned out to be an earlier state of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Restored {
    Nobody,
    Source,
    Target,
}

/// What the target knows of the source.
struct Reached {
    snapshot: String,
    newest: Option<uuid::Uuid>,
    at: String,
}

/// What a meeting came to.
struct Met {
    restored: Restored,
    /// Since when the other knows better.
    known_at: Option<String>,
    has_position: bool,
    /// What tells that one was restored.
    evidence: Option<String>,
}

/// Tells the source how far its peer really is. Whether that has anything of it yet.
pub(crate) async fn align(ends: &mut Ends) -> Result<bool> {
    let Some(reached) = reached(ends).await? else { return Ok(false) };
    // The source is told of it.
    ends.target.make_durable(None).await?;
    let Met { restored, known_at, has_position, evidence } = meet(ends, &reached).await?;
    match restored {
        Restored::Nobody => {}
        Restored::Source => {
            ends.source.database.identify_again().await?;
            tracing::warn!(
                node = ends.source.database.node.name,
                evidence,
                "was restored from a backup: it goes on from what its peer had confirmed by then"
            );
        }
        Restored::Target => {
            let rejoined = ends
                .target
                .database
                .session
                .query_one(
                    "select syncjournal.was_restored(coalesce($1::text::timestamptz, now()))",
                    &[&known_at],
                )
                .await
                .and_then(|row| row.try_get::<_, bool>(0))
                .map_err(|error| ends.target.explain(error))?;
            tracing::warn!(
                node = ends.target.database.node.name,
                rejoined,
                evidence,
                "has less than it had: it is sent again what came since, its own entries too"
            );
        }
    }
    Ok(has_position)
}

async fn reached(ends: &Ends) -> Result<Option<Reached>> {
    let source = ends.source.database.identity.node_id;
    let row = ends
        .target
        .database
        .session
        .query_opt(
            "select r.snapshot::text, r.newest, r.reached_at::text
             from syncjournal.reached($1) r where r.snapshot is not null",
            &[&source],
        )
        .await
        .map_err(|error| ends.target.explain(error))?;
    let read = |row: Row| -> std::result::Result<Reached, tokio_postgres::Error> {
        Ok(Reached { snapshot: row.try_get(0)?, newest: row.try_get(1)?, at: row.try_get(2)? })
    };
    row.map(read).transpose().map_err(|error| ends.target.explain(error))
}

async fn meet(ends: &Ends, reached: &Reached) -> Result<Met> {
    let source = &ends.source;
    let row = source
        .database
        .session
        .query_one(
            "select m.restored, m.known_at::text, m.has_position, m.evidence
             from syncjournal.meet($1, $2::text::pg_catalog.pg_snapshot, $3,
                 $4::text::timestamptz) m",
            &[&source.peer, &reached.snapshot, &reached.newest, &reached.at],
        )
        .await
        .map_err(|error| source.explain(error))?;
    let who: String = row.try_get(0).map_err(|error| source.explain(error))?;
    let restored = match who.as_str() {
        "none" => Restored::Nobody,
        "source" => Restored::Source,
        "peer" => Restored::Target,
        other => return Err(Error::protocol(format!("a meeting came to \"{other}\""))),
    };
    let read = || {
        Ok(Met {
            restored,
            known_at: row.try_get(1)?,
            has_position: row.try_get(2)?,
            evidence: row.try_get(3)?,
        })
    };
    read().map_err(|error: tokio_postgres::Error| source.explain(error))
}
