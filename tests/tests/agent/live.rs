//! Live links: what is written at one end appears at the other, whole and in order.

use std::time::{Duration, Instant};

use syncjournal_tests::{
    Agent, AgentCommand, Cluster, Db, Options, assert_same_rows, shared, table_rows, triple,
    wait_until, wait_until_within,
};

use super::fan_out::{statements, states, wait_until_all_stream};
use super::{Config, agent_dsn, count, furnish, link, offices};

/// A slot waits for the open transactions of its whole cluster, which other tests share.
const SLOT_PATIENCE: Duration = Duration::from_secs(180);

/// What `status --json` says of the only link.
fn state(config: &str) -> String {
    let told = AgentCommand::new(config).args(&["status", "--json"]).finish().stdout;
    let status: serde_json::Value = serde_json::from_str(&told).expect("it is JSON");
    status[0]["state"].as_str().expect("a link has a state").to_owned()
}

fn wait_for_state(config: &str, wanted: &str) {
    wait_until_within(SLOT_PATIENCE, &format!("the link is {wanted}"), || state(config) == wanted);
}

/// Offices of which hq has a cluster to itself: a long transaction there keeps no other test's slot
/// waiting.
fn apart() -> (Db, Db) {
    let (hq, branch) = (Db::fresh(&Cluster::start(Options::default())), Db::fresh(shared(1)));
    furnish(&hq, "hq");
    furnish(&branch, "branch");
    (hq, branch)
}

fn same(left: &Db, right: &Db) -> bool {
    table_rows(left, "item") == table_rows(right, "item")
}

#[test]
fn changes_appear_as_they_are_made() {
    let (hq, branch) = offices();
    hq.exec("insert into item select i, 'early' from generate_series(1, 100) i");
    let config = link(&hq, &branch, "");
    let agent = Agent::run(&config);
    wait_until("the first copy is there", || count(&branch) == 100);
    wait_for_state(&config, "streaming");
    hq.exec("insert into item values (1000, 'live')");
    hq.exec("update item set label = 'late' where id = 1; delete from item where id = 2");
    wait_until("the changes are there", || same(&hq, &branch));
    hq.exec("truncate item");
    wait_until("the truncation is there", || count(&branch) == 0);
    hq.exec("insert into item values (1, 'after')");
    wait_until("the table fills again", || same(&hq, &branch));
    let ended = agent.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn a_change_takes_less_than_a_second() {
    let (hq, branch) = offices();
    let config = link(&hq, &branch, "");
    let _agent = Agent::run(&config);
    wait_for_state(&config, "streaming");
    let mut best = Duration::MAX;
    for id in 0..10 {
        let written = Instant::now();
        hq.exec(&format!("insert into item values ({id})"));
        wait_until("it is there", || count(&branch) == i64::from(id) + 1);
        best = best.min(written.elapsed());
    }
    assert!(best < Duration::from_secs(1), "{best:?}");
}

#[test]
fn a_large_transaction_is_never_seen_in_half() {
    const ROWS: i64 = 60_000;
    let (hq, branch) = apart();
    let config = link(&hq, &branch, "");
    let _agent = Agent::run(&config);
    wait_for_state(&config, "streaming");
    hq.exec(&format!(
        "insert into item select i, repeat('x', 100) from generate_series(1, {ROWS}) i"
    ));
    wait_until("all of it is there", || {
        let seen = count(&branch);
        assert!(seen == 0 || seen == ROWS, "{seen} rows of a transaction of {ROWS}");
        seen == ROWS
    });
    assert_same_rows(&hq, &branch, "item");
    hq.exec("begin; update item set amount = 1; delete from item where id % 2 = 0; commit");
    wait_until("the second is there", || {
        let amounts: Vec<i32> = branch.column("select distinct amount from item");
        assert_eq!(amounts.len(), 1, "half an update");
        amounts == [1]
    });
    wait_until("both are the same", || same(&hq, &branch));
}

#[test]
fn a_target_that_is_held_up_does_not_break_the_stream() {
    let options = Options::default().set("wal_sender_timeout", "4s");
    let (hq, branch) = (Db::fresh(&Cluster::start(options)), Db::fresh(shared(1)));
    furnish(&hq, "hq");
    furnish(&branch, "branch");
    let config = link(&hq, &branch, "");
    let agent = Agent::run(&config);
    wait_for_state(&config, "streaming");
    let mut lock = branch.session();
    lock.exec("begin; lock table item in access exclusive mode");
    // More than the agent holds in memory, and a row that alone is more than that.
    for (first, rows, kilobytes) in [(1, 40, 500), (101, 1, 20_000)] {
        hq.exec(&format!(
            "insert into item select i, (
                 select string_agg(md5(i::text || k::text), '') from generate_series(1, {}) k)
             from generate_series({first}, {first} + {rows} - 1) i",
            kilobytes * 1000 / 32
        ));
    }
    // Long enough for the server to lose patience twice over.
    std::thread::sleep(Duration::from_secs(9));
    lock.exec("commit");
    wait_until("all of it is there", || count(&branch) == 41);
    assert_same_rows(&hq, &branch, "item");
    assert!(!agent.stderr().contains("will try again"), "{}", agent.stderr());
    assert_eq!(agent.stop().code, Some(0));
}

