//! The first copy of a table that is large already.

use std::process::Command;
use std::time::Instant;

use syncjournal_tests::{Db, apply_set, prepare_set, server};

use super::{Measurement, ROWS_A_SECOND, SECONDS, TOTAL_CPU, number};
use crate::bench::{Bench, Rows, attempt};
use crate::figures::Book;
use crate::gauge::cpu;
use crate::pair::{Tables, wait};
use crate::peers::{ran, syncjournal};
use crate::work::rows::{self, Key};

pub(super) const MEASUREMENT: Measurement = Measurement {
    name: "first-copy",
    about: "a table of 2M rows into an empty one on the other cluster, from the command that begins it \
            until the target shows all rows. On new clusters every time. syncjournal is \
            `syncjournal-agent clone`; COPY | COPY is two psql with a pipe between them, nothing else; \
            the set is prep_sync(mode => 'full') and apply.",
    baseline: "native",
    axis: None,
    run,
};

const ROWS: usize = 2_000_000;
const TABLE: &str = "large";

fn run(bench: &Bench, book: &mut Book) {
    let count = bench.choice.size(ROWS, 1000);
    let tables = Tables::one_way(&[TABLE]);
    for round in 0..bench.rounds() {
        book.round = round;
        for key in Key::BOTH {
            let fill = |db: &Db, rows: Rows| rows::fill(db, TABLE, key, count, rows);
            let case = format!("{count} rows, {}", key.name());
            for name in bench.names(book, |does| does.carry) {
                let taken = attempt(book, name, || carried(bench, name, &tables, fill, count));
                add(book, &case, name, count, taken);
            }
            for (name, format) in [("COPY | COPY, text", "text"), ("COPY | COPY, binary", "binary")]
            {
                let taken = attempt(book, name, || piped(bench, &tables, fill, format));
                add(book, &case, name, count, taken);
            }
            let taken = attempt(book, "syncjournal set", || by_set(bench, &tables, fill));
            add(book, &case, "syncjournal set", count, taken);
        }
    }
}

fn add(book: &mut Book, case: &str, system: &str, count: usize, taken: Option<(f64, f64)>) {
    if let Some((seconds, cpu)) = taken {
        book.add(case, system, SECONDS, seconds);
        book.add(case, system, ROWS_A_SECOND, number(count) / seconds);
        book.add(case, system, TOTAL_CPU, cpu);
    }
}

/// By a system's own first copy; returns seconds, and seconds of CPU.
fn carried(
    bench: &Bench,
    name: &str,
    tables: &Tables,
    fill: impl Fn(&Db, Rows),
    count: usize,
) -> (f64, f64) {
    let mut entrant = bench.prepare(name, tables, fill);
    let mark = entrant.pair.mark();
    let before: f64 = entrant.pair.cpu().iter().sum();
    let start = Instant::now();
    entrant.link.start_copy();
    entrant.link.wait(&entrant.pair, mark);
    // Where tables are copied apart from each other, the marker says nothing of the large one.
    let all = format!("select count(*) = {count} from {TABLE}");
    wait("all rows are there", || entrant.pair.target.query_one::<bool>(&all));
    let seconds = start.elapsed().as_secs_f64();
    let carrier = cpu::of_families(&entrant.link.daemons());
    let used = entrant.pair.cpu().iter().sum::<f64>() - before + carrier;
    entrant.link.stop();
    entrant.compare(tables);
    (seconds, used)
}

/// By two psql with a pipe between them.
fn piped(bench: &Bench, tables: &Tables, fill: impl Fn(&Db, Rows), format: &str) -> (f64, f64) {
    let entrant = bench.prepare("untracked", tables, fill);
    let script = "set -o pipefail; \"$1\" -X -q -d \"$2\" -c \"copy $4 to stdout (format $5)\" \
                  | \"$1\" -X -q -d \"$3\" -c \"copy $4 from stdin (format $5)\"";
    let (source, target) = (entrant.pair.source.dsn(), entrant.pair.target.dsn());
    let before: f64 = entrant.pair.cpu().iter().sum();
    let start = Instant::now();
    ran(Command::new("bash")
        .args(["-c", script, "pipe"])
        .arg(server().bin.join("psql"))
        .args([&source, &target, TABLE, format]));
    let seconds = start.elapsed().as_secs_f64();
    (seconds, entrant.pair.cpu().iter().sum::<f64>() - before)
}

/// By a full set, made and applied with plain SQL, through this process's memory.
fn by_set(bench: &Bench, tables: &Tables, fill: impl Fn(&Db, Rows)) -> (f64, f64) {
    let entrant = bench.prepare(syncjournal::NAME, tables, fill);
    let pair = &entrant.pair;
    let before: f64 = pair.cpu().iter().sum();
    let start = Instant::now();
    let parts = prepare_set(&pair.source, &pair.target, "full");
    apply_set(&pair.target, &parts);
    let seconds = start.elapsed().as_secs_f64();
    let used = pair.cpu().iter().sum::<f64>() - before;
    entrant.compare(tables);
    (seconds, used)
}
