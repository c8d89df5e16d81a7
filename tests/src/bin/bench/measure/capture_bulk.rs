//! What capture costs statements that touch many rows.

use std::time::Instant;

use super::{CPU_A_ROW, JOURNAL_A_ROW, Measurement, SECONDS, WAL_A_ROW, number};
use crate::bench::{Bench, Entrant, take_turns};
use crate::figures::Book;
use crate::gauge::cpu;
use crate::pair::{Tables, wal};
use crate::work::rows::{self, Key};

pub(super) const MEASUREMENT: Measurement = Measurement {
    name: "capture-bulk",
    about: "one statement on 500k rows of some 120 bytes: CPU of the whole source server, WAL, and \
            what the journal grows by, for each row.",
    baseline: "untracked",
    axis: None,
    run,
};

const ROWS: usize = 500_000;

fn run(bench: &Bench, book: &mut Book) {
    let count = bench.choice.size(ROWS, 1000);
    let tables = Tables::one_way(&Key::BOTH.map(Key::table));
    let mut entrants = bench.enter(
        book,
        |does| does.capture,
        &tables,
        |db, _| Key::BOTH.iter().for_each(|key| rows::create(db, key.table(), *key)),
    );
    for round in 0..bench.rounds() {
        book.round = round;
        for key in Key::BOTH {
            // Rows that are new, as they are where much is loaded: an identity that comes back has
            // a tombstone to take away. Nor is any row's looked for while there are none at all.
            take_turns(book, &mut entrants, |entrant, _| {
                entrant.link.forget_deleted();
                rows::stage(&entrant.pair.source, key, count, round);
            });
            for step in 0..4 {
                take_turns(book, &mut entrants, |entrant, book| {
                    let work = &rows::bulk(&entrant.pair.source, key)[step];
                    if matches!(work.0, "insert" | "copy") {
                        // On a new heap.
                        entrant.pair.source.exec(&format!("truncate {}", key.table()));
                    }
                    let case = format!("{}, {}", work.0, key.name());
                    statement(entrant, book, &case, &work.1, count);
                });
            }
        }
    }
}

/// Runs one statement, and says what it cost.
pub(super) fn statement(entrant: &Entrant, book: &mut Book, case: &str, sql: &str, rows: usize) {
    let (source, rows) = (&entrant.pair.source, number(rows));
    entrant.pair.settle();
    let server = source.cluster().pid();
    let journal = entrant.link.journal_bytes();
    let (wal_before, cpu_before, start) = (wal(source), cpu::of_family(server), Instant::now());
    source.exec(sql);
    let seconds = start.elapsed().as_secs_f64();
    let used = cpu::of_family(server) - cpu_before;
    let mut add = |metric, value| book.add(case, entrant.name, metric, value);
    add(CPU_A_ROW, used * 1e6 / rows);
    add(SECONDS, seconds);
    add(WAL_A_ROW, (wal(source) - wal_before) / rows);
    let grown = u32::try_from(entrant.link.journal_bytes() - journal).unwrap_or(0);
    add(JOURNAL_A_ROW, f64::from(grown) / rows);
}