#[test]
fn both_ways_and_nothing_goes_round() {
    let (hq, branch) = offices();
    let config = link(&hq, &branch, "direction = \"both\"");
    let _agent = Agent::run(&config);
    wait_for_state(&config, "streaming");
    hq.exec("insert into item select i, 'hq' from generate_series(1, 50) i");
    branch.exec("insert into item select i, 'branch' from generate_series(101, 150) i");
    wait_until("both have all", || count(&hq) == 100 && count(&branch) == 100);
    hq.exec("update item set label = 'by hq' where id > 100");
    branch.exec("delete from item where id <= 50");
    wait_until("both have changed", || count(&hq) == 50 && same(&hq, &branch));
    let entries = "select count(*) from syncjournal.change";
    assert_eq!(hq.query_one::<i64>(entries), 200);
    assert_eq!(branch.query_one::<i64>(entries), 200);
    // What went out may be pruned once the other end says in its own stream that it has it.
    let newest: String = hq.text("select max(xid)::text from syncjournal.journal_frame");
    let said = format!(
        "select coalesce(pg_snapshot_xmin(has_said) > '{newest}'::xid8, false)
         from syncjournal.registered_peer"
    );
    wait_until("the branch has said what it has", || {
        hq.exec("update item set amount = amount + 1 where id = 101");
        branch.exec("update item set amount = amount + 1 where id = 102");
        hq.query_one(&said)
    });
}

#[test]
fn the_lists_of_link_and_source_both_hold_in_window_and_stream() {
    let (hq, branch) = offices();
    for db in [&hq, &branch] {
        for table in ["secret", "withheld", "session"] {
            db.exec(&format!(
                "create table {table} (id int primary key); select syncjournal.track('{table}')"
            ));
        }
    }
    hq.exec("select syncjournal.add_peer('branch', exclude => '{public.withheld}')");
    let fill = |id: i32| {
        for table in ["item", "secret", "withheld", "session"] {
            hq.exec(&format!("insert into {table} (id) values ({id})"));
        }
    };
    fill(1);
    let lists = "include = [\"public.*\"]\nexclude = [\"public.se*\"]";
    let config = link(&hq, &branch, lists);
    let _agent = Agent::run(&config);
    wait_for_state(&config, "streaming");
    fill(2);
    wait_until("the stream has brought the item", || count(&branch) == 2);
    hq.exec("select syncjournal.alter_peer('branch', exclude => '{public.withheld,public.item}')");
    for table in ["secret", "withheld", "session"] {
        let rows: i64 = branch.query_one(&format!("select count(*) from {table}"));
        assert_eq!(rows, 0, "{table} came over");
    }
    let journaled: i64 =
        branch.query_one("select count(*) from syncjournal.change where relation <> 'public.item'");
    assert_eq!(journaled, 0, "what is excluded does not come as a journal entry either");
}

