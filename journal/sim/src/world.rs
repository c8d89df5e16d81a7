//! The network: writes, sets under way, faults, and at the end the healing.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use syncjournal_core::Version;
use syncjournal_core::merge::{Change, Choice, ColumnChange, RowState, Write, difference};

use crate::host::{Row, number, value};
use crate::node::{Item, Logged, Node, Open};
use crate::oracle;
use crate::plan::{Flaw, Plan};
use crate::random::Random;

/// A sync set under way: a stretch of the source's log.
#[derive(Clone, Debug)]
struct Set {
    source: u32,
    destination: usize,
    from: usize,
    items: Rc<[(usize, Item)]>,
    to: usize,
}

/// A write that its client was told is there.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    pub item: Item,
    /// The node was restored to before it: it counts only if others got it in time.
    pub crashed: bool,
}

/// What a schedule came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    pub writes: usize,
    pub conflicts: usize,
    /// Distinct entries that the rules made.
    pub merges: usize,
    /// Rounds of full exchange until nothing moved.
    pub rounds: usize,
    pub resolutions: usize,
}

#[derive(Debug)]
pub struct World {
    pub plan: Rc<Plan>,
    pub nodes: Vec<Node>,
    pub acknowledged: Vec<Acknowledged>,
    random: Random,
    under_way: Vec<Set>,
    backups: Vec<Option<Node>>,
    /// Side of the partition that each node is on.
    side: Vec<bool>,
    next_tag: u32,
    wall_micros: u64,
}

/// Runs a schedule to its end.
///
/// # Errors
/// What the oracle finds wrong.
pub fn run(plan: &Plan) -> Result<Report, String> {
    let mut world = World::new(plan.clone());
    for _ in 0..plan.events {
        world.event();
    }
    let (rounds, resolutions) = world.heal()?;
    let report = oracle::examine(&world)?;
    Ok(Report { rounds, resolutions, ..report })
}

impl World {
    fn new(plan: Plan) -> Self {
        let mut random = Random::new(plan.seed ^ 0x7377_6f72_6c64);
        let nodes = (0..plan.nodes)
            .map(|index| {
                let skew = random.below(2 * plan.skew_micros as usize + 1) as i64;
                Node::new(&plan, index as u32 + 1, skew - plan.skew_micros as i64)
            })
            .collect();
        let mut world = Self {
            nodes,
            acknowledged: Vec::new(),
            under_way: Vec::new(),
            backups: vec![None; plan.nodes],
            side: vec![false; plan.nodes],
            next_tag: plan.nodes as u32 + 1,
            wall_micros: 1_800_000_000_000_000,
            random,
            plan: Rc::new(plan),
        };
        if world.plan.flaw == Some(Flaw::PartialFirstUpdate) {
            // The databases were not quite equal when tracking began.
            for (index, node) in world.nodes.iter_mut().enumerate() {
                for state in node.rows.values_mut() {
                    state.columns[0] = value(index as i64);
                }
            }
        }
        world
    }

    fn event(&mut self) {
        self.wall_micros += self.random.below(2_000_000) as u64;
        let node = self.random.below(self.nodes.len());
        match self.random.below(100) {
            0..40 => self.write(node),
            40..62 => self.send(),
            62..88 => self.deliver(),
            88..91 if self.plan.partitions => {
                let random = &mut self.random;
                let apart = random.percent(60);
                self.side.iter_mut().for_each(|side| *side = apart && random.percent(50));
            }
            91..93 if self.plan.restores => self.backups[node] = Some(self.nodes[node].clone()),
            93..95 if self.plan.restores => self.restore(node),
            95..98 if self.plan.prunes => self.prune(node),
            98..99 if self.plan.truncates => {
                let now = self.plan.moment(self.wall_micros);
                let item = self.nodes[node].truncate(now);
                self.acknowledged.push(Acknowledged { item, crashed: false });
            }
            99 => {
                self.resolve_one(node);
            }
            _ => {}
        }
    }

    /// A transaction of one to three rows; now and then one that commits late.
    fn write(&mut self, index: usize) {
        let plan = Rc::clone(&self.plan);
        let now = plan.moment(self.wall_micros);
        for _ in 0..self.random.between(1, 3) {
            let row = self.random.below(usize::from(self.plan.rows)) as Row;
            let node = &mut self.nodes[index];
            if node.open.as_ref().is_some_and(|open| open.row == row) {
                let committed = node.open.clone();
                node.commit_open(now);
                self.acknowledge(committed);
            }
            let Some((write, state)) = self.make_write(index, row) else { continue };
            let node = &mut self.nodes[index];
            if node.open.is_none() && self.random.percent(10) {
                node.open = Some(Open { row, write, state });
                continue;
            }
            let item = Item::Write(row, Arc::clone(&write));
            node.commit(now, row, write, state);
            self.acknowledged.push(Acknowledged { item, crashed: false });
        }
    }

    fn acknowledge(&mut self, committed: Option<Open>) {
        if let Some(Open { row, write, .. }) = committed {
            let item = Item::Write(row, write);
            self.acknowledged.push(Acknowledged { item, crashed: false });
        }
    }

