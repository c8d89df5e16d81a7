//! Cost against the size of a transaction.

use std::time::Instant;

use super::{
    CPU_A_ROW, DAEMON_MEMORY, Measurement, SECONDS_BEHIND, SOURCE_MEMORY, TARGET_MEMORY, number,
};
use crate::bench::{Bench, Entrant, take_turns};
use crate::figures::Book;
use crate::gauge::{cpu, memory::Peak};
use crate::pair::Tables;

pub(super) const MEASUREMENT: Measurement = Measurement {
    name: "scale-transaction",
    about: "inserts in transactions of 1 to 1e6 rows while the carrier runs: CPU of both servers and the \
            carrier for each row, how far the target is behind the last commit, and memory.",
    baseline: "native",
    axis: Some("rows in a transaction"),
    run,
};

const LARGEST: usize = 1_000_000;
/// So many rows in all at least, or the cost of small transactions could not be seen.
const LEAST_ROWS: usize = 10_000;

fn run(bench: &Bench, book: &mut Book) {
    let tables = Tables::one_way(&["grown"]);
    let mut entrants = bench.enter(book, |does| does.carry, &tables, |db, _| {
        db.exec(
            "create table grown (
                 id uuid primary key default gen_random_uuid(), n int not null, word text not null)",
        );
    });
    take_turns(book, &mut entrants, |entrant, _| entrant.first_copy());
    let largest = bench.choice.size(LARGEST, 1000);
    for round in 0..bench.rounds() {
        book.round = round;
        let mut size = 1;
        while size <= largest {
            let transactions = LEAST_ROWS.min(largest).div_ceil(size);
            take_turns(book, &mut entrants, |entrant, book| {
                turn(entrant, book, size, transactions);
            });
            size *= 10;
        }
    }
    take_turns(book, &mut entrants, |entrant, _| entrant.compare(&tables));
}

fn turn(entrant: &mut Entrant, book: &mut Book, size: usize, transactions: usize) {
    entrant.pair.settle();
    entrant.link.start();
    let pair = &entrant.pair;
    entrant.link.wait(pair, pair.mark());
    let daemons = entrant.link.daemons();
    let servers = [&pair.source, &pair.target].map(|db| db.cluster().pid());
    let mut watched = vec![("source", servers[0]), ("target", servers[1])];
    watched.extend(daemons.iter().map(|pid| ("carrier", *pid)));
    let peak = Peak::watch(watched);
    let used = || pair.cpu().iter().sum::<f64>() + cpu::of_families(&daemons);
    let before = used();
    pair.source.exec(&inserts(size, transactions));
    let committed = Instant::now();
    entrant.link.wait(pair, pair.mark());
    let (behind, used) = (committed.elapsed().as_secs_f64(), used() - before);
    let memory = peak.stop();
    entrant.link.stop();

    let (case, rows) = (size.to_string(), number(size * transactions));
    let mut add = |metric, value| book.add(&case, entrant.name, metric, value);
    add(CPU_A_ROW, used * 1e6 / rows);
    add(SECONDS_BEHIND, behind);
    for (metric, name) in
        [(SOURCE_MEMORY, "source"), (TARGET_MEMORY, "target"), (DAEMON_MEMORY, "carrier")]
    {
        add(metric, memory.get(name).copied().unwrap_or(0.0));
    }
}

fn inserts(size: usize, transactions: usize) -> String {
    format!(
        "do $$
         begin
             perform set_config('synchronous_commit', 'off', false);
             for i in 1..{transactions} loop
                 insert into grown (n, word) select g, repeat(md5(g::text), 2)
                 from generate_series(1, {size}) g;
                 commit;
             end loop;
             perform set_config('synchronous_commit', 'on', false);
         end
         $$"
    )
}