#[test]
fn an_open_transaction_does_not_keep_changes_back_while_the_slot_waits() {
    let (hq, branch) = apart();
    let mut long = hq.session();
    long.exec("begin; insert into item values (99, 'long')");
    let config = link(&hq, &branch, "");
    let _agent = Agent::run(&config);
    wait_for_state(&config, "waiting_for_slot");
    hq.exec("insert into item values (1, 'meanwhile')");
    wait_until("a window has brought it", || count(&branch) == 1);
    assert_eq!(state(&config), "waiting_for_slot");
    long.exec("commit");
    wait_until("the long transaction is there", || count(&branch) == 2);
    wait_for_state(&config, "streaming");
    hq.exec("insert into item values (2, 'streamed')");
    wait_until("the stream runs", || same(&hq, &branch));
}

#[test]
fn without_logical_wal_the_link_goes_by_windows() {
    let options = Options::default().set("wal_level", "replica").set("log_statement", "all");
    let cluster = Cluster::start(options);
    let (hq, branch) = (Db::fresh(&cluster), Db::fresh(shared(1)));
    furnish(&hq, "hq");
    furnish(&branch, "branch");
    let config = link(&hq, &branch, "");
    let told = AgentCommand::new(&config).arg("check").finish();
    assert_eq!(told.code, Some(0), "{told:#?}");
    assert!(told.stdout.contains("wal_level"), "{}", told.stdout);
    let agent = Agent::run(&config);
    for id in 1..=3 {
        hq.exec(&format!("insert into item values ({id})"));
        wait_until("a window has brought it", || same(&hq, &branch));
    }
    assert!(agent.stderr().contains("wal_level is replica"), "{}", agent.stderr());
    std::thread::sleep(Duration::from_secs(3));
    let asked = statements(&cluster);
    std::thread::sleep(Duration::from_secs(10));
    let asked = statements(&cluster) - asked;
    assert!(asked <= 10, "nothing comes, and the source was asked {asked} times in 10 s");
    assert_eq!(agent.stop().code, Some(0));
}

#[test]
fn a_paused_peer_gets_nothing_until_it_is_taken_up_again() {
    let (hq, branch) = offices();
    let config = link(&hq, &branch, "");
    let _agent = Agent::run(&config);
    wait_for_state(&config, "streaming");
    hq.exec("select syncjournal.alter_peer('branch', active => false)");
    wait_for_state(&config, "paused");
    // The stream looks at the list every ten seconds.
    std::thread::sleep(Duration::from_secs(12));
    hq.exec("insert into item values (1, 'held back')");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(count(&branch), 0);
    hq.exec("select syncjournal.alter_peer('branch', active => true)");
    // What went off with the source comes on by its own node's word only.
    branch.exec("select syncjournal.alter_peer('hq', active => true)");
    wait_until("it comes after all", || same(&hq, &branch));
}

#[test]
fn hangup_reads_the_configuration_again() {
    let (hq, branch) = offices();
    let (hq_dsn, branch_dsn) = (agent_dsn(&hq), agent_dsn(&branch));
    let nodes = || Config::new(&[("hq", &hq_dsn), ("branch", &branch_dsn)]);
    let agent = Agent::run(&nodes().0);
    wait_until("it runs", || agent.stderr().contains("nothing to do"));
    let file = agent.folder().join("agent.toml");
    std::fs::write(&file, "this is not toml").expect("the folder is writable");
    agent.signal("HUP");
    wait_until("it says what is wrong", || agent.stderr().contains("the old one stays"));
    std::fs::write(&file, nodes().link("hq", "branch", "").0).expect("the folder is writable");
    agent.signal("HUP");
    hq.exec("insert into item values (1, 'reloaded')");
    wait_until("the new link runs", || same(&hq, &branch));
    assert_eq!(agent.stop().code, Some(0));
}

#[test]
fn a_planned_link_runs_at_its_times() {
    let (hq, branch) = offices();
    hq.exec("insert into item values (1, 'planned')");
    // With seconds, which the parser takes as a sixth field.
    let config = link(&hq, &branch, "mode = \"plan\"\nschedule = \"*/2 * * * * *\"");
    let agent = Agent::run(&config);
    wait_until("it has run", || same(&hq, &branch));
    hq.exec("insert into item values (2, 'planned')");
    wait_until("it has run again", || same(&hq, &branch));
    assert_eq!(agent.stop().code, Some(0));
}