    fn make_write(&mut self, index: usize, row: Row) -> Option<(Arc<Write>, RowState)> {
        let now = self.plan.moment(self.wall_micros);
        let plan = &self.plan;
        let random = &mut self.random;
        let node = &mut self.nodes[index];
        let state = node.rows.get(&row).filter(|state| state.alive).cloned();
        let (prev, change, before) = match state {
            None => {
                let forgotten = !node.rows.contains_key(&row)
                    && node.pruned.range((row, Version::NIL)..).next().is_some_and(|k| k.0 == row);
                // Only whole rows by version can have their identity used again after pruning.
                let plain = plan.policy == syncjournal_core::merge::Policy::LastUpdateWins
                    && plan.counters.is_empty();
                if forgotten && !plain {
                    return None;
                }
                let columns = (0..plan.columns).map(|_| value(random.below(4) as i64)).collect();
                let before = RowState { version: Version::NIL, alive: false, columns: Vec::new() };
                (node.parent_of_insert(plan, row), Change::Insert(columns), before)
            }
            Some(state) if random.percent(12) => {
                (state.version, Change::Delete(state.columns.clone()), state)
            }
            Some(state) => {
                let changes = changes(plan, random, &state)?;
                (state.version, Change::Update(changes), state)
            }
        };
        let version = node.allocate(now, prev);
        let write = Write { version, prev, merged: Version::NIL, change };
        let after = before.after(&write);
        Some((Arc::new(write), after))
    }

    /// A source makes a set for one of its peers, from where that stands or a little later.
    fn send(&mut self) {
        let (a, b) = self.plan.links[self.random.below(self.plan.links.len())];
        let (source, destination) = if self.random.percent(50) { (a, b) } else { (b, a) };
        if self.side[source] != self.side[destination] {
            return;
        }
        let tag = self.nodes[source].tag;
        let earlier = self.under_way.iter().filter(|set| set.source == tag);
        let piped = earlier.filter(|set| set.destination == destination).map(|set| set.to).max();
        let position = self.nodes[destination].received.get(&tag).copied().unwrap_or(0);
        let from = match piped {
            Some(to) if self.random.percent(50) => to.max(position),
            _ => position,
        };
        let length = self.nodes[source].log.len();
        if from < length {
            let to = self.random.between(from + 1, length);
            let set = self.make_set(source, destination, from, to);
            self.under_way.push(set);
        }
    }

    /// What came from the destination is left out.
    fn make_set(&self, source: usize, destination: usize, from: usize, to: usize) -> Set {
        let receiver = self.nodes[destination].tag;
        let node = &self.nodes[source];
        let items = (from..to)
            .filter(|place| node.log[*place].origin != receiver)
            .map(|place| (place, node.log[place].item.clone()))
            .collect();
        Set { source: node.tag, destination, from, items, to }
    }

    /// One of the sets under way arrives, is lost, or arrives and comes again later.
    fn deliver(&mut self) {
        if self.under_way.is_empty() {
            return;
        }
        let place = self.random.below(self.under_way.len());
        let lost = self.random.percent(self.plan.loss_percent);
        let again = !lost && self.random.percent(self.plan.duplicate_percent);
        let set = match again {
            true => self.under_way[place].clone(),
            false => self.under_way.swap_remove(place),
        };
        if !lost {
            self.receive(&set);
        }
    }

    fn receive(&mut self, set: &Set) {
        let now = self.plan.moment(self.wall_micros);
        let node = &mut self.nodes[set.destination];
        let position = node.received.get(&set.source).copied().unwrap_or(0);
        if set.from > position {
            return;
        }
        let open = node.open.clone();
        let news = set.items.iter().filter(|(place, _)| *place >= position).map(|(_, item)| item);
        node.apply(now, news, set.source);
        node.received.insert(set.source, position.max(set.to));
        let committed = open.filter(|_| node.open.is_none());
        self.acknowledge(committed);
    }

    fn restore(&mut self, index: usize) {
        let Some(backup) = self.backups[index].clone() else { return };
        let lost: Vec<Version> = {
            let node = &self.nodes[index];
            let since = node.log[backup.log.len()..].iter();
            since.filter(|logged| logged.origin == 0).map(|logged| logged.item.version()).collect()
        };
        for acknowledged in &mut self.acknowledged {
            acknowledged.crashed |= lost.contains(&acknowledged.item.version());
        }
        let mut node = backup;
        node.open = None;
        if self.plan.flaw != Some(Flaw::RestoreKeepsIdentity) {
            // A copy of a database is a node of its own: peers read its log from the start, and
            // send it what it had written before under its old tag.
            node.tag = self.next_tag;
            self.next_tag += 1;
        }
        self.nodes[index] = node;
        self.backups[index] = None;
    }

    /// Drops the start of a log, in two steps: what is settled now goes once all that is in the log
    /// now is settled too. For the second branch of a fork may need what lies under the first.
    fn prune(&mut self, index: usize) {
        let settled = self.settled_to(index);
        let flawed = self.plan.flaw == Some(Flaw::PruneBeforeInbound);
        let node = &mut self.nodes[index];
        let (end, until) = node.prune_next;
        if settled >= until {
            node.prune_to(end);
            node.prune_next = (settled, node.log.len());
        }
        if flawed {
            node.prune_to(settled);
        }
    }

