//! Bucardo: triggers that note keys, and a daemon in Perl that compares and copies.

use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use syncjournal_tests::{Db, Guard};
use tempfile::TempDir;

use super::{Does, Link, Peer, extension_version, program_version, ran, relation_bytes};
use crate::pair::{Pair, Tables, wait};

pub(crate) struct Bucardo;

struct Daemon {
    pair: Rc<Pair>,
    folder: TempDir,
    /// While it runs: ends it should this process be killed.
    running: Option<Guard>,
}

impl Daemon {
    fn call(&self, user: &str, database: &str, arguments: &[&str]) {
        let cluster = self.pair.source.cluster();
        // It leaves files in its home and in its folder.
        ran(Command::new("bucardo")
            .env("HOME", self.folder.path())
            .current_dir(self.folder.path())
            .arg("--no-bucardorc")
            .args(["--dbuser", user, "--dbname", database])
            .arg("--dbhost")
            .arg(cluster.socket())
            .args(["--dbport", &cluster.port().to_string()])
            .args(arguments));
    }

    fn command(&self, arguments: &[&str]) {
        self.call("bucardo", "bucardo", arguments);
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_string_lossy().into_owned()
    }

    fn database(&self, name: &str, db: &Db) {
        let cluster = db.cluster();
        let host = format!("host={}", cluster.socket().display());
        let port = format!("port={}", cluster.port());
        let database = format!("dbname={}", db.name());
        self.command(&["add", "db", name, &database, &host, &port, "user=postgres"]);
    }
}

impl Link for Daemon {
    fn start(&mut self) {
        let folder = self.file("");
        self.command(&["start", "--log-destination", &folder]);
        // It must not outlive this process, however that ends.
        let kill = "kill $(head -n 1 \"$1/bucardo.mcp.pid\"); rm -rf \"$1\"";
        self.running = Some(Guard::new(kill, &[&folder]));
        wait("bucardo has started", || !self.daemons().is_empty());
    }

    fn stop(&mut self) {
        if let Some(guard) = self.running.take() {
            self.command(&["stop"]);
            // The command only asks for it.
            wait("bucardo has stopped", || {
                let files = ["bucardo.mcp.pid", "bucardo.vac.pid"];
                files.iter().all(|file| !Path::new(&self.file(file)).exists())
            });
            guard.release();
        }
    }

    fn daemons(&self) -> Vec<u32> {
        let pid = std::fs::read_to_string(self.file("bucardo.mcp.pid")).unwrap_or_default();
        pid.lines().next().and_then(|pid| pid.trim().parse().ok()).into_iter().collect()
    }

    fn journal_bytes(&self) -> i64 {
        let tables = "n.nspname = 'bucardo' and c.relname ~ '^(delta|track)_'";
        relation_bytes(&self.pair.source, tables)
    }
}

/// A folder for its files. It takes names in small letters only.
fn folder() -> TempDir {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("syncjournal-bucardo-{}-{number}", std::process::id());
    let folder = tempfile::Builder::new().prefix(&name).rand_bytes(0).tempdir();
    folder.expect("a temporary folder can be made")
}

impl Peer for Bucardo {
    fn name(&self) -> &'static str {
        "bucardo"
    }

    fn look(&self) -> Result<String, String> {
        extension_version("plperlu")?;
        program_version("bucardo", "--version")
    }

    fn does(&self) -> Does {
        Does { capture: true, carry: true, both_ways: false }
    }

    fn unlike(&self) -> &'static str {
        "notes only keys, and carries the rows as they are by then; set up one way, though it can more"
    }

    fn prepare(&self, pair: &Rc<Pair>, tables: &Tables) -> Box<dyn Link> {
        let link = Daemon { pair: Rc::clone(pair), folder: folder(), running: None };
        let folder = link.file("");
        let pids = format!("piddir={folder}");
        let reason = format!("reason_file={}", link.file("reason"));
        let warning = format!("warning_file={}", link.file("warning"));
        link.call("postgres", "postgres", &["install", "--batch", "--piddir", &folder]);
        link.command(&["set", &pids, &reason, &warning]);
        link.database("source", &pair.source);
        link.database("target", &pair.target);
        let names = tables.forth.iter().map(|table| format!("public.{table}")).collect::<Vec<_>>();
        let mut add = vec!["add", "table"];
        add.extend(names.iter().map(String::as_str));
        add.extend(["db=source", "herd=all"]);
        link.command(&add);
        let ends = "dbs=source:source,target:target";
        link.command(&[
            "add",
            "sync",
            "bench",
            "relgroup=all",
            ends,
            "onetimecopy=2",
            "autokick=1",
        ]);
        Box::new(link)
    }
}
