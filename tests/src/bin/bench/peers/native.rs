//! Logical replication as Postgres has it: a publication and a subscription.

use std::rc::Rc;

use syncjournal_tests::server;

use super::subscriptions::{Subscriptions, Words};
use super::{Does, Link, Peer, ran};
use crate::pair::{Pair, Tables};

pub(crate) struct Native;

const WORDS: Words = Words {
    create: |name, dsn| format!("create subscription {name} connection '{dsn}' publication {name}"),
    enable: |name| format!("alter subscription {name} enable"),
    disable: |name| format!("alter subscription {name} disable"),
    copying: "select exists (select from pg_subscription_rel where srsubstate <> 'r')",
};

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
        let link = Subscriptions::new(pair, tables, &WORDS);
        let lists = [&tables.forth, &tables.back];
        for ((from, _, name), tables) in link.ways().into_iter().zip(lists) {
            from.exec(&format!("create publication {name} for table {}", tables.join(", ")));
        }
        Box::new(link)
    }
}
