//! Clones that are killed and go on, under load.

use syncjournal_tests::{Agent, AgentCommand, Db, assert_same_rows, wait_until};

use super::load::Load;
use super::{assert_clean, cloned, command, json, link, nodes, sync};

const ITEM: &str = "
    create table item (id int8 primary key, label text, amount int default 0, filler text);
    create table small (id int primary key, label text);";

fn fill(db: &Db) {
    db.exec(
        "insert into item select g, 'x' || g, g, repeat(md5(g::text), 6)
             from generate_series(1, 20000) g;
             insert into small select g, 'y' from generate_series(1, 10) g",
    );
}

fn start(config: &str) -> Agent {
    command(config).args(&["--piece", "1", "--json"]).start()
}

/// Kills a clone when some more ranges of it have come.
#[track_caller]
pub(super) fn kill_after(config: &str, branch: &Db, more: i64) {
    let ranges = || branch.query_one::<i64>("select count(*) from syncjournal.clone_range");
    let before = ranges();
    let mut agent = start(config);
    wait_until("some ranges have come", || {
        assert!(agent.is_running(), "{}", agent.stderr());
        ranges() >= before + more
    });
    agent.signal("KILL");
    drop(agent);
}

#[test]
fn killed_twice_under_load_on_both_sides_it_ends_in_equal_digests() {
    let (hq, branch) = nodes(ITEM);
    fill(&hq);
    let config = link(&hq, &branch, "direction = \"both\"\nmode = \"live\"");
    let here = Load::start(&hq, 1_000_000, 1);
    kill_after(&config, &branch, 2);
    // The table is taken for empty, and users write to it all the same.
    let there = Load::start(&branch, 5_000_000, 1);
    wait_until("users write", || branch.query_one("select count(*) > 5 from item"));
    // What users see of the table is what they wrote.
    let seen: i64 = branch.query_one("select count(*) from item where id between 0 and 1000000");
    assert_eq!(seen, 0);
    ends_equal(&hq, &branch, &config, [here, there], "fill");
}

#[test]
fn killed_twice_under_load_while_it_merges() {
    let (hq, branch) = nodes(ITEM);
    fill(&hq);
    let config = link(&hq, &branch, "direction = \"both\"\nmode = \"live\"");
    let (here, there) =
        (Load::start(&hq, 1_000_000, 1), Load::start(&branch, 5_000_000, 5_000_000));
    wait_until("users write", || branch.query_one("select count(*) > 5 from item"));
    kill_after(&config, &branch, 2);
    ends_equal(&hq, &branch, &config, [here, there], "merge");
}

/// One more kill, and the end: equal digests, then live.
#[track_caller]
fn ends_equal(hq: &Db, branch: &Db, config: &str, [here, there]: [Load; 2], way: &str) {
    let sync_id =
        "select count(*) from (select sync_id from item group by 1 having count(*) > 1) d";
    kill_after(config, branch, 1);
    let had: i64 = branch.query_one("select sum(entries)::int8 from syncjournal.clone_range");
    assert!(had > 0, "nothing came before");
    let finished = start(config).wait();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    let report = json(&finished);
    assert_eq!(report[0]["runs"], 3, "{report:#}");
    assert_eq!(report[0]["equal"], true);
    assert_eq!(report[0]["tables"][0]["way"], way);
    // It did not begin anew, though users may have moved all rows meanwhile, which then come again.
    let count = |value: &serde_json::Value| value.as_i64().expect("a number of rows");
    let tables = report[0]["tables"].as_array().expect("tables");
    let came: i64 = tables.iter().map(|table| count(&table["entries"])).sum();
    assert!(count(&report[0]["rows"]) >= had + came, "{had} rows had come: {report:#}");

    // Then live, from there.
    let agent = AgentCommand::new(config).arg("run").start();
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert!(here.stop() > 20 && there.stop() > 20, "the load was no load");
    let state =
        "select count(*) || ' ' || coalesce(sum(hashtextextended(i::text, 0)), 0) from item i";
    wait_until("both ends are the same", || {
        std::thread::sleep(std::time::Duration::from_millis(200));
        hq.text(state) == branch.text(state)
    });
    let waits = "select count(*) = 0 from syncjournal.quarantine";
    wait_until("nothing waits", || branch.query_one(waits) && hq.query_one(waits));
    assert_eq!(agent.stop().code, Some(0));
    assert_same_rows(hq, branch, "item");
    assert_clean(branch);
    let doubles: i64 = branch.query_one(sync_id);
    assert_eq!(doubles, 0);
}

#[test]
fn killed_while_it_merges() {
    let (hq, branch) = nodes(ITEM);
    fill(&hq);
    branch.exec("insert into item values (-1, 'here')");
    let config = link(&hq, &branch, "direction = \"both\"");
    kill_after(&config, &branch, 1);
    // Gone, moved, changed, new, and back again while nobody copies.
    hq.exec(
        "delete from item where id % 5 = 0; update item set label = label where id % 3 = 0;
             update item set label = 'changed' where id % 7 = 0;
             insert into item select g, 'new' from generate_series(30001, 30100) g;
             insert into item select g, 'back' from generate_series(5, 100, 5) g",
    );
    branch.exec("update item set label = 'here too' where id = -1");
    cloned(&config);
    assert_same_rows(&hq, &branch, "item");
    assert_clean(&branch);
    let conflicts: i64 = branch.query_one("select count(*) from syncjournal.conflict");
    assert_eq!(conflicts, 0);
}

#[test]
fn what_moved_or_went_between_two_runs_is_neither_lost_nor_kept() {
    let (hq, branch) = nodes(ITEM);
    fill(&hq);
    let config = link(&hq, &branch, "");
    kill_after(&config, &branch, 2);
    // Rows move to other blocks without an entry in the journal, and others into their place.
    hq.exec("update item set label = label; delete from item where id % 4 = 0");
    hq.exec("vacuum item");
    hq.exec("insert into item select g, 'new', 0, repeat('z', 150) from generate_series(30001, 33000) g;
             insert into item select g, 'again' from generate_series(4, 400, 4) g");
    cloned(&config);
    for table in ["item", "small"] {
        assert_same_rows(&hq, &branch, table);
    }
    assert_clean(&branch);
    hq.exec("update item set amount = amount + 1; delete from item where id % 9 = 0");
    sync(&config);
    assert_same_rows(&hq, &branch, "item");
    let conflicts: i64 = branch.query_one("select count(*) from syncjournal.conflict");
    assert_eq!(conflicts, 0);
}

#[test]
fn the_source_is_rewritten_or_emptied_between_two_runs() {
    for rewrite in ["vacuum full item", "truncate item"] {
        let (hq, branch) = nodes(ITEM);
        fill(&hq);
        let config = link(&hq, &branch, "");
        kill_after(&config, &branch, 2);
        hq.exec(rewrite);
        hq.exec("insert into item select g, 'new' from generate_series(40001, 40100) g");
        cloned(&config);
        assert_same_rows(&hq, &branch, "item");
        assert_clean(&branch);
    }
}

#[test]
fn a_clone_can_be_begun_anew() {
    let (hq, branch) = nodes(ITEM);
    fill(&hq);
    let config = link(&hq, &branch, "");
    kill_after(&config, &branch, 2);
    let finished = command(&config).args(&["--restart", "--json"]).finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    assert_eq!(json(&finished)[0]["runs"], 1);
    assert_same_rows(&hq, &branch, "item");
    assert_clean(&branch);
}
