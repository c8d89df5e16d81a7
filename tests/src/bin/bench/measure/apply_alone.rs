//! The two halves of the way, each alone: reading the source, and writing the target.

use std::process::Command;
use std::time::Instant;

use syncjournal_tests::{Db, apply_set, confirm_set, prepare_set, server};

use super::Measurement;
use crate::bench::{Bench, Entrant, attempt, take_turns};
use crate::figures::Book;
use crate::peers::{ran, syncjournal};
use crate::work::flows::{Flows, Work};

pub(super) const MEASUREMENT: Measurement = Measurement {
    name: "apply-alone",
    about: "the backlogs of `apply`, half by half: prep_sync at the source (a set by plain SQL), apply of \
            its parts at the target; and pg_recvlogical into /dev/null, which is native's reading alone \
            (its apply cannot be had without it; see the CPU of the target in `apply`).",
    baseline: DECODE,
    axis: None,
    run,
};

const DECODE: &str = "native decoding";
const PREPARE: &str = "prep_sync";
const APPLY: &str = "apply";
const SLOT: &str = "alone";

fn run(bench: &Bench, book: &mut Book) {
    let flows = Flows::new(&bench.choice);
    let tables = flows.tables();
    let mut entrants = Vec::new();
    for name in ["untracked", syncjournal::NAME] {
        let fill = |db: &_, rows| flows.fill(db, rows);
        entrants.extend(attempt(book, name, || bench.prepare(name, &tables, fill)));
    }
    take_turns(book, &mut entrants, |entrant, _| {
        if entrant.does.carry {
            by_set(entrant, "full");
        } else {
            let source = &entrant.pair.source;
            source
                .exec(&format!("create publication {SLOT} for table {}", tables.forth.join(", ")));
            source
                .exec(&format!("select pg_create_logical_replication_slot('{SLOT}', 'pgoutput')"));
        }
    });
    for round in 0..bench.rounds() {
        book.round = round;
        for work in flows.works() {
            take_turns(book, &mut entrants, |entrant, book| halves(entrant, book, &work));
        }
    }
}

fn halves(entrant: &Entrant, book: &mut Book, work: &Work) {
    let read = |entrant: &Entrant| -> Vec<(&'static str, f64)> {
        match entrant.does.carry {
            true => by_set(entrant, "changes").to_vec(),
            false => vec![(DECODE, decode(&entrant.pair.source))],
        }
    };
    if work.clear(&entrant.pair) {
        read(entrant);
    }
    entrant.pair.settle();
    work.make(&entrant.pair.source);
    for (half, seconds) in read(entrant) {
        book.add(&work.name, half, work.rate, work.amount / seconds);
    }
}

/// Makes a set, applies and confirms it; the seconds of the first two.
fn by_set(entrant: &Entrant, mode: &str) -> [(&'static str, f64); 2] {
    let (source, target) = (&entrant.pair.source, &entrant.pair.target);
    let start = Instant::now();
    let parts = prepare_set(source, target, mode);
    let prepared = start.elapsed().as_secs_f64();
    let start = Instant::now();
    apply_set(target, &parts);
    let applied = start.elapsed().as_secs_f64();
    confirm_set(source, &parts);
    [(PREPARE, prepared), (APPLY, applied)]
}

/// Reads everything that the slot has, and throws it away; returns the seconds.
fn decode(source: &Db) -> f64 {
    let end = source.text("select pg_current_wal_flush_lsn()");
    let start = Instant::now();
    ran(Command::new(server().bin.join("pg_recvlogical"))
        .args(["--slot", SLOT, "--start", "--no-loop", "--file", "/dev/null", "--endpos", &end])
        .args(["--option", "proto_version=1", "--option"])
        .arg(format!("publication_names={SLOT}"))
        .args(["--dbname", &source.dsn()]));
    start.elapsed().as_secs_f64()
}
