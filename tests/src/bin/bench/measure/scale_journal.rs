//! Cost against the size of the journal.

use std::time::Instant;

use syncjournal_tests::{apply_set, confirm_set, prepare_set};

use super::{Measurement, curve};
use crate::bench::{Bench, Entrant, attempt, take_turns};
use crate::figures::{Book, Metric};
use crate::pair::Tables;
use crate::peers::syncjournal;
use crate::work::pgbench::{self, Run, SIMPLE};

pub(super) const MEASUREMENT: Measurement = Measurement {
    name: "scale-journal",
    about: "journals of 1e5 to 1e7 entries at both ends, of simple-update: CPU of a transaction where \
            it is captured, catching up with 20,000 of them, prep_sync and apply of 1,000 of them as a \
            set, and a prune that finds nothing to drop.",
    baseline: syncjournal::NAME,
    axis: Some("entries in the journal"),
    run,
};

const ENTRIES: [usize; 3] = [100_000, 1_000_000, 10_000_000];
const SCALE: usize = 5;
const SECONDS: usize = 5;
const BACKLOG: usize = 20_000;
const SET: usize = 1_000;
const PREPARED: Metric = Metric::less("prep_sync", "ms");
const APPLIED: Metric = Metric::less("apply of the set", "ms");
const PRUNED: Metric = Metric::less("prune", "ms");

fn run(bench: &Bench, book: &mut Book) {
    let tables = Tables::one_way(&pgbench::TABLES);
    let scale = bench.choice.size(SCALE, 1);
    let fill = |db: &_, rows| pgbench::fill(db, scale, rows);
    let name = syncjournal::NAME;
    let entrant = attempt(book, name, || bench.prepare(name, &tables, fill));
    let mut entrants: Vec<Entrant> = entrant.into_iter().collect();
    take_turns(book, &mut entrants, |entrant, _| entrant.first_copy());
    for entries in ENTRIES.map(|entries| bench.choice.size(entries, 1000)) {
        take_turns(book, &mut entrants, |entrant, _| grow(entrant, entries));
        for round in 0..bench.rounds() {
            book.round = round;
            take_turns(book, &mut entrants, |entrant, book| {
                turn(bench, entrant, book, &entries.to_string());
            });
        }
    }
    take_turns(book, &mut entrants, |entrant, _| entrant.compare(&tables));
}

/// Writes to the journal until it has so many entries, and carries them: the target's grows likewise.
fn grow(entrant: &mut Entrant, entries: usize) {
    let wanted = i64::try_from(entries).expect("a count of entries");
    let count = "select coalesce(sum(entries), 0)::int8 from syncjournal.journal";
    loop {
        let source = &entrant.pair.source;
        let missing = wanted - source.query_one::<i64>(count);
        if missing <= 0 {
            break;
        }
        source.exec(&format!(
            "update pgbench_accounts set abalance = abalance + 1 where aid <= {missing}"
        ));
        // Carried, and both ends vacuumed, each time: it is the journal that is to grow, not the table.
        source.exec("vacuum pgbench_accounts");
        entrant.first_copy();
    }
}

fn turn(bench: &Bench, entrant: &mut Entrant, book: &mut Book, case: &str) {
    let work = Run::of(SIMPLE, 4).asynchronous(true);
    curve::captured(entrant, book, case, &work.clone().seconds(bench.choice.size(SECONDS, 1)));
    entrant.first_copy();
    let backlog = work.clone().transactions(bench.choice.size(BACKLOG, 100));
    let done = backlog.finish(&entrant.pair.source);
    curve::caught_up(entrant, book, case, done.transactions);

    let (source, target) = (&entrant.pair.source, &entrant.pair.target);
    work.transactions(bench.choice.size(SET, 10)).finish(source);
    let milliseconds = |start: Instant| start.elapsed().as_secs_f64() * 1e3;
    let mut add = |metric, value| book.add(case, entrant.name, metric, value);
    let start = Instant::now();
    let parts = prepare_set(source, target, "changes");
    add(PREPARED, milliseconds(start));
    let start = Instant::now();
    apply_set(target, &parts);
    add(APPLIED, milliseconds(start));
    confirm_set(source, &parts);
    let start = Instant::now();
    source.exec("select syncjournal.prune()");
    add(PRUNED, milliseconds(start));
}
