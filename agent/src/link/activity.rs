//! What a flow is doing, for `status` to see: its session at the source holds an advisory lock that
//! says so. Nothing is written, and with the session it is gone.

use super::state::State;
use crate::database::{Database, LOCK_CLASS, lock_key};
use crate::error::Result;
use uuid::Uuid;

/// The states that are told apart from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activity {
    Windows,
    WaitingForSlot,
    Streaming,
}

const ALL: [Activity; 3] = [Activity::Windows, Activity::WaitingForSlot, Activity::Streaming];

impl Activity {
    pub(super) fn of(state: &State) -> Option<Self> {
        match state {
            State::Windows { .. } => Some(Self::Windows),
            State::WaitingForSlot => Some(Self::WaitingForSlot),
            State::Streaming => Some(Self::Streaming),
            _ => None,
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Windows => "windows",
            Self::WaitingForSlot => "waiting_for_slot",
            Self::Streaming => "streaming",
        }
    }

    /// The first key of its lock.
    fn class(self) -> i32 {
        LOCK_CLASS
            + match self {
                Self::Windows => 1,
                Self::WaitingForSlot => 2,
                Self::Streaming => 3,
            }
    }
}

/// Shows at the source what the flow to `target` does from now on.
pub(super) async fn show(
    source: &Database,
    target: Uuid,
    was: Option<Activity>,
    now: Option<Activity>,
) -> Result<()> {
    if was == now {
        return Ok(());
    }
    let key = lock_key(target);
    let session = &source.session;
    if let Some(was) = was {
        session
            .execute("select pg_catalog.pg_advisory_unlock($1, $2)", &[&was.class(), &key])
            .await
            .map_err(|error| source.explain(error))?;
    }
    if let Some(now) = now {
        // A predecessor that the server has not missed yet may still show the same.
        session
            .execute("select pg_catalog.pg_try_advisory_lock($1, $2)", &[&now.class(), &key])
            .await
            .map_err(|error| source.explain(error))?;
    }
    Ok(())
}

/// What the flow from `source` to a node does.
pub(crate) async fn activity_of(source: &Database, target: Uuid) -> Result<Option<Activity>> {
    for activity in ALL.into_iter().rev() {
        if is_locked(source, activity.class(), target).await? {
            return Ok(Some(activity));
        }
    }
    Ok(None)
}

/// Whether a session at the target has the flow from a node.
pub(crate) async fn is_claimed(target: &Database, source: Uuid) -> Result<bool> {
    is_locked(target, LOCK_CLASS, source).await
}

async fn is_locked(database: &Database, class: i32, node: Uuid) -> Result<bool> {
    let (class, key) = (class.cast_unsigned(), lock_key(node).cast_unsigned());
    let row = database
        .session
        .query_one(
            "select exists (
                 select from pg_catalog.pg_locks l join pg_catalog.pg_database d
                     on d.oid = l.database
                 where l.locktype = 'advisory' and l.granted and l.objsubid = 2
                     and l.classid = $1 and l.objid = $2
                     and d.datname = pg_catalog.current_database())",
            &[&class, &key],
        )
        .await
        .map_err(|error| database.explain(error))?;
    row.try_get(0).map_err(|error| database.explain(error))
}
