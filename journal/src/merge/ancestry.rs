//! What each of two heads knows that the other does not.
//!
//! Only writes by users count. A merge that a node made by itself adds nothing that its parents
//! did not have, so two heads over the same users' writes know the same, however often and in
//! whatever order they were merged on the way: that is what makes merging end.

use std::collections::{BinaryHeap, HashMap};
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
    /// An entry that is needed for a whole answer and not there.
    pub missing: Option<Version>,
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
    #[must_use]
    pub const fn standing(&self) -> Standing {
        match (self.left.is_empty(), self.right.is_empty()) {
            (true, true) => Standing::Equal,
            (false, true) => Standing::LeftCovers,
            (true, false) => Standing::RightCovers,
            (false, false) => Standing::Diverged,
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
    let mut reached: HashMap<Version, u8> = HashMap::new();
    let mut queue = BinaryHeap::new();
    let mut one_sided = 0usize;
    let mut reach = |version, side, queue: &mut BinaryHeap<Version>, one_sided: &mut usize| {
        let sides = reached.entry(version).or_insert_with(|| {
            queue.push(version);
            0
        });
        let before = *sides;
        *sides |= side;
        match (before, *sides) {
            (0, LEFT | RIGHT) => *one_sided += 1,
            (LEFT | RIGHT, BOTH) => *one_sided -= 1,
            _ => {}
        }
        *sides
    };
    reach(left, LEFT, &mut queue, &mut one_sided);
    reach(right, RIGHT, &mut queue, &mut one_sided);
    let mut sides = Sides::default();
    while let Some(version) = queue.pop() {
        let side = reach(version, 0, &mut queue, &mut one_sided);
        if side == BOTH {
            sides.base = sides.base.max(Some(version));
        }
        if one_sided == 0 {
            break;
        }
        one_sided -= usize::from(side != BOTH);
        if version.is_nil() {
            continue;
        }
        match host.find(version)? {
            Found::Write(write) => {
                // A parent that is not older would be a loop: no honest journal has one.
                for parent in write.parents().filter(|parent| *parent < version) {
                    reach(parent, side, &mut queue, &mut one_sided);
                }
                match side {
                    LEFT if !write.is_automatic() => sides.left.push(write),
                    RIGHT if !write.is_automatic() => sides.right.push(write),
                    _ => {}
                }
            }
            Found::Settled => {}
            Found::Missing if side != BOTH => {
                sides.missing = sides.missing.max(Some(version));
            }
            Found::Missing => {}
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
    let sides = compare(head, other, host)?;
    Ok(sides.right.is_empty() && sides.missing.is_none())
}
