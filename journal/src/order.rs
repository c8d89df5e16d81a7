//! The order in which transactions ended, found while they are read by number.
//!
//! A transaction's place is where it wrote last (a place in the WAL). Numbers are given out in the
//! order in which transactions first write, so the one with the next number may have ended before.
//! But no number that is still to come can belong to a transaction that wrote before a place at which
//! an earlier number was given out; and a backend gets its next number only after it wrote the last
//! frame under the one before. So whatever ended up to there has its place for certain, and can go on
//! its way before the rest has been read.

use std::collections::{BTreeMap, HashMap};

/// Takes items of transactions in the order of their numbers, and gives whole transactions in the
/// order of their ends.
#[derive(Debug)]
pub struct Order<T> {
    open: Option<Open<T>>,
    /// Whole transactions, by place and number.
    ended: BTreeMap<(u64, u64), Vec<T>>,
    /// Where the last transaction of each backend ended.
    last_of: HashMap<u16, u64>,
    /// No transaction that is still to come wrote before this place.
    certain: u64,
    held: usize,
}

#[derive(Debug)]
struct Open<T> {
    xid: u64,
    ended: u64,
    backend: Option<u16>,
    items: Vec<T>,
}

impl<T> Default for Order<T> {
    fn default() -> Self {
        let (ended, last_of) = (BTreeMap::new(), HashMap::new());
        Self { open: None, ended, last_of, certain: 0, held: 0 }
    }
}

impl<T> Order<T> {
    /// An item of a transaction, and who wrote it where, if that was a backend of this server.
    pub fn push(&mut self, (xid, lsn): (u64, u64), backend: Option<u16>, item: T) {
        if self.open.as_ref().is_some_and(|open| open.xid != xid) {
            self.end();
        }
        let open = self.open.get_or_insert_with(|| Open {
            xid,
            ended: 0,
            backend: None,
            items: Vec::new(),
        });
        open.ended = open.ended.max(lsn);
        open.backend = open.backend.or(backend);
        open.items.push(item);
        self.held += 1;
    }

    /// Nothing more comes.
    pub fn finish(&mut self) {
        self.end();
        self.certain = u64::MAX;
    }

    /// The next transaction, if its place is certain by now.
    pub fn pop(&mut self) -> Option<Vec<T>> {
        let first = self.ended.first_entry()?;
        if first.key().0 > self.certain {
            return None;
        }
        let items = first.remove();
        self.held -= items.len();
        Some(items)
    }

    /// How many items are held.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.held
    }

    /// Once [`Order::pop`] gives no more: whether it gave the transaction of this number and place.
    #[must_use]
    pub fn has_given(&self, xid: u64, ended: u64) -> bool {
        ended <= self.certain && self.open.as_ref().is_none_or(|open| xid < open.xid)
    }

    /// Lets go what is held; [`Order::has_given`] still tells what was given.
    pub fn forget(&mut self) {
        self.ended.clear();
        self.held = 0;
        if let Some(open) = &mut self.open {
            open.items = Vec::new();
        }
    }

    fn end(&mut self) {
        let Some(Open { xid, ended, backend, items }) = self.open.take() else { return };
        self.ended.insert((ended, xid), items);
        if let Some(before) = backend.and_then(|backend| self.last_of.insert(backend, ended)) {
            self.certain = self.certain.max(before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What backends do, one step after another: who takes the next number, who writes, who ends.
    fn history(steps: &[(u16, u8)]) -> Vec<(u64, u64, u16)> {
        let (mut next_xid, mut lsn) = (100, 1000);
        let mut running: HashMap<u16, u64> = HashMap::new();
        let mut written = Vec::new();
        for (backend, what) in steps {
            lsn += u64::from(*what % 3);
            if *what < 64 {
                running.remove(backend);
                continue;
            }
            let xid = *running.entry(*backend).or_insert_with(|| {
                next_xid += 1;
                next_xid
            });
            written.push((xid, lsn, *backend));
        }
        written
    }

    /// As the whole is sorted.
    fn sorted(written: &[(u64, u64, u16)]) -> Vec<u64> {
        let mut ends: BTreeMap<u64, u64> = BTreeMap::new();
        for (xid, lsn, _) in written {
            let end = ends.entry(*xid).or_default();
            *end = (*end).max(*lsn);
        }
        let mut order: Vec<_> = ends.into_iter().map(|(xid, end)| (end, xid)).collect();
        order.sort_unstable();
        order.into_iter().map(|(_, xid)| xid).collect()
    }

    proptest! {
        #[test]
        fn comes_out_as_if_all_had_been_sorted(
            steps in prop::collection::vec((0_u16..4, any::<u8>()), 0..200),
            foreign in any::<u64>(),
        ) {
            let mut written = history(&steps);
            let expected = sorted(&written);
            written.sort_by_key(|(xid, ..)| *xid);
            let mut order = Order::default();
            let (mut given, mut before) = (Vec::new(), Vec::new());
            for (xid, lsn, backend) in &written {
                // Of some transactions it is not known who wrote them.
                let backend = (foreign >> (xid % 64) & 1 == 0).then_some(*backend);
                order.push((*xid, *lsn), backend, *xid);
                while let Some(items) = order.pop() {
                    before.push(items[0]);
                    given.push(items[0]);
                }
                for (xid, end) in written.iter().map(|(xid, ..)| (*xid, end_of(&written, *xid))) {
                    prop_assert_eq!(order.has_given(xid, end), before.contains(&xid));
                }
            }
            order.finish();
            given.extend(std::iter::from_fn(|| order.pop()).map(|items| items[0]));
            prop_assert_eq!(given, expected);
            prop_assert_eq!(order.held(), 0);
        }
    }

    fn end_of(written: &[(u64, u64, u16)], xid: u64) -> u64 {
        written.iter().filter(|(one, ..)| *one == xid).map(|(_, lsn, _)| *lsn).max().unwrap_or(0)
    }

    #[test]
    fn goes_on_its_way_before_all_is_read() {
        let mut order = Order::default();
        for xid in 1..=100_u64 {
            order.push((xid, xid * 10), Some((xid % 4) as u16), xid);
            while order.pop().is_some() {}
        }
        assert!(order.held() <= 6, "{} held", order.held());
    }
}
