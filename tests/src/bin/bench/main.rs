//! What syncjournal costs and moves, beside native logical replication on the same machine.
//!
//! Two clusters, and in each a pair of databases with pgbench's accounts: one pair under syncjournal,
//! one under a publication and a subscription. Both get the same work:
//!
//! - `small`: single-row transactions from four sessions;
//! - `bulk`: one transaction that updates every row.
//!
//! "catch up" is the time from starting the engine with all of the work waiting, until it has arrived;
//! "live" the time from the first transaction until the last has arrived, with the engine running.
//! `fsync` is off on both sides: what is compared is the work, not the disk.

mod memory;

use std::process::Command;
use std::time::{Duration, Instant};

use memory::Peak;
use syncjournal_tests::{
    Agent, Cluster, Db, Options, agent_binary, apply_set, confirm_set, introduce, prepare_set,
    server, wait_until_within,
};

const PATIENCE: Duration = Duration::from_secs(1800);
const ACCOUNT: &str = "\\set aid random(1, 100000 * :scale)\nupdate pgbench_accounts set abalance = abalance + 1 where aid = :aid;";
const SESSIONS: usize = 4;

/// How much: `SYNCJOURNAL_BENCH_SCALE` is pgbench's scale, 100,000 rows each.
struct Size {
    scale: usize,
}

impl Size {
    fn rows(&self) -> usize {
        self.scale * 100_000
    }

    /// Single-row transactions: a tenth of the rows.
    fn small(&self) -> usize {
        self.rows() / 10
    }
}

fn main() {
    let scale = std::env::var("SYNCJOURNAL_BENCH_SCALE").ok().and_then(|text| text.parse().ok());
    let size = Size { scale: scale.unwrap_or(10) };
    // Built here, not within what is timed.
    agent_binary();
    let options = || Options::default().set("shared_buffers", "256MB").set("autovacuum", "off");
    let (source, target) = (Cluster::start(options()), Cluster::start(options()));
    println!("{} rows; {} single-row transactions\n", size.rows(), size.small());

    native(&source, &target, &size);
    journal(&source, &target, &size);
}

fn native(source: &std::sync::Arc<Cluster>, target: &std::sync::Arc<Cluster>, size: &Size) {
    println!("native logical replication");
    let (from, to) = (Db::named(source, "native_from"), Db::named(target, "native_to"));
    fill(&from, size);
    schema_only(&to);
    from.exec("create publication all_tables for all tables");
    from.exec("select pg_create_logical_replication_slot('native', 'pgoutput')");
    let start = Instant::now();
    to.exec(&format!(
        "create subscription native connection '{}' publication all_tables
         with (create_slot = false, slot_name = native)",
        from.dsn()
    ));
    let ready = "select count(*) from pg_subscription_rel where srsubstate <> 'r'";
    wait_until_within(PATIENCE, "the first copy is there", || to.query_one::<i64>(ready) == 0);
    report("first copy", size.rows(), start);

    let pause = || to.exec("alter subscription native disable");
    let resume = || to.exec("alter subscription native enable");
    let mut marker = 0;
    for (name, rows, work) in works(size) {
        pause();
        let own = Instant::now();
        work(&from, size);
        report(&format!("{name}: at the source"), rows, own);
        mark(&from, &mut marker);
        let start = Instant::now();
        resume();
        arrived(&to, marker);
        report(&format!("{name}: catch up"), rows, start);
        let start = Instant::now();
        work(&from, size);
        mark(&from, &mut marker);
        arrived(&to, marker);
        report(&format!("{name}: live"), rows, start);
    }
    to.exec("drop subscription native");
}

