//! What each of two heads knows that the other does not.
//!
//! Only writes by users count. A merge that a node made by itself adds nothing that its parents
//! did not have, so two heads over the same users' writes know the same, however often and in
//! whatever order they were merged on the way: that is what makes merging end.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::merge::history::{Found, Host, Write};
use crate::version::Version;

const LEFT: u8 = 1;
const RIGHT: u8 = 2;
const BOTH: u8 = LEFT | RIGHT;

/// Two heads of a row, compared.
#[derive(Clone, Debug, Default)]
pub struct Sides {
    /// Users' writes that only the left head has behind it (itself included), latest first.
    pub left: Vec<Arc<Write>>,
    pub right: Vec<Arc<Write>>,
    /// The latest version behind both; nil: the row before its first write.
    pub base: Option<Version>,
    /// An entry behind the left head that is not there: what stands in `right` may be behind it.
    pub missing_left: Option<Version>,
    /// The same of the right head.
    pub missing_right: Option<Version>,
}

/// How two heads stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Both know the same.
    Equal,
    /// The left head knows all that the right one knows, and more.
    LeftCovers,
    RightCovers,
    Diverged,
}

impl Sides {
    /// An entry that is needed for a whole answer and not there.
    #[must_use]
    pub fn missing(&self) -> Option<Version> {
        self.missing_left.max(self.missing_right)
    }

    /// Whether the left head certainly knows all that the right one knows.
    #[must_use]
    pub const fn left_covers(&self) -> bool {
        self.right.is_empty() && self.missing_right.is_none()
    }

    /// Whether the right head certainly knows all that the left one knows.
    #[must_use]
    pub const fn right_covers(&self) -> bool {
        self.left.is_empty() && self.missing_left.is_none()
    }

    /// What is certain; heads whose past is not here stand apart.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        match (self.right_covers(), self.left_covers()) {
            (true, true) => Standing::Equal,
            (false, true) => Standing::LeftCovers,
            (true, false) => Standing::RightCovers,
            (false, false) => Standing::Diverged,
        }
    }
}

/// What the walk has reached and not visited, with the heads that it was reached from.
#[derive(Default)]
struct ToVisit {
    versions: BTreeMap<Version, u8>,
    /// How many were reached from one head only.
    one_sided: usize,
}

impl ToVisit {
    fn reach(&mut self, version: Version, side: u8) {
        let sides = self.versions.entry(version).or_default();
        let before = *sides;
        *sides |= side;
        match (before, *sides) {
            (0, LEFT | RIGHT) => self.one_sided += 1,
            (LEFT | RIGHT, BOTH) => self.one_sided -= 1,
            _ => {}
        }
    }
}

/// Compares two heads by walking back from both, always from the later version.
///
/// A parent is older than its child, so whatever is met has been reached by every path that leads
/// to it. The walk ends when all that is left to visit is behind both: it looks no deeper than the
/// point where the branches part.
///
/// # Errors
/// What the look-up fails with.
pub fn compare<H: Host + ?Sized>(
    left: Version,
    right: Version,
    host: &mut H,
) -> Result<Sides, H::Error> {
    let mut to_visit = ToVisit::default();
    to_visit.reach(left, LEFT);
    to_visit.reach(right, RIGHT);
    let mut sides = Sides::default();
    while let Some((version, side)) = to_visit.versions.pop_last() {
        if side == BOTH {
            sides.base = sides.base.max(Some(version));
        } else {
            to_visit.one_sided -= 1;
        }
        if side == BOTH && to_visit.one_sided == 0 {
            break;
        }
        if version.is_nil() {
            continue;
        }
        match host.find(version)? {
            Found::Write(write) => {
                // A parent that is not older would be a loop: no honest journal has one.
                for parent in write.parents().filter(|parent| *parent < version) {
                    to_visit.reach(parent, side);
                }
                match side {
                    LEFT if !write.is_automatic() => sides.left.push(write),
                    RIGHT if !write.is_automatic() => sides.right.push(write),
                    _ => {}
                }
            }
            Found::Settled => {}
            Found::Missing => match side {
                LEFT => sides.missing_left = sides.missing_left.max(Some(version)),
                RIGHT => sides.missing_right = sides.missing_right.max(Some(version)),
                _ => {}
            },
        }
    }
    Ok(sides)
}

/// Whether `head` knows all that `other` knows.
///
/// # Errors
/// What the look-up fails with.
pub fn covers<H: Host + ?Sized>(
    head: Version,
    other: Version,
    host: &mut H,
) -> Result<bool, H::Error> {
    Ok(compare(head, other, host)?.left_covers())
}
