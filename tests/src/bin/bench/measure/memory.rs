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
    let at_rest = |name: &str| {
        let members = processes.iter().filter(|(of, _)| *of == name);
        members.map(|(_, pid)| largest(*pid)).fold(0.0, f64::max)
    };
    let rest = PEAKS.map(|(name, _, _)| at_rest(name));
    let peak = Peak::watch(processes);
    work.make(&pair.source);
    entrant.link.wait(pair, pair.mark());
    let peaks = peak.stop();
    entrant.link.stop();
    for ((name, at_most, above), rest) in PEAKS.into_iter().zip(rest) {
        if let Some(peak) = peaks.get(name) {
            book.add(&work.name, entrant.name, at_most, *peak);
            book.add(&work.name, entrant.name, above, (peak - rest).max(0.0));
        }
    }
}
