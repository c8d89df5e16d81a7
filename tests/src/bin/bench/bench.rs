//! Who takes part, and the turns they take.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Instant;

use syncjournal_tests::Db;

use crate::choice::Choice;
use crate::figures::Book;
use crate::pair::{Pair, Tables};
use crate::peers::{Does, Link, Peer};

/// What every measurement gets.
pub(crate) struct Bench {
    pub(crate) choice: Choice,
    peers: Vec<Box<dyn Peer>>,
}

/// A system with its own pair of clusters, ready to be measured.
pub(crate) struct Entrant {
    pub(crate) name: &'static str,
    pub(crate) does: Does,
    // Before the pair: daemons end before their servers do.
    pub(crate) link: Box<dyn Link>,
    pub(crate) pair: Rc<Pair>,
}

impl Bench {
    pub(crate) fn new(choice: Choice, peers: Vec<Box<dyn Peer>>) -> Self {
        Self { choice, peers }
    }

    pub(crate) fn rounds(&self) -> usize {
        self.choice.rounds
    }

    /// Prepares every system that can take part. `fill` makes the tables, in both databases, with
    /// rows in the source only.
    pub(crate) fn enter(
        &self,
        book: &mut Book,
        wanted: impl Fn(Does) -> bool,
        tables: &Tables,
        fill: impl Fn(&Db, Rows),
    ) -> Vec<Entrant> {
        let names = self.names(book, wanted);
        let entrants = names
            .into_iter()
            .filter_map(|name| attempt(book, name, || self.prepare(name, tables, &fill)));
        entrants.collect()
    }

    /// The systems that are here, can take part, and were asked for; and the baseline.
    pub(crate) fn names(&self, book: &Book, wanted: impl Fn(Does) -> bool) -> Vec<&'static str> {
        let able = self.peers.iter().filter(|peer| wanted(peer.does())).map(|peer| peer.name());
        able.filter(|name| *name == book.baseline || self.choice.wants_peer(name)).collect()
    }

    /// Prepares one system on a new pair of clusters.
    pub(crate) fn prepare(&self, name: &str, tables: &Tables, fill: impl Fn(&Db, Rows)) -> Entrant {
        let peer = self.peers.iter().find(|peer| peer.name() == name);
        let peer = peer.unwrap_or_else(|| panic!("{name} cannot be measured here"));
        eprintln!("    preparing {name}");
        let pair = Rc::new(Pair::start(peer.settings()));
        fill(&pair.source, Rows::All);
        fill(&pair.target, Rows::None);
        let link = peer.prepare(&pair, tables);
        // What preparing has left behind would be larger where a system rewrites tables.
        for db in [&pair.source, &pair.target] {
            db.exec("vacuum (full, analyze)");
        }
        pair.settle();
        Entrant { name: peer.name(), does: peer.does(), link, pair }
    }
}

/// Whether a database begins with rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rows {
    All,
    None,
}

impl Entrant {
    /// Carries the present rows, so that only changes are left to carry, and stops.
    pub(crate) fn first_copy(&mut self) {
        self.link.start();
        let mark = self.pair.mark();
        self.link.wait(&self.pair, mark);
        self.link.stop();
        self.pair.settle();
    }

    /// Panics where the two ends do not hold the same rows: a figure for work not done is none.
    pub(crate) fn compare(&self, tables: &Tables) {
        for table in tables.all() {
            let content = format!(
                "select count(*) || ' rows, sum ' || coalesce(sum(hashtext(r::text)::int8), 0)
                 from {table} r"
            );
            let [source, target] =
                [&self.pair.source, &self.pair.target].map(|db| db.text(&content));
            assert!(
                source == target,
                "{table} differs: {source} at the source, {target} at the target"
            );
        }
    }
}

/// Does something for a system. What goes wrong in it is told in the book and ends that system's part
/// in the measurement, not the others'.
pub(crate) fn attempt<T>(book: &mut Book, name: &str, turn: impl FnOnce() -> T) -> Option<T> {
    attempt_with(book, name, |_| turn())
}

fn attempt_with<T>(book: &mut Book, name: &str, turn: impl FnOnce(&mut Book) -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(|| turn(book))) {
        Ok(result) => Some(result),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let round = book.round;
            book.note(format!("{name} failed in round {round}: {}", text.unwrap_or_default()));
            None
        }
    }
}

/// A turn of each, in order; those that fail leave.
pub(crate) fn take_turns(
    book: &mut Book,
    entrants: &mut Vec<Entrant>,
    turn: impl Fn(&mut Entrant, &mut Book),
) {
    entrants.retain_mut(|entrant| {
        let (name, start) = (entrant.name, Instant::now());
        let done = attempt_with(book, name, |book| turn(entrant, book)).is_some();
        eprintln!("    round {}: {name} {:.1} s", book.round + 1, start.elapsed().as_secs_f64());
        done
    });
}
