//! `clone`: the first copy of a link.

use crate::clone::{CloneReport, Options, Verdict, clone_flows};
use crate::config::Config;
use crate::error::Result;
use crate::exit::Outcome;
use crate::output::{Table, print, print_json};
use clap::Args;

/// Blocks in a megabyte.
const BLOCKS_A_MB: i64 = 128;
const MOST_JOBS: usize = 8;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The link whose tables are copied
    #[arg(value_name = "LINK")]
    link: String,
    /// Sessions that copy at once [default: the number of processors, 8 at most]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    /// Larger tables are copied in pieces of this many megabytes, by several sessions
    #[arg(long, value_name = "MB", default_value_t = 32)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=65536))]
    piece: u32,
    /// Begins anew, though an earlier clone was not completed
    #[arg(long)]
    restart: bool,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn execute(
    config: &Config,
    arguments: &Arguments,
    quiet: bool,
) -> Result<Outcome> {
    let flows = config.flows_of(&config.links(std::slice::from_ref(&arguments.link))?)?;
    let processors = std::thread::available_parallelism().map_or(2, |count| count.get());
    let options = Options {
        jobs: arguments.jobs.map_or(processors.min(MOST_JOBS), usize::from),
        piece_blocks: i64::from(arguments.piece) * BLOCKS_A_MB,
        restart: arguments.restart,
        shown: !quiet,
    };
    let reports = clone_flows(&flows, options).await?;
    if arguments.json {
        print_json(&reports)?;
    } else {
        print(&table(&reports).render())?;
        for report in &reports {
            print(&conclusion(report))?;
        }
    }
    let is_well = |report: &CloneReport| report.equal && report.unsettled == 0;
    Ok(if reports.iter().all(is_well) { Outcome::Done } else { Outcome::NeedsPerson })
}

fn table(reports: &[CloneReport]) -> Table {
    let mut table = Table::new(&[
        "source",
        "destination",
        "table",
        "way",
        "rows",
        "bytes",
        "conflicts",
        "quarantined",
        "digest",
    ]);
    for report in reports {
        for one in &report.tables {
            table.row([
                report.source.clone(),
                report.destination.clone(),
                one.table.clone(),
                one.way.to_owned(),
                one.totals.entries.to_string(),
                one.bytes.to_string(),
                one.totals.conflicts.to_string(),
                one.totals.quarantined.to_string(),
                one.digest.as_str().to_owned(),
            ]);
        }
    }
    table
}

fn conclusion(report: &CloneReport) -> String {
    let CloneReport { source, destination, rows, seconds, .. } = report;
    let named = |verdict: Verdict| -> Vec<&str> {
        let those = report.tables.iter().filter(|table| table.digest == verdict);
        those.map(|table| table.table.as_str()).collect()
    };
    let (different, changing) = (named(Verdict::Different), named(Verdict::Changing));
    let mut text = format!("{source} to {destination}: {rows} rows in {seconds:.1} s; ");
    text += &match different.as_slice() {
        [] => "the digests of both ends are equal".to_owned(),
        tables => format!("the digests DIFFER: {}", tables.join(", ")),
    };
    if !changing.is_empty() {
        text += &format!(", but for rows that are being written: {}", changing.join(", "));
    }
    text + "\n"
}
