//! `import`: applies a file that `export` wrote.

use crate::config::{Config, LinkOptions};
use crate::error::{Error, Kind, Result};
use crate::exit::Outcome;
use crate::net::SessionName;
use crate::output::{Table, print, print_json};
use crate::target::{Target, Totals};
use crate::transport::SetReader;
use clap::Args;
use std::path::PathBuf;
use syncjournal_core::wire::{Header, SetPart};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The file to read; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The node of the configuration that takes it
    #[arg(long, value_name = "NODE")]
    to: String,
    /// Applies everything and takes it back: shows what would happen
    #[arg(short = 'n', long, alias = "noupdate")]
    dry_run: bool,
    /// Takes a set from a node of higher rank, too
    #[arg(long)]
    allow_backward: bool,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn execute(config: &Config, arguments: &Arguments) -> Result<Outcome> {
    let node = config.node(&arguments.to)?;
    let mut reader = SetReader::open(&arguments.file).await?;
    let mut target = Target::connect(node, &SessionName::of_command("import")).await?;
    target.allow_backward = arguments.allow_backward;
    if arguments.dry_run {
        target.begin_trial().await?;
    }
    let mut totals = Totals::default();
    let mut peer = None;
    while let Some(part) = reader.next().await? {
        let header = header_of(&part)?;
        if peer.is_none() {
            // The set says where it is from; whether it may come is for the target to know.
            let source = &header.source;
            let name = target.database.peer_of(source, &source.name).await?;
            let name = name.unwrap_or_else(|| source.name.clone());
            let none = LinkOptions::default();
            let registered =
                target.database.register(&name, Some(source.node_id), "receive", &none);
            peer = Some(registered.await?);
        }
        totals += target.apply(&part, header.continues).await?;
    }
    let Some(peer) = peer else {
        return Err(Error::new(Kind::File, "the file is empty"));
    };
    if target.in_set() && !arguments.dry_run {
        return Err(Error::new(Kind::File, "the file ends within a transaction of the source")
            .hint("Bring the whole file: nothing of that transaction was applied."));
    }
    let unsettled = target.unsettled(&peer).await?;
    if arguments.dry_run {
        target.end_trial().await?;
    }
    if arguments.json {
        print_json(&totals)?;
    } else {
        print(&table(&totals).render())?;
    }
    Ok(if unsettled > 0 { Outcome::NeedsPerson } else { Outcome::Done })
}

fn header_of(part: &[u8]) -> Result<Header> {
    SetPart::parse(part).map(|part| part.header).map_err(|error| {
        Error::new(Kind::File, error.to_string())
            .hint("Bring the file again from where it was made, or export a new one.")
    })
}

fn table(totals: &Totals) -> Table {
    let mut table = Table::new(&Totals::HEADINGS);
    table.row(totals.cells());
    table
}
