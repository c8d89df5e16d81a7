//! How fast a backlog is caught up with, and at what cost.

use std::time::Instant;

use super::{
    DAEMON_MEMORY, Measurement, SOURCE_CPU, SOURCE_MEMORY, TARGET_CPU, TARGET_MEMORY, TOTAL_CPU,
    each_flow,
};
use crate::bench::{Bench, Entrant};
use crate::figures::Book;
use crate::gauge::{cpu, memory::Peak};
use crate::work::flows::Work;

pub(super) const MEASUREMENT: Measurement = Measurement {
    name: "apply",
    about: "the work was done while nothing was carried; the clock runs from the start of the carrier \
            until the target shows all of it. CPU of both servers and the carrier, for the whole; \
            memory is the largest process's own.",
    baseline: "native",
    axis: None,
    run,
};

fn run(bench: &Bench, book: &mut Book) {
    each_flow(bench, book, backlog);
}

fn backlog(entrant: &mut Entrant, book: &mut Book, work: &Work) {
    if work.clear(&entrant.pair) {
        entrant.first_copy();
    }
    work.make(&entrant.pair.source);
    let mark = entrant.pair.mark();
    for db in [&entrant.pair.source, &entrant.pair.target] {
        db.exec("checkpoint");
    }
    let costs = carry(entrant, mark);
    let name = entrant.name;
    book.add(&work.name, name, work.rate, work.amount / costs.seconds);
    for (metric, value) in [
        (TOTAL_CPU, costs.cpu.iter().sum()),
        (SOURCE_CPU, costs.cpu[0]),
        (TARGET_CPU, costs.cpu[1]),
        (SOURCE_MEMORY, costs.memory[0]),
        (TARGET_MEMORY, costs.memory[1]),
        (DAEMON_MEMORY, costs.memory[2]),
    ] {
        book.add(&work.name, name, metric, value);
    }
}

/// What it took to carry something: of the source, the target, and the carrier.
pub(super) struct Costs {
    pub(super) seconds: f64,
    pub(super) cpu: [f64; 3],
    pub(super) memory: [f64; 3],
}

/// Starts the carrier, waits until the target shows the marker, and stops it.
pub(super) fn carry(entrant: &mut Entrant, mark: i32) -> Costs {
    let [source, target] = entrant.pair.cpu();
    let start = Instant::now();
    entrant.link.start();
    let daemons = entrant.link.daemons();
    let mut watched = vec![
        ("source", entrant.pair.source.cluster().pid()),
        ("target", entrant.pair.target.cluster().pid()),
    ];
    watched.extend(daemons.iter().map(|pid| ("carrier", *pid)));
    let peak = Peak::watch(watched);
    entrant.link.wait(&entrant.pair, mark);
    let seconds = start.elapsed().as_secs_f64();
    let after = entrant.pair.cpu();
    // The carrier began with the clock, so that all it has used counts.
    let carrier = cpu::of_families(&entrant.link.daemons());
    let memory = peak.stop();
    let largest = |name| memory.get(name).copied().unwrap_or(0.0);
    entrant.link.stop();
    Costs {
        seconds,
        cpu: [after[0] - source, after[1] - target, carrier],
        memory: ["source", "target", "carrier"].map(largest),
    }
}
