//! What it costs to have nothing to do.

use std::time::Duration;

use syncjournal_tests::Db;

use super::{Measurement, number};
use crate::bench::{Bench, Entrant, take_turns};
use crate::figures::{Book, Metric};
use crate::gauge::cpu;
use crate::pair::Tables;

pub(super) const MEASUREMENT: Measurement = Measurement {
    name: "idle",
    about: "nothing is written, and the carrier runs: its CPU and that of each server as a share of one \
            core, and the transactions a second that are asked of each server.",
    baseline: "native",
    axis: None,
    run,
};

const SECONDS: usize = 30;
/// What follows an arrival, such as a confirmation, is not idleness yet; and a session that is idle tells
/// of its transactions up to ten seconds later, so that those of the start would be counted as idle ones.
const AFTER_THE_START: Duration = Duration::from_secs(13);
const CARRIER: Metric = Metric::less("CPU of the carrier", "% of a core");
const SOURCE: Metric = Metric::less("CPU of the source", "% of a core");
const TARGET: Metric = Metric::less("CPU of the target", "% of a core");
const ASKED_OF_SOURCE: Metric = Metric::less("asked of the source", "1/s");
const ASKED_OF_TARGET: Metric = Metric::less("asked of the target", "1/s");

fn run(bench: &Bench, book: &mut Book) {
    let tables = Tables::one_way(&[]);
    let mut entrants = bench.enter(book, |does| does.carry, &tables, |_, _| {});
    take_turns(book, &mut entrants, |entrant, _| entrant.first_copy());
    let seconds = bench.choice.size(SECONDS, 3);
    for round in 0..bench.rounds() {
        book.round = round;
        take_turns(book, &mut entrants, |entrant, book| rest(entrant, book, seconds));
    }
}

fn rest(entrant: &mut Entrant, book: &mut Book, seconds: usize) {
    let pair = &entrant.pair;
    entrant.link.start();
    entrant.link.wait(pair, pair.mark());
    std::thread::sleep(AFTER_THE_START);
    let daemons = entrant.link.daemons();
    let asked = || [&pair.source, &pair.target].map(transactions);
    let (before, carrier, asked_before) = (pair.cpu(), cpu::of_families(&daemons), asked());
    std::thread::sleep(Duration::from_secs(seconds as u64));
    let (after, asked_after) = (pair.cpu(), asked());
    let carrier = cpu::of_families(&daemons) - carrier;
    entrant.link.stop();
    let seconds = number(seconds);
    for (metric, value) in [
        (CARRIER, carrier * 100.0),
        (SOURCE, (after[0] - before[0]) * 100.0),
        (TARGET, (after[1] - before[1]) * 100.0),
        (ASKED_OF_SOURCE, asked_after[0] - asked_before[0]),
        (ASKED_OF_TARGET, asked_after[1] - asked_before[1]),
    ] {
        book.add("nothing to do", entrant.name, metric, value / seconds);
    }
}

/// All that the server has done in any database. Sessions tell of theirs with a delay of some seconds.
fn transactions(db: &Db) -> f64 {
    db.query_one("select sum(xact_commit + xact_rollback)::float8 from pg_stat_database")
}