fn journal(source: &std::sync::Arc<Cluster>, target: &std::sync::Arc<Cluster>, size: &Size) {
    println!("\nsyncjournal");
    let (from, to) = (Db::named(source, "journal_from"), Db::named(target, "journal_to"));
    fill(&from, size);
    schema_only(&to);
    for db in [&from, &to] {
        db.exec("create extension syncjournal");
    }
    introduce(&[(&from, "source"), (&to, "target")]);
    let start = Instant::now();
    from.exec("select syncjournal.track_all()");
    report("track, identities for", size.rows(), start);
    to.exec("select syncjournal.track_all()");
    // Giving every row an identity rewrites the table, which leaves it twice as large until it is
    // vacuumed; measured is what comes after that.
    from.exec("vacuum (full, analyze) pgbench_accounts");

    let memory = Peak::watch(&[("source", source.pid()), ("target", target.pid())]);
    by_file(&from, &to, "first copy", size.rows(), "full");
    let mut marker = 0;
    for (name, rows, work) in works(size) {
        let before = journal_size(&from);
        let own = Instant::now();
        work(&from, size);
        report(&format!("{name}: at the source"), rows, own);
        let after = journal_size(&from);
        let entries = as_f64(after.0 - before.0).max(1.0);
        println!(
            "  {:<28} {:>9.1} bytes of frame, {:.1} on disk with indexes",
            format!("{name}: an entry"),
            as_f64(after.1 - before.1) / entries,
            as_f64(after.2 - before.2) / entries
        );
        by_file(&from, &to, &format!("{name}: by file"), rows, "changes");
    }
    println!("  backends' own memory, at most: {}", memory.stop());

    let config = format!(
        "[node.source]\ndsn = \"{}\"\n[node.target]\ndsn = \"{}\"\n[[link]]\nname = \"bench\"\n\
         source = \"source\"\ndestination = \"target\"\nmode = \"live\"\n",
        from.dsn(),
        to.dsn()
    );
    for (name, rows, work) in works(size) {
        work(&from, size);
        mark(&from, &mut marker);
        let start = Instant::now();
        let agent = Agent::run(&config);
        let memory = Peak::watch(&[
            ("agent", agent.pid()),
            ("source", source.pid()),
            ("target", target.pid()),
        ]);
        arrived(&to, marker);
        report(&format!("{name}: catch up"), rows, start);
        let start = Instant::now();
        work(&from, size);
        mark(&from, &mut marker);
        arrived(&to, marker);
        report(&format!("{name}: live"), rows, start);
        println!("  own memory, at most: {}", memory.stop());
        let ended = agent.stop();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
    let sum = "select sum(abalance) || ' in ' || count(*) from pgbench_accounts";
    assert_eq!(from.text(sum), to.text(sum), "both ends hold the same");
}

fn by_file(from: &Db, to: &Db, name: &str, rows: usize, mode: &str) {
    let start = Instant::now();
    let parts = prepare_set(from, to, mode);
    report(&format!("{name}: prep_sync"), rows, start);
    let bytes: usize = parts.iter().map(Vec::len).sum();
    let start = Instant::now();
    apply_set(to, &parts);
    report(&format!("{name}: apply"), rows, start);
    println!("  {:<28} {:>9} kB in {} parts", format!("{name}: size"), bytes / 1000, parts.len());
    confirm_set(from, &parts);
}

type Work = fn(&Db, &Size);

fn works(size: &Size) -> [(&'static str, usize, Work); 2] {
    [("small", size.small(), small), ("bulk", size.rows(), bulk)]
}

fn small(db: &Db, size: &Size) {
    let script = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    std::fs::write(script.path(), ACCOUNT).expect("it can be written");
    let done = Command::new(server().bin.join("pgbench"))
        .args(["--no-vacuum", "--protocol=prepared", "--client", &SESSIONS.to_string()])
        .args(["--transactions", &(size.small() / SESSIONS).to_string()])
        .args(["--scale", &size.scale.to_string(), "--file"])
        .arg(script.path())
        .arg(db.dsn())
        .output()
        .expect("pgbench can be started");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn bulk(db: &Db, _: &Size) {
    db.exec("update pgbench_accounts set abalance = abalance + 1");
}

fn fill(db: &Db, size: &Size) {
    let done = Command::new(server().bin.join("pgbench"))
        .args(["--initialize", "--quiet", "--init-steps=dtgp"])
        .args(["--scale", &size.scale.to_string()])
        .arg(db.dsn())
        .output()
        .expect("pgbench can be started");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    db.exec("alter table pgbench_history add primary key (tid, bid, aid, mtime)");
    db.exec("create table marker (n int primary key)");
}

fn schema_only(db: &Db) {
    fill(db, &Size { scale: 1 });
    db.exec("truncate pgbench_accounts, pgbench_branches, pgbench_tellers, pgbench_history");
}

fn mark(db: &Db, marker: &mut i32) {
    *marker += 1;
    db.exec(&format!("insert into marker values ({marker})"));
}

fn arrived(db: &Db, marker: i32) {
    let query = format!("select count(*) from marker where n = {marker}");
    wait_until_within(PATIENCE, "the work has arrived", || db.query_one::<i64>(&query) == 1);
}

/// Entries in the journal, the bytes of their frames, and the bytes of the tables with their indexes.
fn journal_size(db: &Db) -> (i64, i64, i64) {
    let one = |sql: &str| db.query_one::<i64>(sql);
    (
        one("select coalesce(sum(entries), 0)::int8 from syncjournal.journal"),
        one("select coalesce(sum(octet_length(data)), 0)::int8 from syncjournal.journal"),
        one("select sum(pg_total_relation_size(relid))::int8
             from pg_partition_tree('syncjournal.journal') where isleaf"),
    )
}

fn report(what: &str, rows: usize, start: Instant) {
    let seconds = start.elapsed().as_secs_f64();
    let rate = f64::from(u32::try_from(rows).expect("a benchmark's rows")) / seconds;
    println!("  {what:<28} {rate:>9.0} rows/s  ({seconds:.2} s)");
}

fn as_f64(count: i64) -> f64 {
    f64::from(i32::try_from(count).unwrap_or(i32::MAX))
}
