//! Slony-I: C triggers into a log, and a daemon for each node that takes turns with it.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::rc::Rc;

use syncjournal_tests::Db;
use tempfile::TempDir;

use super::daemon::Daemon;
use super::{Does, Link, Peer, library, program_version, relation_bytes};
use crate::pair::{Pair, Tables};

/// Milliseconds between its turns. Its default of two seconds would say nothing of what it can do.
const INTERVAL: &str = "100";
const CLUSTER: &str = "bench";

pub(crate) struct Slony;

struct Slons {
    pair: Rc<Pair>,
    subscribed: bool,
    running: Vec<Daemon>,
    folder: TempDir,
}

impl Slons {
    /// Runs commands of its own language.
    fn slonik(&self, commands: &str) {
        let Pair { source, target, .. } = &*self.pair;
        let (one, two) = (source.dsn(), target.dsn());
        let script = format!(
            "cluster name = {CLUSTER};\nnode 1 admin conninfo = '{one}';\n\
             node 2 admin conninfo = '{two}';\n{commands}"
        );
        let mut slonik = Command::new("slonik")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("slonik was found before");
        let mut stdin = slonik.stdin.take().expect("it was asked for");
        stdin.write_all(script.as_bytes()).expect("slonik reads its script");
        drop(stdin);
        let done = slonik.wait_with_output().expect("a child can be waited for");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "slonik failed: {said}\n{script}");
    }

    fn daemon(&self, name: &str, db: &Db) -> Daemon {
        let mut slon = Command::new("slon");
        slon.args(["-s", INTERVAL, CLUSTER, &db.dsn()]);
        Daemon::start(&mut slon, &self.folder.path().join(name))
    }
}

impl Link for Slons {
    fn start(&mut self) {
        let Pair { source, target, .. } = &*self.pair;
        self.running = vec![self.daemon("source", source), self.daemon("target", target)];
        if !self.subscribed {
            self.slonik("subscribe set (id = 1, provider = 1, receiver = 2, forward = no);");
            self.subscribed = true;
        }
    }

    fn stop(&mut self) {
        self.running.drain(..).for_each(Daemon::end);
    }

    fn daemons(&self) -> Vec<u32> {
        self.running.iter().map(Daemon::pid).collect()
    }

    fn journal_bytes(&self) -> i64 {
        let logs = format!("n.nspname = '_{CLUSTER}' and c.relname in ('sl_log_1', 'sl_log_2')");
        relation_bytes(&self.pair.source, &logs)
    }
}

impl Peer for Slony {
    fn name(&self) -> &'static str {
        "slony"
    }

    fn look(&self) -> Result<String, String> {
        program_version("slonik", "-v")?;
        let version = program_version("slon", "-v")?;
        library("slony1_funcs").map(|()| version)
    }

    fn does(&self) -> Does {
        Does { capture: true, carry: true, both_ways: false }
    }

    fn unlike(&self) -> &'static str {
        "one way; its log goes when all have it; runs with -s 100 (a turn each 100 ms at least), not \
         with its default of 2 s"
    }

    fn prepare(&self, pair: &Rc<Pair>, tables: &Tables) -> Box<dyn Link> {
        let link = Slons {
            pair: Rc::clone(pair),
            subscribed: false,
            running: Vec::new(),
            folder: tempfile::tempdir().expect("a temporary folder can be made"),
        };
        let (one, two) = (pair.source.dsn(), pair.target.dsn());
        let mut script = "init cluster (id = 1, comment = 'source');\n\
             create set (id = 1, origin = 1, comment = 'all');\n"
            .to_owned();
        for (index, table) in tables.forth.iter().enumerate() {
            let id = index + 1;
            script += &format!(
                "set add table (set id = 1, origin = 1, id = {id}, \
                 fully qualified name = 'public.{table}');\n"
            );
        }
        script += &format!(
            "store node (id = 2, comment = 'target', event node = 1);\n\
             store path (server = 1, client = 2, conninfo = '{one}');\n\
             store path (server = 2, client = 1, conninfo = '{two}');\n"
        );
        link.slonik(&script);
        Box::new(link)
    }
}
