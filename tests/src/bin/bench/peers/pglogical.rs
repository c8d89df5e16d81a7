//! pglogical: the extension that native replication grew from.

use std::rc::Rc;

use syncjournal_tests::Db;

use super::{Does, Link, Peer, extension_version};
use crate::pair::{Pair, Tables, wait};

pub(crate) struct Pglogical;

struct Subscriptions {
    pair: Rc<Pair>,
    both_ways: bool,
    made: bool,
}

impl Subscriptions {
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
                true => format!("select pglogical.alter_subscription_enable('{name}', true)"),
                false => format!(
                    "select pglogical.create_subscription(
                         subscription_name := '{name}', provider_dsn := '{}',
                         replication_sets := '{{{name}}}', forward_origins := '{{}}')",
                    from.dsn()
                ),
            });
        }
        self.made = true;
    }

    /// The first copy is over when it is over for every table.
    fn wait(&self, pair: &Pair, mark: i32) {
        let copying = "select exists (select from pglogical.local_sync_status
                                      where sync_status not in ('y', 'r'))";
        for (_, to, _) in self.ways() {
            wait("all tables are copied", || !to.query_one::<bool>(copying));
        }
        pair.wait(mark);
    }

    fn stop(&mut self) {
        for (_, to, name) in self.ways() {
            to.exec(&format!("select pglogical.alter_subscription_disable('{name}', true)"));
        }
        for (from, _, _) in self.ways() {
            let active = "select exists (select from pg_replication_slots where active)";
            wait("the walsender has gone", || !from.query_one::<bool>(active));
        }
    }
}

impl Peer for Pglogical {
    fn name(&self) -> &'static str {
        "pglogical"
    }

    fn look(&self) -> Result<String, String> {
        extension_version("pglogical")
    }

    fn does(&self) -> Does {
        Does { capture: false, carry: true, both_ways: true }
    }

    fn unlike(&self) -> &'static str {
        "keeps no journal; settles conflicts by last update wins, and tells of them in the server's \
         log only; needs track_commit_timestamp for that"
    }

    fn settings(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("shared_preload_libraries", "pglogical"),
            ("track_commit_timestamp", "on"),
            ("pglogical.conflict_resolution", "last_update_wins"),
        ]
    }

    fn prepare(&self, pair: &Rc<Pair>, tables: &Tables) -> Box<dyn Link> {
        let both_ways = !tables.back.is_empty();
        let link = Subscriptions { pair: Rc::clone(pair), both_ways, made: false };
        for (db, node) in [(&pair.source, "source"), (&pair.target, "target")] {
            allow_plugin(db);
            db.exec("create extension pglogical");
            let dsn = db.dsn();
            db.exec(&format!(
                "select pglogical.create_node(node_name := '{node}', dsn := '{dsn}')"
            ));
        }
        let lists = [&tables.forth, &tables.back];
        for ((from, _, name), tables) in link.ways().into_iter().zip(lists) {
            from.exec(&format!("select pglogical.create_replication_set('{name}')"));
            for table in tables {
                from.exec(&format!(
                    "select pglogical.replication_set_add_table('{name}', '{table}')"
                ));
            }
        }
        Box::new(link)
    }
}

/// Newer minor versions of Postgres ask for output plugins to be named; older ones know no such setting.
fn allow_plugin(db: &Db) {
    let known = "select exists (select from pg_settings where name = 'output_plugin_libraries')";
    if db.query_one::<bool>(known) {
        db.exec(
            "alter system set output_plugin_libraries = pgoutput, test_decoding, pglogical_output",
        );
        db.exec("select pg_reload_conf()");
    }
}
