//! `export`: what a link's destination lacks, as a file.

use crate::config::Config;
use crate::error::{Error, Result};
use crate::exit::Outcome;
use crate::net::SessionName;
use crate::output::{Table, print};
use crate::source::{Purpose, Source, WindowMode};
use crate::transport::SetWriter;
use clap::Args;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The link by name
    #[arg(value_name = "LINK")]
    link: String,
    /// The file to write; - for standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Everything as it is now, also where the destination has confirmed earlier sets
    #[arg(long)]
    full: bool,
}

/// Only the source need be there: the destination may be any distance away.
pub(super) async fn execute(config: &Config, arguments: &Arguments) -> Result<Outcome> {
    let link = config.link(&arguments.link)?;
    let flows = config.flows_of(std::slice::from_ref(&link))?;
    let Some(flow) = flows.into_iter().next() else {
        return Err(Error::config(format!("link \"{}\" goes nowhere", link.name)));
    };
    let mut source = Source::connect(&flow, &SessionName::of_flow(&flow)).await?;
    if !source.database.has_peer(&source.peer).await? || flow.options.slices.is_some() {
        source.database.register(&source.peer, None, "send", &flow.options.at_source()).await?;
    }
    source.check_patterns(&flow).await?;
    source.database.link_selects(&source.peer, &flow).await?;
    let mode = if arguments.full || !source.has_confirmed().await? {
        WindowMode::Full
    } else {
        WindowMode::Changes
    };
    let mut writer = SetWriter::create(&arguments.output).await?;
    let mut window = source.window(mode, &flow, Purpose::File).await?;
    let (mut parts, mut entries, mut bytes) = (0_u64, 0_u64, 0_u64);
    while let Some(part) = window.next().await? {
        writer.write(&part.data).await?;
        parts += 1;
        entries += part.entries;
        bytes += part.data.len() as u64;
    }
    // The file first: a set that the source believes made must not be lost.
    writer.finish().await?;
    window.finish().await?;
    tracing::info!(parts, entries, bytes, mode = mode.as_str(), "exported");
    // Standard output may be the set itself.
    if arguments.output != Path::new("-") {
        let mut table = Table::new(&["link", "destination", "mode", "parts", "entries", "bytes"]);
        let numbers = [parts, entries, bytes].map(|number| number.to_string());
        let [parts, entries, bytes] = numbers;
        let destination = flow.target.name.clone();
        let mode = mode.as_str().to_owned();
        table.row([link.name.clone(), destination, mode, parts, entries, bytes]);
        print(&table.render())?;
    }
    Ok(Outcome::Done)
}
