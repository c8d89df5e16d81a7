//! The whole way while it is carried: from the work's first statement, and from its commit.

use std::time::Instant;

use super::{Measurement, SECONDS_BEHIND, each_flow};
use crate::bench::{Bench, Entrant};
use crate::figures::Book;
use crate::work::flows::Work;

pub(super) const MEASUREMENT: Measurement = Measurement {
    name: "live",
    about: "the same work while the carrier runs: as a rate from its first statement on the source \
            until the target shows all of it, and the time by which the target is behind its last commit.",
    baseline: "native",
    axis: None,
    run,
};

fn run(bench: &Bench, book: &mut Book) {
    each_flow(bench, book, follow);
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
