//! Policies that choose one side's row whole.
//!
//! Each ranks the users' writes and compares two heads by what only one of them has behind it: the
//! head with the highest write among these wins. That is the order of sets by the greatest element
//! in which they differ: total, transitive, and a head always beats its own ancestors. So the
//! winner among any number of heads does not depend on the order in which they come.

use std::cmp::Reverse;

use crate::merge::Winner;
use crate::merge::ancestry::{Sides, compare};
use crate::merge::history::{Found, Host, MergeError, Policy, Write};
use crate::version::Version;

/// Whether `local` or `remote` is the row to keep; both are users' writes.
///
/// # Errors
/// [`MergeError::Missing`] where the policy needs history that is not there.
pub fn winner<H: Host + ?Sized>(
    policy: &Policy,
    local: Version,
    remote: Version,
    sides: &Sides,
    host: &mut H,
) -> Result<Winner, MergeError<H::Error>> {
    let (left, right) = (author(local, host)?, author(remote, host)?);
    if matches!(policy, Policy::LastUpdateWins) {
        // The highest write that only one head has behind it is a head itself: no walk.
        let later = right.cmp(&left).then(remote.cmp(&local));
        return Ok(if later.is_gt() { Winner::Remote } else { Winner::Local });
    }
    let walked;
    let sides = if (left, right) == (local, remote) {
        sides
    } else {
        walked = compare(left, right, host)?;
        &walked
    };
    if let Some(missing) = sides.missing() {
        return Err(MergeError::Missing(missing));
    }
    let ours = sides.left.iter().map(|write| rank(policy, write)).max();
    let theirs = sides.right.iter().map(|write| rank(policy, write)).max();
    // Both heads show the same user's write, merged with different counters: the later merge.
    let order = theirs.cmp(&ours).then(remote.cmp(&local));
    Ok(if order.is_gt() { Winner::Remote } else { Winner::Local })
}

/// The user's write whose row a head shows: merges are made on top of the side that won.
fn author<H: Host + ?Sized>(head: Version, host: &mut H) -> Result<Version, MergeError<H::Error>> {
    let mut at = head;
    while at.is_merge() {
        match host.find(at)? {
            Found::Write(write) if write.prev < at => at = write.prev,
            _ => return Err(MergeError::Missing(at)),
        }
    }
    Ok(at)
}

/// Greater wins.
fn rank(policy: &Policy, write: &Write) -> (Reverse<usize>, Version, Reverse<Version>) {
    let version = write.version;
    match policy {
        Policy::FirstUpdateWins => (Reverse(0), Version::NIL, Reverse(version)),
        Policy::NodePriority(order) => {
            let place = order.iter().position(|tag| *tag == version.node_tag());
            (Reverse(place.unwrap_or(order.len())), version, Reverse(Version::NIL))
        }
        _ => (Reverse(0), version, Reverse(Version::NIL)),
    }
}
