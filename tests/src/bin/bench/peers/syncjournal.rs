//! What all this is about: the extension, and the agent with a live link.

use std::rc::Rc;

use syncjournal_tests::{Agent, AgentCommand};

use super::{Does, Link, Peer, extension_version, relation_bytes};
use crate::pair::{Pair, Tables};

pub(crate) const NAME: &str = "syncjournal";
/// The journal's segments; entries that cannot be applied, tombstones and the like are not counted.
const SEGMENTS: &str = "n.nspname = 'syncjournal' and c.relname ~ '^journal_[0-9]+$'";

pub(crate) struct SyncJournal;

struct AgentLink {
    pair: Rc<Pair>,
    both_ways: bool,
    agent: Option<Agent>,
    /// It is a `clone`, which ends by itself when both ends were compared.
    copying: bool,
}

impl AgentLink {
    fn configuration(&self) -> String {
        let Pair { source, target, .. } = &*self.pair;
        let direction = if self.both_ways { "both" } else { "push" };
        format!(
            "[node.source]\ndsn = \"{}\"\n[node.target]\ndsn = \"{}\"\n[[link]]\nname = \"bench\"\n\
             source = \"source\"\ndestination = \"target\"\ndirection = \"{direction}\"\n\
             mode = \"live\"\n",
            source.dsn(),
            target.dsn()
        )
    }
}

impl Link for AgentLink {
    fn start(&mut self) {
        self.agent = Some(Agent::run(&self.configuration()));
    }

    fn start_copy(&mut self) {
        let command = AgentCommand::new(&self.configuration()).args(&["clone", "bench"]);
        self.agent = Some(command.start());
        self.copying = true;
    }

    fn stop(&mut self) {
        let copying = std::mem::take(&mut self.copying);
        if let Some(agent) = self.agent.take() {
            let ended = if copying { agent.wait() } else { agent.stop() };
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        }
    }

    fn daemons(&self) -> Vec<u32> {
        self.agent.iter().map(Agent::pid).collect()
    }

    fn forget_deleted(&self) {
        self.pair.source.exec("delete from syncjournal.tombstone");
    }

    fn journal_bytes(&self) -> i64 {
        relation_bytes(&self.pair.source, SEGMENTS)
    }
}

impl Peer for SyncJournal {
    fn name(&self) -> &'static str {
        NAME
    }

    fn look(&self) -> Result<String, String> {
        extension_version("syncjournal")
    }

    fn does(&self) -> Does {
        Does { capture: true, carry: true, both_ways: true }
    }

    fn unlike(&self) -> &'static str {
        "keeps a journal at both ends, from which history, conflicts and files come; the target \
         writes it too. Rows get a version, and an identity where they have no uuid key"
    }

    fn prepare(&self, pair: &Rc<Pair>, tables: &Tables) -> Box<dyn Link> {
        for (db, node) in [(&pair.source, "source"), (&pair.target, "target")] {
            db.exec("create extension syncjournal");
            db.exec(&format!("select syncjournal.create_node('{node}')"));
            for table in tables.all() {
                db.exec(&format!("select syncjournal.track('{table}')"));
            }
        }
        // The agent makes peers known to each other too. Here it is done before the agent runs, since
        // a node without peers would have nobody to keep a backlog for.
        pair.source.exec("select syncjournal.add_peer('target')");
        pair.target.exec("select syncjournal.add_peer('source')");
        let both_ways = !tables.back.is_empty();
        Box::new(AgentLink { pair: Rc::clone(pair), both_ways, agent: None, copying: false })
    }
}
