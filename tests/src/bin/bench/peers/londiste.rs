//! Londiste: triggers into a queue, a ticker that cuts it into batches, a worker for each node.

use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;

use syncjournal_tests::Db;
use tempfile::TempDir;

use super::daemon::Daemon;
use super::{Does, Link, Peer, extension_version, program_version, ran, relation_bytes};
use crate::pair::{Pair, Tables, wait};

/// The longest between two ticks. The default of 3 s, and a minute where nothing happens, would say
/// nothing of what it can do.
const TICK: &str = "100 milliseconds";
const QUEUE: &str = "bench";
const SOURCE: &str = "source";
const TARGET: &str = "target";

pub(crate) struct Londiste;

struct Workers {
    pair: Rc<Pair>,
    tables: Vec<String>,
    /// Whether the first copy was asked for.
    subscribed: bool,
    running: Vec<Daemon>,
    folder: TempDir,
}

impl Workers {
    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn configure(&self) {
        let folder = self.folder.path().display();
        for (name, db) in [(SOURCE, &self.pair.source), (TARGET, &self.pair.target)] {
            let text = format!(
                "[londiste]\njob_name = {name}\ndb = {}\nqueue_name = {QUEUE}\nloop_delay = 0.05\n\
                 parallel_copies = 8\n\
                 logfile = {folder}/{name}.log\npidfile = {folder}/{name}.pid\n",
                db.dsn()
            );
            self.write(name, &text);
        }
        let source = self.pair.source.cluster();
        let text = format!(
            "[pgqd]\nbase_connstr = host={} port={} user=postgres\ninitial_database = postgres\n\
             database_list = {}\nlogfile = {folder}/pgqd.log\npidfile = {folder}/pgqd.pid\n\
             ticker_period = 0.1\ncheck_period = 1\nretry_period = 1\n",
            source.socket().display(),
            source.port(),
            self.pair.source.name()
        );
        self.write("pgqd", &text);
    }

    fn write(&self, name: &str, text: &str) {
        let file = self.file(&format!("{name}.ini"));
        std::fs::write(file, text).expect("a temporary folder is writable");
    }

    fn londiste(&self, node: &str) -> Command {
        let mut command = Command::new("londiste");
        command.current_dir(self.folder.path()).arg(self.file(&format!("{node}.ini")));
        command
    }

    fn add_tables(&self, node: &str) {
        let names = self.tables.iter().map(|table| format!("public.{table}"));
        ran(self.londiste(node).arg("add-table").args(names));
    }

    fn worker(&self, node: &str) -> Daemon {
        Daemon::start(self.londiste(node).arg("worker"), &self.file(&format!("{node}.out")))
    }
}

impl Link for Workers {
    fn start(&mut self) {
        let mut ticker = Command::new("pgqd");
        ticker.arg(self.file("pgqd.ini"));
        self.running = vec![
            Daemon::start(&mut ticker, &self.file("pgqd.out")),
            self.worker(SOURCE),
            self.worker(TARGET),
        ];
        if !self.subscribed {
            self.add_tables(TARGET);
            self.subscribed = true;
        }
    }

    /// Each table is copied by a process of its own that must not be left behind.
    fn wait(&self, pair: &Pair, mark: i32) {
        let copying = "select exists (select from londiste.table_info
                                      where local and merge_state is distinct from 'ok')";
        wait("all tables are copied", || !pair.target.query_one::<bool>(copying));
        pair.wait(mark);
    }

    fn stop(&mut self) {
        self.running.drain(..).for_each(Daemon::end);
    }

    fn daemons(&self) -> Vec<u32> {
        self.running.iter().map(Daemon::pid).collect()
    }

    fn journal_bytes(&self) -> i64 {
        let events = "n.nspname = 'pgq' and c.relname ~ '^event_[0-9]+_[0-9]+$'";
        relation_bytes(&self.pair.source, events)
    }
}

impl Peer for Londiste {
    fn name(&self) -> &'static str {
        "londiste"
    }

    fn look(&self) -> Result<String, String> {
        extension_version("pgq")?;
        extension_version("londiste")?;
        program_version("pgqd", "-V")?;
        program_version("londiste", "--version")
    }

    fn does(&self) -> Does {
        Does { capture: true, carry: true, both_ways: false }
    }

    fn unlike(&self) -> &'static str {
        "one way; its queue goes when all have it; ticks each 100 ms at most, not its defaults of 3 s and \
         60 s; copies eight tables at a time, not its default of one"
    }

    fn prepare(&self, pair: &Rc<Pair>, tables: &Tables) -> Box<dyn Link> {
        let link = Workers {
            pair: Rc::clone(pair),
            tables: tables.forth.clone(),
            subscribed: false,
            running: Vec::new(),
            folder: tempfile::tempdir().expect("a temporary folder can be made"),
        };
        link.configure();
        let (source, target) = (pair.source.dsn(), pair.target.dsn());
        ran(link.londiste(SOURCE).args(["create-root", SOURCE, &source]));
        let provider = format!("--provider={source}");
        ran(link.londiste(TARGET).args(["create-leaf", TARGET, &target, &provider]));
        set_ticks(&pair.source);
        link.add_tables(SOURCE);
        Box::new(link)
    }
}

fn set_ticks(source: &Db) {
    for setting in ["ticker_max_lag", "ticker_idle_period"] {
        source.exec(&format!("select pgq.set_queue_config('{QUEUE}', '{setting}', '{TICK}')"));
    }
}
