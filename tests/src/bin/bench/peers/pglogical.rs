//! pglogical: the extension that native replication grew from.

use std::rc::Rc;

use syncjournal_tests::Db;

use super::subscriptions::{Subscriptions, Words};
use super::{Does, Link, Peer, extension_version};
use crate::pair::{Pair, Tables};

pub(crate) struct Pglogical;

const WORDS: Words = Words {
    create: |name, dsn| {
        format!(
            "select pglogical.create_subscription(
                 subscription_name := '{name}', provider_dsn := '{dsn}',
                 replication_sets := '{{{name}}}', forward_origins := '{{}}')"
        )
    },
    enable: |name| format!("select pglogical.alter_subscription_enable('{name}', true)"),
    disable: |name| format!("select pglogical.alter_subscription_disable('{name}', true)"),
    copying: "select exists (select from pglogical.local_sync_status
                             where sync_status not in ('y', 'r'))",
};

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
        let link = Subscriptions::new(pair, tables, &WORDS);
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
