//! What has been applied, kept: agents do not wait for the disk at each commit. Rows and position
//! commit together, so a crash loses both or neither; but the source may be told of a position only
//! when no crash can take it back.

use pgrx::prelude::*;

use crate::pg::setting::SettingScope;
use crate::pg::transaction;

/// Waits until what was written up to a place in the WAL survives a crash.
#[pg_extern(volatile)]
fn make_durable(written: Option<i64>) {
    let place = written.map(i64::cast_unsigned);
    transaction::flush_wal(place);
    let scope = SettingScope::enter();
    scope.set("synchronous_commit", "on");
    transaction::await_standbys(place);
}
