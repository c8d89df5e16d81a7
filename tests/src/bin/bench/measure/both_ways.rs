//! Changes there and back at the same time.

use std::time::Instant;

use super::{Measurement, TOTAL_CPU, TPS, number};
use crate::bench::{Bench, Entrant, Rows, take_turns};
use crate::figures::Book;
use crate::gauge::cpu;
use crate::pair::Tables;
use crate::work::rows::{self, Key};

pub(super) const MEASUREMENT: Measurement = Measurement {
    name: "both-ways",
    about: "a backlog of small transactions at either end, of different tables (native replication of \
            Postgres 15 would send the same table round in circles); caught up with in both directions \
            at once.",
    baseline: "native",
    axis: None,
    run,
};

const TRANSACTIONS: usize = 50_000;
const ROWS: usize = 100_000;

fn run(bench: &Bench, book: &mut Book) {
    let (count, rows) = (bench.choice.size(TRANSACTIONS, 100), bench.choice.size(ROWS, 1000));
    let tables = Tables {
        forth: vec!["there".to_owned(), "marker".to_owned()],
        back: vec!["back".to_owned(), "marker_back".to_owned()],
    };
    let fill = |db: &_, with| {
        rows::fill(db, "there", Key::Bigint, rows, with);
        // The end that writes a table begins with its rows.
        let other = if with == Rows::All { Rows::None } else { Rows::All };
        rows::fill(db, "back", Key::Bigint, rows, other);
    };
    let case = &format!("{count} single-row updates at either end");
    let mut entrants = bench.enter(book, |does| does.both_ways, &tables, fill);
    take_turns(book, &mut entrants, |entrant, _| {
        catch_up(entrant);
    });
    for round in 0..bench.rounds() {
        book.round = round;
        take_turns(book, &mut entrants, |entrant, book| {
            let pair = &entrant.pair;
            pair.settle();
            pair.source.exec(&single_updates("there", count, rows));
            pair.target.exec(&single_updates("back", count, rows));
            let (seconds, used) = catch_up(entrant);
            book.add(case, entrant.name, TPS, 2.0 * number(count) / seconds);
            book.add(case, entrant.name, TOTAL_CPU, used);
        });
    }
    take_turns(book, &mut entrants, |entrant, _| entrant.compare(&tables));
}

/// Brings both ends to the same state; returns the time and the CPU that it took.
fn catch_up(entrant: &mut Entrant) -> (f64, f64) {
    let (forth, back) = (entrant.pair.mark(), entrant.pair.mark_back());
    let before: f64 = entrant.pair.cpu().iter().sum();
    let start = Instant::now();
    entrant.link.start();
    entrant.link.wait(&entrant.pair, forth);
    entrant.pair.wait_back(back);
    let seconds = start.elapsed().as_secs_f64();
    let carrier = cpu::of_families(&entrant.link.daemons());
    let used = entrant.pair.cpu().iter().sum::<f64>() - before + carrier;
    entrant.link.stop();
    (seconds, used)
}

fn single_updates(table: &str, count: usize, rows: usize) -> String {
    format!(
        "do $$
         begin
             perform set_config('synchronous_commit', 'off', false);
             for i in 1..{count} loop
                 update {table} set n = n + 1 where id = 1 + (i * 7919::bigint) % {rows};
                 commit;
             end loop;
             perform set_config('synchronous_commit', 'on', false);
         end
         $$"
    )
}
