//! The command line: one file a command.

mod check;
mod clone;
mod conflicts;
mod export;
mod import;
mod prune;
mod resolve;
mod run;
mod status;
mod sync;

use crate::config::{Config, DEFAULT_PATH};
use crate::conninfo::Environment;
use crate::error::{Error, Result};
use crate::exit::Outcome;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// Keeps Postgres databases in sync by their journals.
#[derive(Debug, Parser)]
#[command(name = "syncjournal-agent", version = concat!("(syncjournal) ", env!("CARGO_PKG_VERSION")))]
#[command(disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// The configuration file
    #[arg(long, global = true, value_name = "FILE", default_value = DEFAULT_PATH)]
    #[arg(overrides_with = "config")]
    config: PathBuf,
    /// Says more; twice: much more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Says nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The service: every link by its mode, until SIGTERM; SIGHUP reloads
    Run,
    /// Brings links up to date once
    Sync(sync::Arguments),
    /// First copy of a link's tables, in parallel; goes on where an earlier one was cut off
    Clone(clone::Arguments),
    /// The prerequisites at both ends, each with its remedy
    Check(check::Arguments),
    /// One line a link: state, mode, lag, entries, conflicts, quarantined
    Status(status::Arguments),
    /// Writes what a link's destination lacks to a file
    Export(export::Arguments),
    /// Applies a file that export wrote
    Import(import::Arguments),
    /// What both sides had changed and waits for a person
    Conflicts(conflicts::Arguments),
    /// Settles such a conflict
    Resolve(resolve::Arguments),
    /// Drops what the journals need not keep any longer
    Prune,
}

impl Cli {
    /// Whether it runs on unattended: its log is then for the journal, not for a terminal.
    pub(crate) fn is_service(&self) -> bool {
        matches!(self.command, Command::Run)
    }

    pub(crate) fn execute(self) -> Result<Outcome> {
        let environment = Environment::of_process();
        let config = Config::load(&self.config, &environment)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::connection("could not start the runtime").caused_by(error))?;
        runtime.block_on(async {
            match self.command {
                Command::Run => run::execute(config, self.config, environment).await,
                Command::Sync(arguments) => sync::execute(&config, &arguments).await,
                Command::Clone(arguments) => clone::execute(&config, &arguments, self.quiet).await,
                Command::Check(arguments) => check::execute(&config, &arguments).await,
                Command::Status(arguments) => status::execute(&config, &arguments).await,
                Command::Export(arguments) => export::execute(&config, &arguments).await,
                Command::Import(arguments) => import::execute(&config, &arguments).await,
                Command::Conflicts(arguments) => conflicts::execute(&config, &arguments).await,
                Command::Resolve(arguments) => resolve::execute(&config, &arguments).await,
                Command::Prune => prune::execute(&config).await,
            }
        })
    }
}
