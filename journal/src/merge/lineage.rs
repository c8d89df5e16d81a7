//! The parents' chain: fast-forward, known, behind or diverged.

use crate::version::Version;

/// Gives a version's parent: a look-up in a journal.
pub trait Lineage {
    type Error;

    /// The version that `version` replaced (nil where it replaced none); `None` where the journal
    /// does not hold the entry (pruned, or never received).
    ///
    /// # Errors
    /// Whatever the look-up fails with.
    fn parent(&mut self, version: Version) -> Result<Option<Version>, Self::Error>;
}

/// What an entry is to the version a row stands at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The row stands at the entry's parent: apply.
    FastForward,
    /// The row stands at the entry or has gone past it: skip.
    Known,
    /// The row stands at an ancestor that is not the parent: the versions in between (oldest
    /// first) are to be applied before the entry.
    Behind { missing: Vec<Version> },
    /// Both sides moved.
    Diverged(Fork),
}

/// Two branches and where they part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fork {
    /// The last version both have (nil: the row before either); `None` where a chain ends in a
    /// version that the journal does not hold.
    pub base: Option<Version>,
    /// From the row's version back to the base, newest first, the base not included: to be undone.
    pub local: Vec<Version>,
    /// From the base to the entry's parent, oldest first, neither the base nor the entry included:
    /// to be redone before the entry.
    pub remote: Vec<Version>,
}

/// Relates the entry `version` with parent `prev` to a row that stands at `current`.
///
/// Versions fall strictly along a chain, so stepping back whichever side is the later one meets
/// the base or ends; no more entries are looked up than lie above the base.
///
/// # Errors
/// What the look-up fails with.
pub fn relate<L: Lineage>(
    current: Version,
    version: Version,
    prev: Version,
    lineage: &mut L,
) -> Result<Relation, L::Error> {
    if current == version {
        return Ok(Relation::Known);
    }
    if current == prev {
        return Ok(Relation::FastForward);
    }
    let (mut ours, mut theirs) = (current, prev);
    let (mut local, mut remote) = (Vec::new(), Vec::new());
    let mut base = None;
    loop {
        if ours == theirs {
            base = Some(ours);
            break;
        }
        let (side, at) =
            if ours > theirs { (&mut local, &mut ours) } else { (&mut remote, &mut theirs) };
        side.push(*at);
        // A parent that is not older would be a loop: no honest journal has one.
        match lineage.parent(*at)?.filter(|parent| parent < at) {
            Some(parent) => *at = parent,
            None => break,
        }
        if ours == version {
            return Ok(Relation::Known);
        }
    }
    remote.reverse();
    if local.is_empty() && base.is_some() {
        return Ok(Relation::Behind { missing: remote });
    }
    Ok(Relation::Diverged(Fork { base, local, remote }))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;
    use crate::clock::HybridTime;

    #[derive(Debug, Default)]
    struct Journal(HashMap<Version, Version>);

    impl Lineage for Journal {
        type Error = Infallible;

        fn parent(&mut self, version: Version) -> Result<Option<Version>, Infallible> {
            Ok(self.0.get(&version).copied())
        }
    }

    fn v(time: u64) -> Version {
        if time == 0 { Version::NIL } else { Version::new(HybridTime(time), 1, 1, 0) }
    }

    fn journal(chain: &[(u64, u64)]) -> Journal {
        Journal(chain.iter().map(|&(version, prev)| (v(version), v(prev))).collect())
    }

    fn relate_in(chain: &[(u64, u64)], current: u64, version: u64, prev: u64) -> Relation {
        let Ok(relation) = relate(v(current), v(version), v(prev), &mut journal(chain));
        relation
    }

    #[test]
    fn the_common_cases_need_no_look_up() {
        assert_eq!(relate_in(&[], 5, 7, 5), Relation::FastForward);
        assert_eq!(relate_in(&[], 0, 7, 0), Relation::FastForward);
        assert_eq!(relate_in(&[], 7, 7, 5), Relation::Known);
    }

    #[test]
    fn an_ancestor_is_known() {
        assert_eq!(relate_in(&[(9, 7), (7, 5)], 9, 7, 5), Relation::Known);
        assert_eq!(relate_in(&[(9, 8), (8, 7), (7, 5)], 9, 7, 5), Relation::Known);
    }

    #[test]
    fn a_row_that_missed_entries_is_behind() {
        let chain = [(7, 5), (6, 5)];
        assert_eq!(relate_in(&chain, 5, 9, 7), Relation::Behind { missing: vec![v(7)] });
    }

    #[test]
    fn two_branches_part_at_their_base() {
        let chain = [(3, 2), (6, 3), (4, 2), (5, 4)];
        let fork = Fork { base: Some(v(2)), local: vec![v(6), v(3)], remote: vec![v(4), v(5)] };
        assert_eq!(relate_in(&chain, 6, 7, 5), Relation::Diverged(fork));
    }

    #[test]
    fn an_unknown_chain_has_no_base() {
        let Relation::Diverged(fork) = relate_in(&[], 6, 7, 5) else { panic!("diverged") };
        assert_eq!(fork.base, None);
    }

    proptest! {
        /// Random trees of versions: the answer is what a full search of the tree says.
        #[test]
        fn relations_are_those_of_the_tree(
            parents in prop::collection::vec(any::<prop::sample::Index>(), 2..24),
            pick: (prop::sample::Index, prop::sample::Index),
        ) {
            let parent: Vec<usize> = parents.iter().enumerate()
                .map(|(at, index)| if at == 0 { 0 } else { index.index(at + 1) })
                .collect();
            // Node n + 1 has parent[n]; node 0 is nil.
            let chain: Vec<(u64, u64)> =
                parent.iter().enumerate().map(|(at, &p)| (at as u64 + 1, p as u64)).collect();
            let ancestors = |mut at: u64| {
                let mut all = vec![at];
                while at != 0 { at = parent[at as usize - 1] as u64; all.push(at); }
                all
            };
            let current = pick.0.index(parent.len() + 1) as u64;
            let version = pick.1.index(parent.len()) as u64 + 1;
            let prev = parent[version as usize - 1] as u64;
            let (ours, theirs) = (ancestors(current), ancestors(prev));
            let base = *ours.iter().find(|at| theirs.contains(at)).expect("nil");
            let above = |all: &[u64]| -> Vec<Version> {
                all.iter().take_while(|at| **at != base).map(|at| v(*at)).collect()
            };
            let mut remote = above(&theirs);
            remote.reverse();
            let expected = if ours.contains(&version) {
                Relation::Known
            } else if current == prev {
                Relation::FastForward
            } else if base == current {
                Relation::Behind { missing: remote }
            } else {
                Relation::Diverged(Fork { base: Some(v(base)), local: above(&ours), remote })
            };
            prop_assert_eq!(relate_in(&chain, current, version, prev), expected);
        }
    }
}
