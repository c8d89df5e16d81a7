//! What syncjournal does, on one screen: `make demo`.
//!
//! A shop's head office and its branch, each a Postgres cluster of its own in a temporary folder, are
//! kept in step by an agent; a delivery van gets the same by a file. Every statement that is shown is
//! the statement that runs, but for the folder of the file. Nothing of the machine's own Postgres is
//! touched, and all is gone at the end.

use std::time::Instant;

use syncjournal_tests::{Agent, Cluster, Db, Options, assert_same_rows, wait_until};

const TABLES: [&str; 4] = ["customer", "product", "sale", "sale_line"];
const SHOP: &str = include_str!("../../demo/shop.sql");
const ROWS: &str = include_str!("../../demo/shop-rows.sql");

fn main() {
    println!(
        "\nsyncjournal demo: a head office, its branch, and a delivery van without a network.\n"
    );
    let (first, second) = (Cluster::start(Options::default()), Cluster::start(Options::default()));
    let hq = Db::named(&first, "hq");
    let branch = Db::named(&second, "branch");
    let van = Db::named(&second, "van");

    prepare(&hq, &branch, &van);
    let agent = start_agent(&hq, &branch);
    live(&hq, &branch);
    by_file(&hq, &van);
    history(&branch);
    let ended = agent.stop();
    assert_eq!(ended.code, Some(0), "the agent should stop cleanly:\n{}", ended.stderr);
    drop((hq, branch, van));
    println!(
        "\nDone. Two clusters and the agent ran in a temporary folder; they are stopped and gone."
    );
}

fn prepare(hq: &Db, branch: &Db, van: &Db) {
    step(1, "Three databases with one schema; the rows are at hq. Each gets a name and a journal.");
    for db in [hq, branch, van] {
        db.exec(SHOP);
    }
    hq.exec(ROWS);
    for db in [hq, branch, van] {
        db.exec("create extension syncjournal");
        db.exec(&format!("select syncjournal.create_node('{}')", db.name()));
    }
    shown(hq, "create extension syncjournal");
    shown(hq, "select syncjournal.create_node('hq')");
    let track = "select count(*) from syncjournal.track_all(exclude => '{public.till_log}')";
    shown(hq, track);
    for db in [hq, branch, van] {
        let tracked: i64 = db.query_one(track);
        assert_eq!(usize::try_from(tracked), Ok(TABLES.len()), "tables tracked in {}", db.name());
    }
}

fn start_agent(hq: &Db, branch: &Db) -> Agent {
    step(2, "An agent links hq and branch, live and both ways; the till's log stays where it is.");
    let config = format!(
        "[node.hq]\ndsn = \"{}\"\n\n[node.branch]\ndsn = \"{}\"\n\n[[link]]\nname = \"hq-branch\"\n\
         source = \"hq\"\ndestination = \"branch\"\ndirection = \"both\"\nmode = \"live\"\n\
         include = [\"public.*\"]\nexclude = [\"public.till_log\"]\n",
        hq.dsn(),
        branch.dsn()
    );
    println!("     $ syncjournal-agent --config agent.toml run &");
    let agent = Agent::run(&config);
    let start = Instant::now();
    let wanted = total_rows(hq);
    wait_until("the branch has the first copy", || total_rows(branch) == wanted);
    report(&format!(
        "first copy: {wanted} rows at the branch after {:.1} s; the same row by row: {}",
        start.elapsed().as_secs_f64(),
        same(hq, branch)
    ));
    agent
}

/// Changes on either side turn up on the other.
fn live(hq: &Db, branch: &Db) {
    step(3, "Changes travel as they happen.");
    change(hq, "update customer set credit = 75.50 where name = 'Ada 16'");
    arrives(branch, "select credit from customer where name = 'Ada 16'", "75.50");
    change(branch, "update customer set town = 'Oslo' where name = 'Ada 16'");
    arrives(hq, "select town from customer where name = 'Ada 16'", "Oslo");
    change(hq, "delete from sale where sold_at < '2026-01-02'");
    let left = hq.text("select count(*) from sale");
    arrives(branch, "select count(*) from sale", &left);
    report(&format!(
        "the same row by row: {}; till_log: {} rows at hq, {} at the branch (excluded)",
        same(hq, branch),
        hq.text("select count(*) from till_log"),
        branch.text("select count(*) from till_log")
    ));
}

fn by_file(hq: &Db, van: &Db) {
    step(4, "The van has no network: it gets the same as a file, from plain SQL.");
    change(hq, "select syncjournal.add_peer('van', exclude => '{public.till_log}')");
    van.exec("select syncjournal.add_peer('hq')");
    let prepare = "select data from syncjournal.prep_sync('van', mode => 'full')";
    shown(hq, prepare);
    let parts: Vec<Vec<u8>> = hq.column(prepare);
    let bytes: usize = parts.iter().map(Vec::len).sum();
    report(&format!(
        "{} kB in {} file(s), carried to the van on a stick",
        bytes / 1000,
        parts.len()
    ));

    let folder = van.cluster().socket();
    van.exec("begin");
    for (number, part) in parts.iter().enumerate() {
        let file = folder.join(format!("van-{}.set", number + 1));
        std::fs::write(&file, part).expect("the cluster's folder is writable");
        let apply = "select inserted from syncjournal.apply(pg_read_binary_file";
        shown(van, &format!("{apply}('van-{}.set'))", number + 1));
        van.exec(&format!("{apply}('{}'))", file.display()));
    }
    van.exec("commit");
    report(&format!("{} rows in the van; the same row by row: {}", total_rows(van), same(hq, van)));
}

fn history(db: &Db) {
    step(5, "Who changed Ada's row? Every database knows, wherever it happened.");
    let query = "select op, node, new from syncjournal.history('customer',\n          \
                 (select sync_id from customer where name = 'Ada 16'))";
    shown(db, query);
    for change in db.rows(query) {
        let columns = change.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>();
        println!("       {:<7} at {:<7} {}", columns[0], columns[1], columns[2]);
    }
}

fn step(number: usize, what: &str) {
    println!("{}{number}  {what}", if number > 1 { "\n" } else { "" });
}

fn shown(db: &Db, sql: &str) {
    println!("     {}=# {sql};", db.name());
}

fn report(fact: &str) {
    println!("     → {fact}");
}

fn change(db: &Db, sql: &str) {
    shown(db, sql);
    db.exec(sql);
}

/// Waits until a query on the other side gives the value, and tells how long that took.
fn arrives(db: &Db, query: &str, wanted: &str) {
    let start = Instant::now();
    wait_until(query, || db.text(query) == wanted);
    let elapsed = start.elapsed().as_millis();
    println!("     {}=# {query};   → {wanted}  ({elapsed} ms later)", db.name());
}

fn total_rows(db: &Db) -> i64 {
    let count = |table| db.query_one::<i64>(&format!("select count(*) from {table}"));
    TABLES.iter().copied().map(count).sum()
}

fn same(left: &Db, right: &Db) -> &'static str {
    for table in TABLES {
        assert_same_rows(left, right, table);
    }
    "yes"
}
