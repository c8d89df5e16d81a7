//! From a commit on the source until the target shows it.

use std::time::{Duration, Instant};

use syncjournal_tests::{Db, Session};

use super::{Measurement, number};
use crate::bench::{Bench, Entrant, take_turns};
use crate::figures::spread::percentile;
use crate::figures::{Book, Metric};
use crate::pair::Tables;
use crate::work::pgbench::{self, Run, SIMPLE};

pub(super) const MEASUREMENT: Measurement = Measurement {
    name: "latency",
    about: "single rows are committed a hundred times a second beside a steady load of pgbench; the \
            clock of each runs from the return of its commit until a poll of the target shows it. The \
            polls are half a millisecond apart, which is the least that can be seen.",
    baseline: "native",
    axis: None,
    run,
};

const RATES: [usize; 2] = [200, 2_000];
const SECONDS: usize = 20;
const PROBES_A_SECOND: u32 = 100;
/// After the last probe was committed.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_micros(500);
const P50: Metric = Metric::less("p50", "ms");
const P99: Metric = Metric::less("p99", "ms");
const P999: Metric = Metric::less("p99.9", "ms");
const OFFERED: Metric = Metric::more("probes seen", "share");

fn run(bench: &Bench, book: &mut Book) {
    let mut names = pgbench::TABLES.to_vec();
    names.push("probe");
    let tables = Tables::one_way(&names);
    let fill = |db: &Db, rows| {
        pgbench::fill(db, 1, rows);
        db.exec("create table probe (n int primary key)");
    };
    let mut entrants = bench.enter(book, |does| does.carry, &tables, fill);
    take_turns(book, &mut entrants, |entrant, _| entrant.first_copy());
    let seconds = bench.choice.size(SECONDS, 2);
    for round in 0..bench.rounds() {
        book.round = round;
        for rate in RATES {
            take_turns(book, &mut entrants, |entrant, book| {
                measure(entrant, book, rate, seconds);
            });
        }
    }
}

fn measure(entrant: &mut Entrant, book: &mut Book, rate: usize, seconds: usize) {
    let pair = &entrant.pair;
    let first: i32 = pair.source.query_one("select coalesce(max(n), 0) + 1 from probe");
    pair.settle();
    entrant.link.start();
    let mark = pair.mark();
    entrant.link.wait(pair, mark);
    let background = rate - PROBES_A_SECOND as usize;
    let load = Run::of(SIMPLE, 4).rate(background).seconds(seconds + 1);
    let mut pgbench = load.start(&pair.source);
    let count = PROBES_A_SECOND * u32::try_from(seconds).expect("some seconds");
    let (source, target) = (pair.source.session(), pair.target.session());
    let (committed, seen) = std::thread::scope(|scope| {
        let writer = scope.spawn(move || write(source, first, count));
        let seen = watch(target, first, count, Duration::from_secs(seconds as u64) + PATIENCE);
        (writer.join().expect("the writer does not panic"), seen)
    });
    let loaded = pgbench.wait().expect("a child can be waited for");
    assert!(loaded.success(), "pgbench failed");
    entrant.link.stop();

    let mut waited: Vec<f64> = committed
        .iter()
        .zip(&seen)
        .filter_map(|(at, seen)| {
            Some(seen.as_ref()?.saturating_duration_since(*at).as_secs_f64() * 1e3)
        })
        .collect();
    waited.sort_by(f64::total_cmp);
    let case = format!("{rate} transactions a second");
    for (metric, share) in [(P50, 0.5), (P99, 0.99), (P999, 0.999)] {
        book.add(&case, entrant.name, metric, percentile(&waited, share));
    }
    // A system that does not keep up would look fast by what it shows: this must be 1.
    book.add(&case, entrant.name, OFFERED, number(waited.len()) / f64::from(count));
}

/// Commits one probe after the other at their times; returns when each was committed.
fn write(mut source: Session, first: i32, count: u32) -> Vec<Instant> {
    let start = Instant::now();
    let statement = source.client().prepare("insert into probe values ($1)");
    let statement = statement.expect("the statement can be prepared");
    let probes = (0..count).zip(first..).map(|(turn, n)| {
        let due = Duration::from_secs(1) * turn / PROBES_A_SECOND;
        std::thread::sleep(due.saturating_sub(start.elapsed()));
        source.client().execute(&statement, &[&n]).expect("a probe can be written");
        Instant::now()
    });
    probes.collect()
}

/// When each probe was first seen. They are committed one after the other, so that the highest that is
/// there stands for all below it.
fn watch(mut target: Session, first: i32, count: u32, limit: Duration) -> Vec<Option<Instant>> {
    let start = Instant::now();
    let statement = target.client().prepare("select max(n) from probe");
    let statement = statement.expect("the statement can be prepared");
    let mut seen = Vec::new();
    while seen.len() < count as usize && start.elapsed() < limit {
        let row = target.client().query_one(&statement, &[]).expect("the target answers");
        let now = Instant::now();
        let highest = row.get::<_, Option<i32>>(0).unwrap_or(0);
        let arrived = usize::try_from(highest - first + 1).unwrap_or(0);
        seen.resize(arrived.max(seen.len()), Some(now));
        std::thread::sleep(POLL);
    }
    seen.resize(count as usize, None);
    seen
}
