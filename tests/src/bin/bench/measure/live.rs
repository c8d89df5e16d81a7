//! The whole way while it is carried: from the work's first statement, and from its commit.

use std::time::Instant;

use super::{Measurement, SECONDS_BEHIND};
use crate::bench::{Bench, Entrant, take_turns};
use crate::figures::Book;
use crate::work::flows::{Flows, Work};

pub(super) const MEASUREMENT: Measurement = Measurement {
    name: "live",
    about: "the same work while the carrier runs: as a rate from its first statement on the source \
            until the target shows all of it, and the time by which the target is behind its last commit.",
    baseline: "native",
    axis: None,
    run,
};

fn run(bench: &Bench, book: &mut Book) {
    let flows = Flows::new(&bench.choice);
    let tables = flows.tables();
    let fill = |db: &_, rows| flows.fill(db, rows);
    let mut entrants = bench.enter(book, |does| does.carry, &tables, fill);
    take_turns(book, &mut entrants, |entrant, _| entrant.first_copy());
    for round in 0..bench.rounds() {
        book.round = round;
        for work in flows.works() {
            take_turns(book, &mut entrants, |entrant, book| follow(entrant, book, &work));
        }
    }
    take_turns(book, &mut entrants, |entrant, _| entrant.compare(&tables));
}

fn follow(entrant: &mut Entrant, book: &mut Book, work: &Work) {
    work.clear(&entrant.pair);
    entrant.pair.settle();
    entrant.link.start();
    let pair = &entrant.pair;
    // Running, and at rest: what was to carry before has arrived.
    let mark = pair.mark();
    entrant.link.wait(pair, mark);
    let start = Instant::now();
    work.make(&pair.source);
    let committed = Instant::now();
    let mark = pair.mark();
    entrant.link.wait(pair, mark);
    let (all, behind) = (start.elapsed().as_secs_f64(), committed.elapsed().as_secs_f64());
    entrant.link.stop();
    book.add(&work.name, entrant.name, work.rate, work.amount / all);
    book.add(&work.name, entrant.name, SECONDS_BEHIND, behind);
}
