//! Heavyweight locks, on relations and what belongs to them.

use pgrx::pg_sys::{self, Oid};

/// How often one transaction may have taken the same lock: each `ALTER TABLE` takes it a few times.
const MOST_HOLDS: usize = 64;

/// Takes the strongest lock on a relation; whether this transaction did not hold it before.
pub fn take_exclusive(relid: Oid) -> bool {
    let tag = tag(relid);
    let mode = pg_sys::AccessExclusiveLock as i32;
    // SAFETY: the tag names a relation of this database; taking a lock may wait or raise an error,
    // and nothing here needs dropping.
    unsafe {
        let held = pg_sys::LockHeldByMe(&tag, mode);
        pg_sys::LockRelationOid(relid, mode);
        !held
    }
}

/// Weakens this transaction's strongest lock to one that keeps writers out and lets readers pass.
///
/// Postgres holds `ACCESS EXCLUSIVE` to the transaction's end so that nobody reads the relation by
/// a definition that is about to change under him. Where all that changed is a nullable column
/// added at the end, a reader who does is not wrong: he sees the rows without it until the commit
/// invalidates his definition, which is then rebuilt as after a `CREATE TRIGGER`, done under the lock kept here.
pub fn weaken_exclusive(relid: Oid) {
    let tag = tag(relid);
    let mode = pg_sys::AccessExclusiveLock as i32;
    // SAFETY: as above; only locks that this transaction holds are given back, and the weaker one
    // is taken first, so that no writer comes in between.
    unsafe {
        pg_sys::LockRelationOid(relid, pg_sys::ShareRowExclusiveLock as i32);
        for _ in 0..MOST_HOLDS {
            if !pg_sys::LockHeldByMe(&tag, mode) || !pg_sys::LockRelease(&tag, mode, false) {
                break;
            }
        }
    }
}

/// Locks something that belongs to a relation, by a number, to the transaction's end; waits for who
/// has it.
pub fn take_named(relid: Oid, number: u32) {
    let mode = pg_sys::ExclusiveLock as i32;
    // SAFETY: plain numbers; may wait or raise an error.
    unsafe { pg_sys::LockDatabaseObject(relid, Oid::from(number), 0, mode) };
}

/// As the server's macro `SET_LOCKTAG_RELATION` makes it.
fn tag(relid: Oid) -> pg_sys::LOCKTAG {
    pg_sys::LOCKTAG {
        // SAFETY: a global that is set once, at the session's start.
        locktag_field1: unsafe { pg_sys::MyDatabaseId }.to_u32(),
        locktag_field2: relid.to_u32(),
        locktag_field3: 0,
        locktag_field4: 0,
        locktag_type: pg_sys::LockTagType::LOCKTAG_RELATION as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    }
}
