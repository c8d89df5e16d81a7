//! `syncjournal-agent`: follows journals and applies them to other databases.
//!
//! ```text
//! cli -> supervisor | clone -> link -> source | target | transport -> replication | pgoutput | net
//! ```
//!
//! | module | what it does |
//! | --- | --- |
//! | [`cli`], [`output`], [`exit`], [`logging`] | commands, what they print, how they end |
//! | [`config`], [`conninfo`], [`database`] | the configuration file; connection strings as libpq has them; a node's database |
//! | [`supervisor`], [`service`] | all links of `run`; signals; what systemd hears |
//! | [`link`] | one flow of a link: first sync, catch-up by window, live stream, retries |
//! | [`source`], [`target`] | the two ends: what is asked of the extension there |
//! | [`clone`] | the first copy: tables by several sessions at once, resumable |
//! | [`transport`] | a set as a file |
//! | [`replication`], [`pgoutput`], [`net`] | the wire |
//!
//! The agent holds no truth of its own: how far a target has come stands in the target, written
//! with the rows. It may be killed at any moment.

#![forbid(unsafe_code)]

mod cli;
mod clone;
mod config;
mod conninfo;
mod database;
mod error;
mod exit;
mod link;
mod logging;
mod net;
mod output;
mod pgoutput;
mod replication;
mod service;
mod source;
mod supervisor;
mod target;
mod transport;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    logging::start(cli.verbose, cli.quiet, cli.is_service());
    match cli.execute() {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            logging::report(&error);
            exit::code_of(&error)
        }
    }
}
