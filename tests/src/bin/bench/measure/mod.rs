//! The measurements: one file for each.

mod apply;
mod apply_alone;
mod both_ways;
mod capture_bulk;
mod capture_pgbench;
mod capture_wide;
mod curve;
mod first_copy;
mod idle;
mod latency;
mod live;
mod memory;
mod scale_journal;
mod scale_links;
mod scale_table;
mod scale_tables;
mod scale_transaction;

use crate::bench::{Bench, Entrant, take_turns};
use crate::figures::{Book, Metric};
use crate::work::flows::{Flows, Work};

/// What can be measured.
pub(crate) struct Measurement {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// The system that the others are divided by.
    pub(crate) baseline: &'static str,
    /// What the cases are numbers of, if they are a curve.
    pub(crate) axis: Option<&'static str>,
    pub(crate) run: fn(&Bench, &mut Book),
}

impl Measurement {
    pub(crate) fn book(&self) -> Book {
        Book::new(self.name, self.about, self.baseline, self.axis)
    }
}

/// All of them, in the order in which they run.
pub(crate) fn all() -> Vec<Measurement> {
    vec![
        capture_pgbench::MEASUREMENT,
        capture_bulk::MEASUREMENT,
        capture_wide::MEASUREMENT,
        apply::MEASUREMENT,
        apply_alone::MEASUREMENT,
        live::MEASUREMENT,
        both_ways::MEASUREMENT,
        latency::MEASUREMENT,
        first_copy::MEASUREMENT,
        memory::MEASUREMENT,
        idle::MEASUREMENT,
        scale_table::MEASUREMENT,
        scale_transaction::MEASUREMENT,
        scale_links::MEASUREMENT,
        scale_tables::MEASUREMENT,
        scale_journal::MEASUREMENT,
    ]
}

/// Metrics that several measurements speak of.
pub(crate) const TPS: Metric = Metric::more("transactions", "1/s");
pub(crate) const CPU_A_TRANSACTION: Metric = Metric::less("CPU a transaction", "µs");
pub(crate) const CPU_A_ROW: Metric = Metric::less("CPU a row", "µs");
pub(crate) const WAL_A_ROW: Metric = Metric::less("WAL a row", "B");
pub(crate) const JOURNAL_A_ROW: Metric = Metric::less("journal a row", "B");
pub(crate) const ROWS_A_SECOND: Metric = Metric::more("rows", "1/s");
pub(crate) const CARRIED: Metric = Metric::more("caught up with", "1/s");
pub(crate) const TOTAL_CPU: Metric = Metric::less("CPU of all", "s");
pub(crate) const SOURCE_CPU: Metric = Metric::less("CPU of the source", "s");
pub(crate) const TARGET_CPU: Metric = Metric::less("CPU of the target", "s");
pub(crate) const SOURCE_MEMORY: Metric = Metric::less("memory, source", "MiB");
pub(crate) const TARGET_MEMORY: Metric = Metric::less("memory, target", "MiB");
pub(crate) const DAEMON_MEMORY: Metric = Metric::less("memory, carrier", "MiB");
pub(crate) const SECONDS_BEHIND: Metric = Metric::less("behind the commit", "s");
pub(crate) const SECONDS: Metric = Metric::less("time", "s");

/// All that carry take turns at each of the flows' works, and end with the source's rows.
fn each_flow(bench: &Bench, book: &mut Book, turn: fn(&mut Entrant, &mut Book, &Work)) {
    let flows = Flows::new(&bench.choice);
    let tables = flows.tables();
    let fill = |db: &_, rows| flows.fill(db, rows);
    let mut entrants = bench.enter(book, |does| does.carry, &tables, fill);
    take_turns(book, &mut entrants, |entrant, _| entrant.first_copy());
    for round in 0..bench.rounds() {
        book.round = round;
        for work in flows.works() {
            take_turns(book, &mut entrants, |entrant, book| turn(entrant, book, &work));
        }
    }
    take_turns(book, &mut entrants, |entrant, _| entrant.compare(&tables));
}

/// A count as a number to divide by.
pub(crate) fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).expect("counts are below four billion"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_names_every_measurement_and_every_system() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/performance.md");
        let text = std::fs::read_to_string(file).expect("the document is there");
        for measurement in all() {
            let row = format!("\n| `{}` |", measurement.name);
            assert!(text.contains(&row), "{}", measurement.name);
        }
        for peer in crate::peers::all() {
            assert!(text.contains(&format!("\n| {} |", peer.name())), "{}", peer.name());
        }
    }

    #[test]
    fn names_are_told_apart() {
        let mut names: Vec<_> = all().iter().map(|measurement| measurement.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all().len());
    }
}
