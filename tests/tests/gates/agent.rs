//! The same through the agent.

use syncjournal_tests::{Agent, AgentCommand, Db, Finished, pair, wait_until};

use super::{activity, labels};

/// Two nodes with a tracked table, and no peers yet.
pub fn nodes() -> (Db, Db) {
    let (hq, branch) = pair();
    for (db, name) in [(&hq, "hq"), (&branch, "branch")] {
        db.exec(&format!(
            "select syncjournal.create_node('{name}');
             create table item (id int primary key, label text);
             select syncjournal.track('item')"
        ));
    }
    (hq, branch)
}

pub fn config(hq: &Db, branch: &Db, more: &str) -> String {
    format!(
        "[node.hq]\ndsn = \"{}\"\n[node.branch]\ndsn = \"{}\"\n[[link]]\nname = \"hq-branch\"\n\
         source = \"hq\"\ndestination = \"branch\"\n{more}\n",
        hq.dsn(),
        branch.dsn()
    )
}

pub fn sync(config: &str, arguments: &[&str]) -> Finished {
    AgentCommand::new(config).arg("sync").args(arguments).finish()
}

#[track_caller]
fn synced(config: &str) -> Finished {
    let finished = sync(config, &[]);
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    finished
}

fn is_active(db: &Db) -> bool {
    db.query_one("select active from syncjournal.peer")
}

fn switch(db: &Db, on: bool) {
    let peer = db.text("select name from syncjournal.peer");
    db.exec(&format!("select syncjournal.alter_peer('{peer}', active => {on})"));
}

#[test]
fn a_sync_carries_the_sources_switch_off_and_never_on() {
    let (hq, branch) = nodes();
    let config = config(&hq, &branch, "mode = \"once\"");
    hq.exec("insert into item values (1, 'one')");
    synced(&config);
    switch(&hq, false);
    hq.exec("insert into item values (2, 'two')");
    for _ in 0..2 {
        synced(&config);
        assert!(!is_active(&branch));
        assert_eq!(activity(&branch), ["hq switched_off by the source itself"]);
    }
    switch(&hq, true);
    for arguments in [&[][..], &["--dry-run"], &["--full"]] {
        let finished = sync(&config, arguments);
        assert_eq!(finished.code, Some(0), "{finished:#?}");
        assert!(finished.stderr.contains("not active"), "{finished:#?}");
        assert!(!is_active(&branch));
        assert_eq!(labels(&branch), ["1 one"]);
    }
    switch(&branch, true);
    synced(&config);
    assert_eq!(labels(&branch), ["1 one", "2 two"]);
}

#[test]
fn the_destinations_switch_stops_the_link_and_stays_with_it() {
    for direction in ["push", "both"] {
        let (hq, branch) = nodes();
        let config = config(&hq, &branch, &format!("mode = \"once\"\ndirection = \"{direction}\""));
        synced(&config);
        switch(&branch, false);
        hq.exec("insert into item values (1, 'one')");
        branch.exec("insert into item values (2, 'two')");
        synced(&config);
        assert!(is_active(&hq), "{direction}");
        assert_eq!(activity(&hq), Vec::<String>::new());
        assert_eq!((labels(&hq).len(), labels(&branch).len()), (1, 1), "nothing went either way");
        switch(&branch, true);
        synced(&config);
        assert_eq!(labels(&branch), ["1 one", "2 two"]);
    }
}

#[test]
fn a_live_link_pauses_at_either_switch_and_goes_on() {
    let (hq, branch) = nodes();
    let agent = Agent::run(&config(&hq, &branch, "mode = \"live\""));
    hq.exec("insert into item values (1, 'one')");
    wait_until("the row comes", || labels(&branch).len() == 1);
    switch(&branch, false);
    hq.exec("insert into item values (2, 'two')");
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(labels(&branch).len(), 1);
    assert!(is_active(&hq));
    switch(&branch, true);
    wait_until("the link goes on", || labels(&branch).len() == 2);
    switch(&hq, false);
    wait_until("the destination is off, too", || !is_active(&branch));
    assert_eq!(activity(&branch)[2..], ["hq switched_off by the source itself".to_owned()]);
    switch(&hq, true);
    hq.exec("insert into item values (3, 'three')");
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(labels(&branch).len(), 2, "what is switched on at the source changes nothing here");
    switch(&branch, true);
    wait_until("the link goes on", || labels(&branch).len() == 3);
    agent.stop();
}

