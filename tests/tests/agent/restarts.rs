//! Restart anywhere: nothing is lost, nothing comes twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use syncjournal_tests::{
    Agent, AgentCommand, Cluster, Db, Options, Session, assert_same_rows, shared, wait_until_within,
};

use super::{furnish, link, offices};

/// After the last blow: reconnects, windows, and a debug build on a busy machine.
const TIME_TO_CATCH_UP: Duration = Duration::from_secs(180);

/// Sessions that write until they are told to stop. A server that goes away under them is part of
/// the game: they connect anew.
struct Writers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<u64>>,
}

impl Writers {
    fn start(db: &Db, count: i32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..count)
            .map(|writer| {
                let (dsn, stop) = (db.dsn(), Arc::clone(&stop));
                std::thread::spawn(move || write(&dsn, writer, &stop))
            })
            .collect();
        Self { stop, threads }
    }

    /// Returns how many transactions were committed.
    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().expect("a writer ends well")).sum()
    }
}

fn write(dsn: &str, writer: i32, stop: &AtomicBool) -> u64 {
    let mut committed = 0;
    let mut session = None;
    let mut step = 0;
    while !stop.load(Ordering::Relaxed) {
        step += 1;
        let id = writer * 1_000_000 + step;
        let sql = match step % 5 {
            0 => format!("delete from item where id = {}", id - 3),
            1 => format!("update item set amount = amount + 1 where id = {}", id - 2),
            2 => format!(
                "begin; insert into item values ({id}, 'two'), (-{id}, 'parts');
                 update item set label = label || '!' where id = {id}; commit"
            ),
            3 => format!(
                "begin; insert into item values ({id}, 'kept'); savepoint s;
                 insert into item values (-{id}, 'dropped'); rollback to s; commit"
            ),
            _ => format!("insert into item values ({id}, 'one')"),
        };
        let open: &mut Session = match &mut session {
            Some(open) => open,
            None => match Session::try_connect(dsn) {
                Some(new) => session.insert(new),
                None => {
                    std::thread::sleep(Duration::from_millis(50));
                    continue;
                }
            },
        };
        match open.try_exec(&sql) {
            Ok(()) => committed += 1,
            Err(_) => session = None,
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    committed
}

/// The first sync, of empty tables: from there on each entry must come, and come once.
fn begin(config: &str) {
    let finished = AgentCommand::new(config).arg("sync").finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
}

fn wait_until_same(hq: &Db, branch: &Db) {
    // What is compared is made by the servers, and not in every moment: the agent and they have
    // work to do on the same processors.
    let state = "select count(*) || ' ' || coalesce(sum(hashtextextended(i::text, 0)), 0) || ' ' ||
                     (select coalesce(sum(entries), 0) from syncjournal.journal_frame) from item i";
    wait_until_within(TIME_TO_CATCH_UP, "both ends are the same", || {
        std::thread::sleep(Duration::from_millis(250));
        hq.text(state) == branch.text(state)
    });
    assert_same_rows(hq, branch, "item");
    // Not only the rows: every entry came, and came once.
    let journal = "select string_agg(version::text, ' ' order by version) from syncjournal.change";
    assert_eq!(hq.text(journal), branch.text(journal));
    let conflicts: i64 = branch.query_one("select count(*) from syncjournal.conflict");
    assert_eq!(conflicts, 0);
}

#[test]
fn an_agent_that_is_killed_again_and_again() {
    let (hq, branch) = offices();
    let config = link(&hq, &branch, "");
    begin(&config);
    let writers = Writers::start(&hq, 3);
    for round in 0..6 {
        let agent = Agent::run(&config);
        // Each time at another moment: while it connects, catches up, waits for its slot, streams.
        std::thread::sleep(Duration::from_millis(300 + round * 450));
        agent.signal("KILL");
        drop(agent);
    }
    let agent = Agent::run(&config);
    std::thread::sleep(Duration::from_secs(2));
    assert!(writers.stop() > 100, "the load was no load");
    wait_until_same(&hq, &branch);
    assert_eq!(agent.stop().code, Some(0));
}

#[test]
fn a_clean_stop_under_load_loses_nothing() {
    let (hq, branch) = offices();
    let config = link(&hq, &branch, "");
    begin(&config);
    let writers = Writers::start(&hq, 2);
    for _ in 0..3 {
        let agent = Agent::run(&config);
        std::thread::sleep(Duration::from_secs(2));
        let ended = agent.stop();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
    writers.stop();
    let agent = Agent::run(&config);
    wait_until_same(&hq, &branch);
    assert_eq!(agent.stop().code, Some(0));
}

#[test]
fn a_target_that_crashes_under_load() {
    let cluster = Cluster::start(Options::default());
    let (hq, branch) = (Db::fresh(shared(0)), Db::fresh(&cluster));
    furnish(&hq, "hq");
    furnish(&branch, "branch");
    let config = link(&hq, &branch, "");
    begin(&config);
    let agent = Agent::run(&config);
    let writers = Writers::start(&hq, 3);
    for _ in 0..2 {
        std::thread::sleep(Duration::from_secs(2));
        cluster.kill();
        std::thread::sleep(Duration::from_millis(500));
        cluster.start_again();
    }
    std::thread::sleep(Duration::from_secs(2));
    writers.stop();
    branch.reconnect();
    wait_until_same(&hq, &branch);
    assert_eq!(agent.stop().code, Some(0));
}

#[test]
fn a_source_that_crashes_or_stops_under_load() {
    let cluster = Cluster::start(Options::default());
    let (hq, branch) = (Db::fresh(&cluster), Db::fresh(shared(1)));
    furnish(&hq, "hq");
    furnish(&branch, "branch");
    let config = link(&hq, &branch, "");
    begin(&config);
    let agent = Agent::run(&config);
    let writers = Writers::start(&hq, 3);
    std::thread::sleep(Duration::from_secs(3));
    cluster.kill();
    cluster.start_again();
    std::thread::sleep(Duration::from_secs(3));
    // The walsender must not keep the server from stopping.
    cluster.stop();
    cluster.start_again();
    std::thread::sleep(Duration::from_secs(3));
    writers.stop();
    hq.reconnect();
    wait_until_same(&hq, &branch);
    assert_eq!(agent.stop().code, Some(0));
}

/// The next part is at the target before one has failed: it must not be applied without it.
#[test]
fn parts_behind_one_that_fails_are_not_applied_before_it() {
    let (hq, branch) = offices();
    let config = link(&hq, &branch, "stop_on = [\"23\"]");
    let sync = || AgentCommand::new(&config).arg("sync").finish();
    assert_eq!(sync().code, Some(0));
    for transaction in 1..=60 {
        hq.exec(&format!(
            "insert into item select {transaction} * 1000 + g, repeat(md5(g::text), 4), {transaction}
             from generate_series(1, 200) g"
        ));
    }
    for bad in [2, 20] {
        branch.exec(&format!("alter table item add constraint fine check (amount <> {bad})"));
        let failed = sync();
        assert!(failed.stderr.contains("23514"), "{failed:#?}");
        let last: i32 = branch.query_one("select coalesce(max(amount), 0) from item");
        assert!(last < bad, "transaction {last} came before {bad}");
        branch.exec("alter table item drop constraint fine");
    }
    assert_eq!(sync().code, Some(0));
    assert_same_rows(&hq, &branch, "item");
}