    /// How much of a node's log is settled: all nodes have it, and this one has all that any node
    /// did before it had that; nor will a peer send it again.
    fn settled_to(&self, index: usize) -> usize {
        let node = &self.nodes[index];
        let flawed = self.plan.flaw == Some(Flaw::PruneBeforeInbound);
        let has =
            |logged: &Logged| node.holds(&logged.item) || node.pruned.contains(&logged.item.key());
        let known: Vec<HashSet<(Row, Version)>> = self
            .nodes
            .iter()
            .enumerate()
            .map(|(other, peer)| {
                let linked = self.plan.links.contains(&(index.min(other), index.max(other)));
                let known = match linked && !flawed {
                    true => node.received.get(&peer.tag).copied().unwrap_or(0),
                    false => peer.log.iter().take_while(|logged| flawed || has(logged)).count(),
                };
                let known = if other == index { peer.log.len() } else { known };
                let echo = peer.log[known..].iter().filter(|copy| copy.origin == node.tag);
                peer.log[..known].iter().chain(echo).map(|logged| logged.item.key()).collect()
            })
            .collect();
        let everywhere = |logged: &&Logged| {
            let key = logged.item.key();
            known.iter().all(|known| known.contains(&key))
        };
        node.pruned_to + node.log[node.pruned_to..].iter().take_while(everywhere).count()
    }

    fn resolve_one(&mut self, index: usize) -> bool {
        let Some(&row) = self.nodes[index].inbox.keys().next() else { return false };
        let now = self.plan.moment(self.wall_micros);
        let choice = match self.random.below(4) {
            0 => Choice::Local,
            1 => Choice::Remote,
            2 => Choice::Row(None),
            _ => {
                Choice::Row(Some((0..self.plan.columns).map(|at| value(50 + at as i64)).collect()))
            }
        };
        let Some(write) = self.nodes[index].resolve(now, row, choice) else { return false };
        let item = Item::Write(row, write);
        self.acknowledged.push(Acknowledged { item, crashed: false });
        true
    }

    /// The network is whole again: everything is delivered, and persons settle what is pending.
    fn heal(&mut self) -> Result<(usize, usize), String> {
        self.under_way.clear();
        let plan = Rc::clone(&self.plan);
        let now = plan.moment(self.wall_micros);
        for index in 0..self.nodes.len() {
            let committed = self.nodes[index].open.clone();
            self.nodes[index].commit_open(now);
            self.acknowledge(committed);
        }
        let (mut rounds, mut resolutions) = (0, 0);
        let most = 20 + 4 * self.acknowledged.len();
        let limit = 40 + 4 * self.nodes.len();
        let limit = |resolutions: usize| limit * (1 + resolutions);
        loop {
            while self.exchange() {
                rounds += 1;
                if rounds > limit(resolutions) {
                    return Err(format!("no end to the exchange after {rounds} rounds"));
                }
            }
            let pending: Vec<usize> = (0..self.nodes.len())
                .filter(|index| !self.nodes[*index].inbox.is_empty())
                .collect();
            if pending.is_empty() {
                return Ok((rounds, resolutions));
            }
            let node = pending[self.random.below(pending.len())];
            resolutions += 1;
            if !self.resolve_one(node) {
                return Err(format!("node {node} cannot resolve its conflict"));
            }
            if resolutions > most {
                return Err(format!("no end to conflicts after {resolutions} resolutions"));
            }
        }
    }

    /// Every peer gets all that it lacks; whether there was anything.
    fn exchange(&mut self) -> bool {
        let mut moved = false;
        for place in 0..self.plan.links.len() {
            let (a, b) = self.plan.links[place];
            for (source, destination) in [(a, b), (b, a)] {
                let tag = self.nodes[source].tag;
                let from = self.nodes[destination].received.get(&tag).copied().unwrap_or(0);
                let to = self.nodes[source].log.len();
                if from < to {
                    let set = self.make_set(source, destination, from, to);
                    self.receive(&set);
                    moved = true;
                }
            }
        }
        moved
    }
}

fn changes(plan: &Plan, random: &mut Random, state: &RowState) -> Option<Vec<ColumnChange>> {
    let mut new = state.columns.clone();
    for _ in 0..random.between(1, 2) {
        let column = random.below(plan.columns);
        new[column] = match plan.counters.contains(&column) {
            true => value(number(&new[column]) + random.between(0, 10) as i64 - 5),
            false => value(random.below(4) as i64),
        };
    }
    let changes = difference(&state.columns, &new);
    if changes.is_empty() {
        return None;
    }
    if !state.version.is_nil() || plan.flaw == Some(Flaw::PartialFirstUpdate) {
        return Some(changes);
    }
    let whole = state.columns.iter().zip(new).enumerate();
    Some(whole.map(|(column, (old, new))| ColumnChange { column, old: old.clone(), new }).collect())
}
