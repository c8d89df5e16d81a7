//! Cost against the number of targets of one source.

use std::fmt::Write as _;
use std::time::Instant;

use syncjournal_tests::{Agent, Db};

use super::{CARRIED, DAEMON_MEMORY, Measurement, SOURCE_CPU, TOTAL_CPU, number};
use crate::bench::{Bench, Rows, attempt};
use crate::figures::Book;
use crate::gauge::{cpu, memory};
use crate::pair::{Pair, arrived, wait};
use crate::peers::syncjournal;
use crate::work::pgbench::{self, ROWS_A_SCALE, Run, SIMPLE};

pub(super) const MEASUREMENT: Measurement = Measurement {
    name: "scale-links",
    about: "one source and 1 to 20 targets (databases of one other cluster), while the carrier runs: \
            transactions a second until the last target has them, CPU of the source, and of both servers \
            and the carrier. Native decodes once for every target, syncjournal's agent once for all.",
    baseline: "native",
    axis: Some("targets"),
    run,
};

const TARGETS: [usize; 3] = [1, 5, 20];
const TRANSACTIONS: usize = 10_000;
/// Each subscription takes a worker and a slot, and for its first copy a second one.
const ROOM: [(&str, &str); 5] = [
    ("max_worker_processes", "60"),
    ("max_logical_replication_workers", "50"),
    ("max_sync_workers_per_subscription", "1"),
    ("max_replication_slots", "60"),
    ("max_wal_senders", "60"),
];

/// One source and its targets; the pair's own target is the first.
struct Fan {
    pair: Pair,
    more: Vec<Db>,
    agent: Option<Agent>,
}

fn run(bench: &Bench, book: &mut Book) {
    let count = bench.choice.size(TRANSACTIONS, 100);
    for targets in TARGETS {
        if targets > bench.choice.size(TARGETS[TARGETS.len() - 1], 2) {
            continue;
        }
        let mut fans = Vec::new();
        for name in bench.names(book, |does| does.carry) {
            let start = match name {
                "native" => native as fn(&Fan) -> Option<Agent>,
                syncjournal::NAME => followed,
                _ => continue,
            };
            fans.extend(attempt(book, name, || (name, fan(targets, start))));
        }
        for round in 0..bench.rounds() {
            book.round = round;
            fans.retain(|(name, fan)| {
                let costs = attempt(book, name, || turn(fan, count));
                for (metric, value) in costs.iter().flatten() {
                    book.add(&targets.to_string(), name, *metric, *value);
                }
                costs.is_some()
            });
        }
    }
}

/// Makes source and targets, and starts to carry.
fn fan(targets: usize, start: fn(&Fan) -> Option<Agent>) -> Fan {
    let pair = Pair::start(&ROOM);
    pgbench::fill(&pair.source, 1, Rows::All);
    let more = (2..=targets).map(|n| {
        let db = Db::named(pair.target.cluster(), &format!("target_{n}"));
        db.exec("create table marker (n int primary key)");
        db
    });
    let mut fan = Fan { more: more.collect(), pair, agent: None };
    fan.targets().for_each(|db| pgbench::fill(db, 1, Rows::None));
    fan.agent = start(&fan);
    let mark = fan.pair.mark();
    fan.targets().for_each(|db| arrived(db, "marker", mark));
    // Tables are copied apart from each other: the marker says nothing of the largest.
    let copied = format!("select count(*) = {ROWS_A_SCALE} from pgbench_accounts");
    fan.targets().for_each(|db| wait("a target is filled", || db.query_one::<bool>(&copied)));
    fan
}

impl Fan {
    fn targets(&self) -> impl Iterator<Item = &Db> {
        std::iter::once(&self.pair.target).chain(&self.more)
    }
}

fn tables() -> Vec<&'static str> {
    pgbench::TABLES.into_iter().chain(["marker"]).collect()
}

fn native(fan: &Fan) -> Option<Agent> {
    fan.pair.source.exec(&format!("create publication fan for table {}", tables().join(", ")));
    for (n, db) in fan.targets().enumerate() {
        let source = fan.pair.source.dsn();
        db.exec(&format!("create subscription fan_{n} connection '{source}' publication fan"));
    }
    None
}

fn followed(fan: &Fan) -> Option<Agent> {
    let mut config = format!("[node.source]\ndsn = \"{}\"\n", fan.pair.source.dsn());
    for (n, db) in fan.targets().enumerate() {
        let _ = write!(
            config,
            "[node.target{n}]\ndsn = \"{}\"\n[[link]]\nname = \"link{n}\"\nsource = \"source\"\n\
             destination = \"target{n}\"\nmode = \"live\"\n",
            db.dsn()
        );
    }
    let nodes = fan.targets().enumerate().map(|(n, db)| (db, format!("target{n}")));
    for (db, node) in nodes.chain([(&fan.pair.source, "source".to_owned())]) {
        db.exec("create extension syncjournal");
        db.exec(&format!("select syncjournal.create_node('{node}')"));
        for table in tables() {
            db.exec(&format!("select syncjournal.track('{table}')"));
        }
    }
    Some(Agent::run(&config))
}

fn turn(fan: &Fan, count: usize) -> [(crate::figures::Metric, f64); 4] {
    let pair = &fan.pair;
    pair.settle();
    let agents: Vec<u32> = fan.agent.iter().map(Agent::pid).collect();
    let [source, target] = pair.cpu();
    let carrier = cpu::of_families(&agents);
    let start = Instant::now();
    Run::of(SIMPLE, 4).transactions(count).asynchronous(true).finish(&pair.source);
    let mark = pair.mark();
    fan.targets().for_each(|db| arrived(db, "marker", mark));
    let seconds = start.elapsed().as_secs_f64();
    let after = pair.cpu();
    let carrier = cpu::of_families(&agents) - carrier;
    let memory = agents.iter().map(|agent| memory::largest(*agent)).fold(0.0, f64::max);
    [
        (CARRIED, number(count) / seconds),
        (SOURCE_CPU, after[0] - source),
        (TOTAL_CPU, after[0] - source + after[1] - target + carrier),
        (DAEMON_MEMORY, memory),
    ]
}
