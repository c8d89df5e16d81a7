//! What the curves have in common: at every point the same small work, captured and carried.

use super::apply::carry;
use super::{CARRIED, CPU_A_TRANSACTION, DAEMON_MEMORY, SOURCE_MEMORY, TARGET_MEMORY, TOTAL_CPU};
use crate::bench::{Bench, Entrant, Rows, attempt, take_turns};
use crate::figures::Book;
use crate::gauge::cpu;
use crate::pair::Tables;
use crate::peers::{Does, syncjournal};
use crate::work::pgbench::Run;
use syncjournal_tests::Db;

/// The systems of a curve. It asks whether something stays flat, which two to compare with can tell.
const SYSTEMS: [&str; 3] = ["untracked", "native", syncjournal::NAME];
const SECONDS: usize = 5;
const BACKLOG: usize = 20_000;

/// Measures one point: prepares the systems, and lets them take their turns for all rounds.
pub(super) fn point(
    bench: &Bench,
    book: &mut Book,
    case: &str,
    tables: &Tables,
    fill: impl Fn(&Db, Rows),
    work: &Run,
) {
    let names = bench.names(book, |_| true);
    let names = names.into_iter().filter(|name| SYSTEMS.contains(name));
    let entrants =
        names.filter_map(|name| attempt(book, name, || bench.prepare(name, tables, &fill)));
    let mut entrants: Vec<Entrant> = entrants.collect();
    take_turns(book, &mut entrants, |entrant, _| {
        if entrant.does.carry {
            entrant.first_copy();
        }
    });
    for round in 0..bench.rounds() {
        book.round = round;
        take_turns(book, &mut entrants, |entrant, book| {
            turn(bench, entrant, book, case, work);
        });
    }
    take_turns(book, &mut entrants, |entrant, _| {
        if entrant.does.carry {
            entrant.compare(tables);
        }
    });
}

fn turn(bench: &Bench, entrant: &mut Entrant, book: &mut Book, case: &str, work: &Run) {
    let Does { capture, carry: carries, .. } = entrant.does;
    // Without waiting for the disk, or the CPU would be hard to see.
    let work = work.clone().asynchronous(true);
    if capture {
        let run = work.clone().seconds(bench.choice.size(SECONDS, 1));
        captured(entrant, book, case, &run);
    }
    if carries {
        let count = bench.choice.size(BACKLOG, 100);
        // What the measurement of capture has left is not part of the backlog.
        entrant.first_copy();
        let done = work.transactions(count).finish(&entrant.pair.source);
        caught_up(entrant, book, case, done.transactions);
    }
}

/// The CPU of transactions while nothing is carried.
pub(super) fn captured(entrant: &Entrant, book: &mut Book, case: &str, run: &Run) {
    entrant.pair.settle();
    let server = entrant.pair.source.cluster().pid();
    let before = cpu::of_family(server);
    let done = run.finish(&entrant.pair.source);
    let used = (cpu::of_family(server) - before) * 1e6 / done.transactions;
    book.add(case, entrant.name, CPU_A_TRANSACTION, used);
}

/// The rate at which a backlog of so many transactions is caught up with, and its costs.
pub(super) fn caught_up(entrant: &mut Entrant, book: &mut Book, case: &str, transactions: f64) {
    let mark = entrant.pair.mark();
    let costs = carry(entrant, mark);
    let mut add = |metric, value| book.add(case, entrant.name, metric, value);
    add(CARRIED, transactions / costs.seconds);
    add(TOTAL_CPU, costs.cpu.iter().sum());
    for (metric, value) in
        [SOURCE_MEMORY, TARGET_MEMORY, DAEMON_MEMORY].into_iter().zip(costs.memory)
    {
        add(metric, value);
    }
}