#[test]
fn each_direction_of_a_link_is_held_to_what_the_peers_allow() {
    let (hq, branch) = nodes();
    let both = config(&hq, &branch, "mode = \"once\"\ndirection = \"both\"");
    hq.exec("insert into item values (1, 'hq')");
    branch.exec("insert into item values (2, 'branch')");
    let node = branch.text("select node_id from syncjournal.node where is_local");
    hq.exec(&format!(
        "select syncjournal.add_peer('branch', node_id => '{node}', direction => 'send')"
    ));
    let finished = sync(&both, &[]);
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    assert_eq!(labels(&hq), ["1 hq"], "hq takes nothing");
    let push = config(&hq, &branch, "mode = \"once\"");
    synced(&push);
    assert_eq!(labels(&branch), ["1 hq", "2 branch"]);
    let pull = config(&hq, &branch, "mode = \"once\"\ndirection = \"pull\"");
    assert_eq!(sync(&pull, &[]).code, Some(1));
    hq.exec("select syncjournal.alter_peer('branch', direction => 'both')");
    synced(&pull);
    assert_eq!(labels(&hq), ["1 hq", "2 branch"]);
}

#[test]
fn restrictions_of_either_end_hold_on_a_live_link() {
    let (hq, branch) = nodes();
    hq.exec("insert into item values (1, 'one'), (2, 'two')");
    let agent = Agent::run(&config(&hq, &branch, "mode = \"live\""));
    wait_until("the first copy", || labels(&branch).len() == 2);
    branch.exec("select syncjournal.restrict_peer('hq', 'item', '{insert,update}')");
    hq.exec("delete from item where id = 1; insert into item values (3, 'three')");
    wait_until("the insert", || labels(&branch).len() == 3);
    agent.stop();
    hq.exec("select syncjournal.restrict_peer('branch', 'item', '{insert,delete}', 'send')");
    let agent = Agent::run(&config(&hq, &branch, "mode = \"live\""));
    wait_until("it streams", || agent.stderr().contains("streaming"));
    hq.exec("update item set label = 'zwei' where id = 2; insert into item values (4, 'four')");
    wait_until("the insert", || labels(&branch).len() == 4);
    assert_eq!(labels(&branch), ["1 one", "2 two", "3 three", "4 four"]);
    let refused: Vec<String> = branch
        .column("select operation || ' ' || entries from syncjournal.not_permitted order by 1");
    assert_eq!(refused, ["delete 1", "update 1"]);
    agent.stop();
}

#[test]
fn check_names_what_would_keep_a_link_from_going() {
    let (hq, branch) = nodes();
    let plain = config(&hq, &branch, "mode = \"once\"");
    synced(&plain);
    let check = |config: &str| AgentCommand::new(config).arg("check").finish();
    assert_eq!(check(&plain).code, Some(0));
    switch(&branch, false);
    let finished = check(&plain);
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    assert!(finished.stdout.contains("peer \"hq\" is not active here"), "{finished:#?}");
    hq.exec("select syncjournal.alter_node(rank => 2)");
    branch.exec("select syncjournal.alter_node(rank => 1)");
    let finished = check(&plain);
    assert_eq!(finished.code, Some(3), "{finished:#?}");
    assert!(finished.stdout.contains("would go backward"), "{finished:#?}");
    let asked = config(&hq, &branch, "mode = \"once\"\nallow_backward = true");
    assert_eq!(check(&asked).code, Some(0));
}
