//! Logical replication as Postgres has it: a publication and a subscription.

use std::rc::Rc;

use syncjournal_tests::{Db, server};

use super::{Does, Link, Peer, ran};
use crate::pair::{Pair, Tables, wait};

pub(crate) struct Native;

struct Subscriptions {
    pair: Rc<Pair>,
    both_ways: bool,
    made: bool,
}

impl Subscriptions {
    /// From where, to where, and the name of publication and subscription.
    fn ways(&self) -> Vec<(&Db, &Db, &'static str)> {
        let Pair { source, target, .. } = &*self.pair;
        let forth = (source, target, "forth");
        if self.both_ways { vec![forth, (target, source, "back")] } else { vec![forth] }
    }
}

impl Link for Subscriptions {
    fn start(&mut self) {
        for (from, to, name) in self.ways() {
            to.exec(&match self.made {
                true => format!("alter subscription {name} enable"),
                false => format!(
                    "create subscription {name} connection '{}' publication {name}",
                    from.dsn()
                ),
            });
        }
        self.made = true;
    }

    /// The first copy is over when it is over for every table.
    fn wait(&self, pair: &Pair, mark: i32) {
        let copying = "select exists (select from pg_subscription_rel where srsubstate <> 'r')";
        for (_, to, _) in self.ways() {
            wait("all tables are copied", || !to.query_one::<bool>(copying));
        }
        pair.wait(mark);
    }

    fn stop(&mut self) {
        for (_, to, name) in self.ways() {
            to.exec(&format!("alter subscription {name} disable"));
        }
        // A walsender that is still there would be counted as working in the next turn.
        for (from, _, name) in self.ways() {
            let active = format!(
                "select exists (select from pg_replication_slots
                                where slot_name = '{name}' and active)"
            );
            wait("the walsender has gone", || !from.query_one::<bool>(&active));
        }
    }
}

impl Peer for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn look(&self) -> Result<String, String> {
        let postgres = server().bin.join("postgres");
        Ok(ran(std::process::Command::new(postgres).arg("--version")).trim().to_owned())
    }

    fn does(&self) -> Does {
        Does { capture: false, carry: true, both_ways: true }
    }

    fn unlike(&self) -> &'static str {
        "keeps no journal: the WAL is all that it captures, and nothing of the past can be read; no \
         conflicts are told; a subscription that stands still holds back the WAL"
    }

    fn prepare(&self, pair: &Rc<Pair>, tables: &Tables) -> Box<dyn Link> {
        let both_ways = !tables.back.is_empty();
        let link = Subscriptions { pair: Rc::clone(pair), both_ways, made: false };
        let lists = [&tables.forth, &tables.back];
        for ((from, _, name), tables) in link.ways().into_iter().zip(lists) {
            from.exec(&format!("create publication {name} for table {}", tables.join(", ")));
        }
        Box::new(link)
    }
}
