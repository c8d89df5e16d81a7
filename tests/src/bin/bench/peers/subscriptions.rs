//! Links by subscriptions, which native replication and pglogical have both, each in its own words.

use std::rc::Rc;

use syncjournal_tests::Db;

use super::Link;
use crate::pair::{Pair, Tables, wait};

/// What a system says for what a subscription is to do.
pub(super) struct Words {
    /// Name and the source's connection string.
    pub(super) create: fn(&str, &str) -> String,
    pub(super) enable: fn(&str) -> String,
    pub(super) disable: fn(&str) -> String,
    /// Asks the target whether first copies are under way.
    pub(super) copying: &'static str,
}

pub(super) struct Subscriptions {
    pair: Rc<Pair>,
    both_ways: bool,
    made: bool,
    words: &'static Words,
}

impl Subscriptions {
    pub(super) fn new(pair: &Rc<Pair>, tables: &Tables, words: &'static Words) -> Self {
        let both_ways = !tables.back.is_empty();
        Self { pair: Rc::clone(pair), both_ways, made: false, words }
    }

    /// From where, to where, and the name of what is offered there and of its subscription.
    pub(super) fn ways(&self) -> Vec<(&Db, &Db, &'static str)> {
        let Pair { source, target, .. } = &*self.pair;
        let forth = (source, target, "forth");
        if self.both_ways { vec![forth, (target, source, "back")] } else { vec![forth] }
    }
}

impl Link for Subscriptions {
    fn start(&mut self) {
        for (from, to, name) in self.ways() {
            let Words { create, enable, .. } = self.words;
            to.exec(&if self.made { enable(name) } else { create(name, &from.dsn()) });
        }
        self.made = true;
    }

    /// The first copy is over when it is over for every table.
    fn wait(&self, pair: &Pair, mark: i32) {
        for (_, to, _) in self.ways() {
            wait("all tables are copied", || !to.query_one::<bool>(self.words.copying));
        }
        pair.wait(mark);
    }

    fn stop(&mut self) {
        for (_, to, name) in self.ways() {
            to.exec(&(self.words.disable)(name));
        }
        // A walsender that is still there would be counted as working in the next turn.
        for (from, _, _) in self.ways() {
            let active = "select exists (select from pg_replication_slots
                                         where database = current_database() and active)";
            wait("the walsender has gone", || !from.query_one::<bool>(active));
        }
    }
}
