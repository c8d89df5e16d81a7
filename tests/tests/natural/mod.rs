//! Natural keys: rows that are the same wherever they were made, and what a collision comes to.

mod collisions;
mod identity;
mod refused;

use syncjournal_tests::{Db, carry};

/// Sets go to and fro until nothing moves.
fn exchange(one: &Db, other: &Db) {
    for _ in 0..3 {
        carry(one, other, "changes");
        carry(other, one, "changes");
    }
}

/// Conflicts as type, policy, status and winner.
fn conflicts(db: &Db) -> Vec<String> {
    db.column(
        "select concat_ws(' ', conflict_type, policy, status, winner) from syncjournal.conflict
         order by conflict_id",
    )
}
