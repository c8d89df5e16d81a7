//! What capture costs transactions of pgbench.

use super::{CPU_A_TRANSACTION, Measurement, TPS};
use crate::bench::{Bench, Entrant, take_turns};
use crate::figures::Book;
use crate::gauge::cpu;
use crate::pair::Tables;
use crate::work::pgbench::{self, Run, SIMPLE, TPCB};

pub(super) const MEASUREMENT: Measurement = Measurement {
    name: "capture-pgbench",
    about: "pgbench on the source while nothing is carried: transactions a second, and CPU of the \
            whole source server for each.",
    baseline: "untracked",
    axis: None,
    run,
};

/// Large enough that sessions seldom meet in a branch.
const SCALE: usize = 10;
const SECONDS: usize = 5;

fn run(bench: &Bench, book: &mut Book) {
    let scale = bench.choice.size(SCALE, 1);
    let tables = Tables::one_way(&pgbench::TABLES);
    book.note(
        "native and pglogical capture nothing in the transaction: their cost is that of untracked"
            .to_owned(),
    );
    let fill = |db: &_, rows| pgbench::fill(db, scale, rows);
    let mut entrants = bench.enter(book, |does| does.capture, &tables, fill);
    let seconds = bench.choice.size(SECONDS, 1);
    for round in 0..bench.rounds() {
        book.round = round;
        for script in [TPCB, SIMPLE] {
            for clients in [1, 4] {
                for asynchronous in [false, true] {
                    let run = Run::of(script, clients).seconds(seconds).asynchronous(asynchronous);
                    let commit = if asynchronous { "off" } else { "on" };
                    let case = format!("{script}, clients {clients}, sync {commit}");
                    take_turns(book, &mut entrants, |entrant, book| {
                        slice(entrant, book, &run, &case);
                    });
                }
            }
        }
    }
}

fn slice(entrant: &Entrant, book: &mut Book, run: &Run, case: &str) {
    let source = &entrant.pair.source;
    entrant.pair.settle();
    let server = source.cluster().pid();
    let before = cpu::of_family(server);
    let done = run.finish(source);
    let used = cpu::of_family(server) - before;
    book.add(case, entrant.name, TPS, done.tps);
    book.add(case, entrant.name, CPU_A_TRANSACTION, used * 1e6 / done.transactions);
}
