//! pgbench: its tables, its transactions, and small ones of our own.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use syncjournal_tests::{Db, server};

use crate::bench::Rows;
use crate::peers::ran;

/// Its tables, to be tracked.
pub(crate) const TABLES: [&str; 4] =
    ["pgbench_accounts", "pgbench_branches", "pgbench_tellers", "pgbench_history"];
/// The rows of `pgbench_accounts` for one step of its scale.
pub(crate) const ROWS_A_SCALE: usize = 100_000;

/// The transactions that pgbench knows by name.
pub(crate) const TPCB: &str = "tpcb-like";
pub(crate) const SIMPLE: &str = "simple-update";

/// Makes its tables; `pgbench_history` gets a key, which Slony and Bucardo ask for.
pub(crate) fn fill(db: &Db, scale: usize, rows: Rows) {
    let steps = if rows == Rows::All { "dtgp" } else { "dtp" };
    ran(Command::new(server().bin.join("pgbench"))
        .args(["--initialize", "--quiet", "--init-steps", steps])
        .args(["--scale", &scale.to_string()])
        .arg(db.dsn()));
    db.exec("alter table pgbench_history add id bigserial primary key");
}

/// A run that is being put together.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    clients: usize,
    /// What it runs, and how.
    more: Vec<String>,
    asynchronous: bool,
}

/// How a run went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Done {
    pub(crate) transactions: f64,
    pub(crate) tps: f64,
}

impl Run {
    /// One of its own scripts.
    pub(crate) fn of(script: &str, clients: usize) -> Self {
        let more = ["--protocol=prepared", "--builtin", script].map(str::to_owned).to_vec();
        Self { clients, more, asynchronous: false }
    }

    /// A script of ours. Its statements are sent as text: variables may stand anywhere in them.
    pub(crate) fn of_file(script: &Path, clients: usize) -> Self {
        let script = script.to_string_lossy().into_owned();
        let more = vec!["--protocol=simple".to_owned(), "--file".to_owned(), script];
        Self { clients, more, asynchronous: false }
    }

    /// For some seconds.
    pub(crate) fn seconds(self, seconds: usize) -> Self {
        self.option("--time", seconds)
    }

    /// This many transactions of all clients together.
    pub(crate) fn transactions(self, count: usize) -> Self {
        let each = count.div_ceil(self.clients).max(1);
        self.option("--transactions", each)
    }

    /// So many transactions a second, as far as they can be done.
    pub(crate) fn rate(self, rate: usize) -> Self {
        self.option("--rate", rate)
    }

    /// With `synchronous_commit` off, for these sessions only.
    pub(crate) fn asynchronous(mut self, yes: bool) -> Self {
        self.asynchronous = yes;
        self
    }

    fn option(mut self, name: &str, value: usize) -> Self {
        self.more.extend([name.to_owned(), value.to_string()]);
        self
    }

    fn command(&self, db: &Db) -> Command {
        let mut command = Command::new(server().bin.join("pgbench"));
        command
            // Its own vacuum would also truncate the history.
            .arg("--no-vacuum")
            .args([
                "--client",
                &self.clients.to_string(),
                "--jobs",
                &self.clients.min(2).to_string(),
            ])
            .args(&self.more);
        if self.asynchronous {
            command.env("PGOPTIONS", "-c synchronous_commit=off");
        }
        command.arg(db.dsn());
        command
    }

    /// Runs it to its end.
    pub(crate) fn finish(&self, db: &Db) -> Done {
        parse(&ran(&mut self.command(db)))
    }

    /// Starts it in the background.
    pub(crate) fn start(&self, db: &Db) -> Child {
        let mut command = self.command(db);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("pgbench was found before")
    }
}

fn parse(output: &str) -> Done {
    let after = |words: &str| {
        let line = output.lines().find_map(|line| line.trim().strip_prefix(words));
        let number = line.and_then(|line| line.split([' ', '/']).find(|word| !word.is_empty()));
        number.and_then(|number| number.parse().ok())
    };
    let transactions = after("number of transactions actually processed:");
    let both = transactions.zip(after("tps ="));
    let (transactions, tps) = both.unwrap_or_else(|| panic!("pgbench said:\n{output}"));
    Done { transactions, tps }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pgbench_says_is_read() {
        let timed = "number of transactions actually processed: 1024\nlatency average = 1 ms\n\
                     tps = 85.184871 (without initial connection time)\n";
        assert_eq!(parse(timed), Done { transactions: 1024.0, tps: 85.184_871 });
        let counted = "number of transactions actually processed: 100/100\ntps = 9.5 (x)\n";
        assert_eq!(parse(counted), Done { transactions: 100.0, tps: 9.5 });
    }
}
