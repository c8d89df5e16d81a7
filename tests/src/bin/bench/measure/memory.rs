//! The memory that a large transaction takes where it is carried.

use super::Measurement;
use crate::bench::{Bench, Entrant, take_turns};
use crate::figures::{Book, Metric};
use crate::gauge::memory::{Peak, largest};
use crate::pair::Tables;
use crate::work::flows::{Flows, Work};
use crate::work::rows::{self, Key};

pub(super) const MEASUREMENT: Measurement = Measurement {
    name: "memory",
    about: "one transaction of 1M rows while the carrier runs: the peak of the largest process's own \
            memory (RssAnon, twenty looks a second), and by how much that is above its size at rest.",
    baseline: "native",
    axis: None,
    run,
};

const PEAKS: [(&str, Metric, Metric); 3] = [
    ("source", Metric::less("source, peak", "MiB"), Metric::less("source, above rest", "MiB")),
    ("target", Metric::less("target, peak", "MiB"), Metric::less("target, above rest", "MiB")),
    ("carrier", Metric::less("carrier, peak", "MiB"), Metric::less("carrier, above rest", "MiB")),
];

fn run(bench: &Bench, book: &mut Book) {
    let tables = Tables::one_way(&[Key::Uuid.table()]);
    let fill = |db: &_, _| rows::create(db, Key::Uuid.table(), Key::Uuid);
    let mut entrants = bench.enter(book, |does| does.carry, &tables, fill);
    take_turns(book, &mut entrants, |entrant, _| entrant.first_copy());
    for round in 0..bench.rounds() {
        book.round = round;
        let work = Flows::new(&bench.choice).insert(Key::Uuid);
        take_turns(book, &mut entrants, |entrant, book| turn(entrant, book, &work));
    }
}

fn turn(entrant: &mut Entrant, book: &mut Book, work: &Work) {
    work.clear(&entrant.pair);
    entrant.link.start();
    let pair = &entrant.pair;
    entrant.link.wait(pair, pair.mark());
    let mut processes =
        vec![("source", pair.source.cluster().pid()), ("target", pair.target.cluster().pid())];
    processes.extend(entrant.link.daemons().iter().map(|pid| ("carrier", *pid)));
    let rest: Vec<f64> = processes.iter().map(|(_, pid)| largest(*pid)).collect();
    let peak = Peak::watch(processes.clone());
    work.make(&pair.source);
    entrant.link.wait(pair, pair.mark());
    let peaks = peak.stop();
    entrant.link.stop();
    for ((name, _), rest) in processes.iter().zip(rest) {
        let (_, at_most, above) =
            PEAKS.iter().find(|(of, _, _)| of == name).expect("all three are named");
        book.add(&work.name, entrant.name, *at_most, peaks[name]);
        book.add(&work.name, entrant.name, *above, (peaks[name] - rest).max(0.0));
    }
}