#[test]
fn a_stopped_agent_leaves_no_slot_behind() {
    let (hq, branch) = offices();
    let config = link(&hq, &branch, "");
    let agent = Agent::run(&config);
    wait_for_state(&config, "streaming");
    let slots =
        format!("select count(*) from pg_replication_slots where database = '{}'", hq.name());
    assert_eq!(hq.query_one::<i64>(&slots), 1);
    assert!(hq.query_one::<bool>(
        "select bool_and(temporary) from pg_replication_slots where database = current_database()"
    ));
    assert_eq!(agent.stop().code, Some(0));
    wait_until("the slot is gone", || hq.query_one::<i64>(&slots) == 0);
    // Killed, it leaves none either: the server notices that the connection is gone.
    let agent = Agent::run(&config);
    wait_for_state(&config, "streaming");
    drop(agent);
    wait_until("the slot is gone", || hq.query_one::<i64>(&slots) == 0);
}

#[test]
fn what_cannot_be_applied_waits_in_quarantine_and_is_tried_again() {
    let (hq, branch) = offices();
    let config = link(&hq, &branch, "");
    let agent = Agent::run(&config);
    wait_for_state(&config, "streaming");
    branch.exec("alter table item add constraint dear check (amount < 10)");
    hq.exec("insert into item values (1, 'dear', 10)");
    hq.exec("insert into item values (2, 'cheap')");
    wait_until("the other row comes", || count(&branch) == 1);
    let told = AgentCommand::new(&config).args(&["status", "--json"]).finish().stdout;
    let status: serde_json::Value = serde_json::from_str(&told).expect("it is JSON");
    assert_eq!((&status[0]["state"], &status[0]["quarantined"]), (&"streaming".into(), &1.into()));
    branch.exec("alter table item drop constraint dear");
    wait_until("it is tried again", || same(&hq, &branch));
    assert!(!agent.stderr().contains("will try again"), "{}", agent.stderr());
}

#[test]
fn an_error_that_stops_the_link_is_seen_in_status_and_waited_out() {
    let (hq, branch, other) = triple();
    for (db, name) in [(&hq, "hq"), (&branch, "branch"), (&other, "other")] {
        furnish(db, name);
    }
    let dsns = [agent_dsn(&hq), agent_dsn(&branch), agent_dsn(&other)];
    let config = Config::new(&[("hq", &dsns[0]), ("branch", &dsns[1]), ("other", &dsns[2])])
        .link("hq", "branch", "stop_on = [\"23\"]")
        .link("hq", "other", "")
        .0;
    let _agent = Agent::run(&config);
    wait_until_all_stream(&config);
    branch.exec("alter table item add check (amount < 10)");
    branch.exec("select syncjournal.alter_peer('hq', stop_on => '{23}')");
    hq.exec("insert into item values (1, 'dear', 10)");
    let last_error = "select coalesce(max(last_error), '') from syncjournal.stat_peer";
    wait_until("the target shows it", || branch.text(last_error).contains("item_amount_check"));
    wait_until("the state is failing", || states(&config)[0].1 == "failing");
    let told = AgentCommand::new(&config).arg("status").finish().stdout;
    assert!(told.contains("hq-branch (hq to branch): "), "{told}");
    assert!(told.contains("item_amount_check") && told.contains("23514"), "{told}");
    hq.exec("insert into item values (2, 'waits behind it')");
    wait_until("the other link goes on", || same(&hq, &other));
    assert_eq!(states(&config)[1].1, "streaming");
    assert_eq!(count(&branch), 0);
    branch.exec("alter table item drop constraint item_amount_check");
    wait_until("both rows come, in order", || same(&hq, &branch));
    wait_until_all_stream(&config);
}

#[test]
fn a_sync_beside_the_service_waits_for_it() {
    let (hq, branch) = offices();
    let config = link(&hq, &branch, "");
    let _agent = Agent::run(&config);
    wait_for_state(&config, "streaming");
    hq.exec("insert into item values (1, 'one')");
    let finished = AgentCommand::new(&config).arg("sync").finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    assert_same_rows(&hq, &branch, "item");
}
