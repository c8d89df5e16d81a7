//! `sync`: links brought up to date once.

use crate::config::Config;
use crate::error::{Kind, Result};
use crate::exit::Outcome;
use crate::link::{FlowReport, sync_flow, try_flow};
use crate::logging;
use crate::output::{Table, print, print_json};
use crate::target::Totals;
use clap::Args;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Links by name; all active ones if none is named
    #[arg(value_name = "LINK")]
    links: Vec<String>,
    /// Does everything and takes it back: shows what would happen
    #[arg(short = 'n', long, alias = "noupdate")]
    dry_run: bool,
    /// Brings everything as it is now, also where a first sync was done before: after a gap
    #[arg(long)]
    full: bool,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// Links are independent: one that fails does not keep the others from their turn.
pub(super) async fn execute(config: &Config, arguments: &Arguments) -> Result<Outcome> {
    let links = config.links(&arguments.links)?;
    let stop = CancellationToken::new();
    let (mut reports, mut failures) = (Vec::new(), Vec::new());
    for flow in config.flows_of(&links)? {
        let result = if arguments.dry_run {
            try_flow(&flow, arguments.full).await
        } else {
            sync_flow(&flow, arguments.full, &stop).await
        };
        match result {
            Ok(report) => reports.push(report),
            Err(error) => failures.push(error.at(flow.title())),
        }
    }
    if arguments.json {
        print_json(&reports)?;
    } else {
        print(&table(&reports).render())?;
        print(&notes(&reports))?;
    }
    // The exit status is that of the last one: a mistake in the configuration outweighs the rest.
    failures.sort_by_key(|error| error.kind == Kind::Config);
    if let Some(last) = failures.pop() {
        failures.iter().for_each(logging::report);
        return Err(last);
    }
    Ok(if reports.iter().any(FlowReport::needs_person) {
        Outcome::NeedsPerson
    } else {
        Outcome::Done
    })
}

fn table(reports: &[FlowReport]) -> Table {
    let mut table =
        Table::new(&[&["link", "source", "destination"], &Totals::HEADINGS[..]].concat());
    for report in reports {
        let flow = [&report.link, &report.source, &report.destination].map(String::clone);
        table.row(flow.into_iter().chain(report.totals.cells()));
    }
    table
}

/// Of each flow, so many of its rows are told.
const MOST_TOLD: usize = 20;

/// Below the table: what a push would meet.
fn notes(reports: &[FlowReport]) -> String {
    let mut text = String::new();
    for report in reports {
        for table in &report.extras {
            let fate = if table.deleted > 0 { "deleted" } else { "kept" };
            text += &format!(
                "{}: {} of {} rows of {} are only at {}: {fate}\n",
                report.link, table.extra, table.rows, table.relation, report.destination
            );
        }
        for row in report.ahead.iter().take(MOST_TOLD) {
            let fate = if row.would_overwrite { "would be overwritten" } else { "is ahead" };
            text += &format!(
                "{}: row {} of {} {fate}: {} of {}\n",
                report.link, row.row_id, row.relation, row.operation, row.changed_at
            );
        }
        if report.ahead.len() > MOST_TOLD {
            text += &format!("{}: and {} more\n", report.link, report.ahead.len() - MOST_TOLD);
        }
    }
    text
}
