//! What needs a person: exit statuses, `conflicts` and `resolve`.

use syncjournal_tests::{AgentCommand, Db, Finished, assert_same_rows, pair};

use super::{link, offices};

fn run(config: &str, arguments: &[&str]) -> Finished {
    AgentCommand::new(config).args(arguments).finish()
}

#[track_caller]
fn ends_with(code: i32, config: &str, arguments: &[&str]) -> Finished {
    let finished = run(config, arguments);
    assert_eq!(finished.code, Some(code), "{arguments:?}: {finished:#?}");
    if code != 0 && code != 3 {
        assert!(finished.stderr.contains("syncjournal-agent: hint: "), "{finished:#?}");
    }
    finished
}

fn listed(config: &str, arguments: &[&str]) -> Vec<serde_json::Value> {
    let told = ends_with(0, config, &[&["conflicts", "--json"], arguments].concat()).stdout;
    serde_json::from_str(&told).expect("it is JSON")
}

/// Offices that have changed the same row of a table whose conflicts wait for a person.
fn forked() -> (Db, Db, String) {
    let (hq, branch) = offices();
    for db in [&hq, &branch] {
        db.exec("select syncjournal.alter_tracking('item', conflict_policy => 'manual')");
    }
    let config = link(&hq, &branch, "direction = \"both\"\nmode = \"once\"");
    hq.exec("insert into item values (1, 'both')");
    ends_with(0, &config, &["sync"]);
    hq.exec("update item set label = 'hq'");
    branch.exec("update item set label = 'branch'");
    (hq, branch, config)
}

fn label(db: &Db) -> String {
    db.text("select label from item")
}

#[test]
fn a_sync_that_leaves_conflicts_pending_ends_with_3() {
    let (hq, branch, config) = forked();
    let told = ends_with(3, &config, &["sync", "--json"]).stdout;
    let reports: serde_json::Value = serde_json::from_str(&told).expect("it is JSON");
    assert_eq!((&reports[0]["conflicts"], &reports[0]["unsettled"]), (&1.into(), &1.into()));
    assert_eq!((label(&hq), label(&branch)), ("hq".to_owned(), "branch".to_owned()));
    ends_with(3, &config, &["sync"]);
    let told = ends_with(0, &config, &["status", "--json"]).stdout;
    let status: serde_json::Value = serde_json::from_str(&told).expect("it is JSON");
    assert_eq!(status[0]["conflicts"], 2, "{told}");
    assert_eq!(status[0]["flows"][0]["conflicts"], 1, "{told}");
    assert_eq!(status[0]["flows"][1]["pending"], 1, "{told}");
}

#[test]
fn conflicts_are_listed_and_resolved_from_the_command_line() {
    let (hq, branch, config) = forked();
    ends_with(3, &config, &["sync"]);
    let pending = listed(&config, &[]);
    assert_eq!(pending.len(), 2);
    let at_branch = pending.iter().find(|one| one["node"] == "branch").expect("both have it");
    assert_eq!(at_branch["relation"], "public.item");
    assert_eq!(at_branch["type"], "update_origin_differs");
    assert_eq!(at_branch["policy"], "manual");
    assert_eq!(at_branch["base"]["label"], "both");
    assert_eq!(at_branch["local"]["label"], "branch");
    assert_eq!(at_branch["remote"]["label"], "hq");
    assert_eq!(at_branch["status"], "pending");
    assert!(at_branch["winner"].is_null() && at_branch["when"].is_string());
    let table = ends_with(0, &config, &["conflicts", "hq-branch"]).stdout;
    assert!(table.contains(" update_origin_differs ") && table.ends_with("(2 rows)\n"), "{table}");

    // The first conflict of both databases has the same number.
    let id = at_branch["id"].to_string();
    let finished = ends_with(2, &config, &["resolve", &id, "--choice", "remote"]);
    assert!(finished.stderr.contains("\"branch\" and \"hq\""), "{}", finished.stderr);
    assert!(finished.stderr.contains("--node"), "{}", finished.stderr);
    let resolve = ["resolve", &id, "--choice", "remote", "--node", "branch"];
    let told = ends_with(0, &config, &resolve).stdout;
    assert!(told.contains("resolved"), "{told}");
    assert_eq!(label(&branch), "hq");
    ends_with(0, &config, &["sync"]);
    assert_same_rows(&hq, &branch, "item");
    assert!(listed(&config, &[]).is_empty());
    let all = listed(&config, &["--all"]);
    assert_eq!(all.len(), 2);
    assert!(all.iter().all(|one| one["status"] == "resolved"), "{all:?}");
    ends_with(1, &config, &resolve);
}

#[test]
fn a_row_of_ones_own_settles_a_conflict() {
    let (hq, branch, config) = forked();
    // Only what comes to branch: there is one conflict, and no doubt where.
    let one_way = config.replace("direction = \"both\"", "direction = \"push\"");
    ends_with(3, &one_way, &["sync"]);
    let id = listed(&one_way, &[])[0]["id"].to_string();
    ends_with(2, &one_way, &["resolve", &id, "--row", "{no json"]);
    ends_with(0, &one_way, &["resolve", &id, "--row", "{\"label\": \"agreed\"}"]);
    assert_eq!(label(&branch), "agreed");
    ends_with(0, &config, &["sync"]);
    assert_eq!(label(&hq), "agreed");
}

#[test]
fn what_cannot_be_resolved_is_told() {
    let (hq, branch) = pair();
    let config = link(&hq, &branch, "mode = \"once\"");
    for db in [&hq, &branch] {
        db.exec(&format!("select syncjournal.create_node('{}')", db.name()));
    }
    ends_with(1, &config, &["resolve", "99", "--choice", "local"]);
    assert_eq!(run(&config, &["resolve", "1"]).code, Some(2));
    assert_eq!(run(&config, &["resolve", "1", "--choice", "newest"]).code, Some(2));
    ends_with(2, &config, &["resolve", "1", "--choice", "local", "--node", "nowhere"]);
    assert!(listed(&config, &[]).is_empty());
}
