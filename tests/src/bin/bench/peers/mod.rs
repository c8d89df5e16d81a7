//! The systems that are measured: one file for each.

mod audit;
mod bucardo;
mod daemon;
mod londiste;
mod native;
mod pglogical;
mod slony;
mod subscriptions;
pub(crate) mod syncjournal;
mod untracked;

use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;

use syncjournal_tests::{Db, server};

use crate::pair::{Pair, Tables};

/// What a system can be measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Does {
    /// It does something in the transaction that writes. Where it does not, that transaction costs
    /// what it costs untracked.
    pub(crate) capture: bool,
    /// It brings changes to a target.
    pub(crate) carry: bool,
    /// It can be told here to carry some tables there and others back.
    pub(crate) both_ways: bool,
}

/// A system to be measured.
pub(crate) trait Peer {
    fn name(&self) -> &'static str;

    /// Its version; or why it cannot be measured here.
    fn look(&self) -> Result<String, String>;

    fn does(&self) -> Does;

    /// In what it is unlike the others, for the reader of the numbers.
    fn unlike(&self) -> &'static str;

    /// The settings that it needs beyond those of all.
    fn settings(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// Does everything up to the moment from which writes to the source are captured, where the
    /// system captures, and from which [`Link::start`] brings the present rows, and then all changes.
    fn prepare(&self, pair: &Rc<Pair>, tables: &Tables) -> Box<dyn Link>;
}

/// A system between the two ends of a pair.
pub(crate) trait Link {
    /// Begins to carry, or goes on where it was stopped.
    fn start(&mut self) {
        unreachable!("a system that does not carry is not started");
    }

    /// Begins the first copy of tables that are large; `stop` ends it, or what goes on from there.
    fn start_copy(&mut self) {
        self.start();
    }

    /// Stops carrying; capture goes on.
    fn stop(&mut self) {}

    /// Waits until the target shows what was written before the marker.
    fn wait(&self, pair: &Pair, mark: i32) {
        pair.wait(mark);
    }

    /// Takes away what it keeps of rows that are gone, as retention does in time: the next round begins
    /// like the first.
    fn forget_deleted(&self) {}

    /// Its processes outside the two servers.
    fn daemons(&self) -> Vec<u32> {
        Vec::new()
    }

    /// The bytes on the source's disk of what it has captured, indexes included.
    fn journal_bytes(&self) -> i64 {
        0
    }
}

/// All systems, in the order in which they take turns.
pub(crate) fn all() -> Vec<Box<dyn Peer>> {
    vec![
        Box::new(untracked::Untracked),
        Box::new(native::Native),
        Box::new(syncjournal::SyncJournal),
        Box::new(audit::Audit),
        Box::new(pglogical::Pglogical),
        Box::new(slony::Slony),
        Box::new(londiste::Londiste),
        Box::new(bucardo::Bucardo),
    ]
}

/// The version of an extension of the server, by its control file.
fn extension_version(name: &str) -> Result<String, String> {
    let folder = ran(Command::new(server().bin.join("pg_config")).arg("--sharedir"));
    let control = PathBuf::from(folder.trim()).join("extension").join(format!("{name}.control"));
    let text = std::fs::read_to_string(control)
        .map_err(|_| format!("extension {name} is not installed in the server"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("default_version"));
    let version = line.unwrap_or_default().trim_matches([' ', '=', '\'']);
    Ok(format!("{name} {version}"))
}

/// Whether the server has a library whose name begins so.
fn library(prefix: &str) -> Result<(), String> {
    let folder = ran(Command::new(server().bin.join("pg_config")).arg("--pkglibdir"));
    let files = std::fs::read_dir(folder.trim()).expect("the server has a folder of libraries");
    let mut names = files.flatten().map(|file| file.file_name());
    match names.any(|name| name.to_string_lossy().starts_with(prefix)) {
        true => Ok(()),
        false => Err(format!("library {prefix} is not installed in the server")),
    }
}

/// What a program says of its version.
fn program_version(name: &str, argument: &str) -> Result<String, String> {
    let output = Command::new(name).arg(argument).output();
    let output = output.map_err(|_| format!("program {name} is not installed"))?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
}

/// Runs a program to its end, and returns what it said; panics where it fails.
pub(crate) fn ran(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (&output.stdout, &output.stderr);
    let said = [out, err].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(output.status.success(), "{command:?} failed\n{}{}", said[0], said[1]);
    said[0].clone()
}

/// Tables of the journal by a condition on `pg_class`, with their indexes and TOAST.
fn relation_bytes(db: &Db, condition: &str) -> i64 {
    db.query_one(&format!(
        "select coalesce(sum(pg_total_relation_size(c.oid)), 0)::int8
         from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where c.relkind = 'r' and {condition}"
    ))
}
