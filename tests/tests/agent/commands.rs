//! The commands, their output and their exit statuses.

use syncjournal_tests::{
    AgentCommand, Db, Finished, assert_same_rows, pair, shared, table_rows, triple,
};

use super::{Config, agent_dsn, count, furnish, link, offices};

fn run(config: &str, arguments: &[&str]) -> Finished {
    AgentCommand::new(config).args(arguments).finish()
}

#[track_caller]
fn done(config: &str, arguments: &[&str]) -> Finished {
    let finished = run(config, arguments);
    assert_eq!(finished.code, Some(0), "{arguments:?}: {finished:#?}");
    finished
}

/// Failed with this status, an error and a hint on standard error, in the words of a Postgres tool.
#[track_caller]
fn failed(config: &str, arguments: &[&str], code: i32) -> Finished {
    let finished = run(config, arguments);
    assert_eq!(finished.code, Some(code), "{arguments:?}: {finished:#?}");
    let stderr = &finished.stderr;
    assert!(stderr.contains("syncjournal-agent: error: "), "{arguments:?}: {stderr}");
    assert!(stderr.contains("syncjournal-agent: hint: "), "{arguments:?}: {stderr}");
    finished
}

#[test]
fn bad_usage_and_bad_configuration_end_with_2() {
    let nodes = "[node.a]\ndsn = \"host=/nonexistent\"\n[node.b]\ndsn = \"host=/nonexistent\"\n";
    for arguments in [&["fly"][..], &["sync", "--quickly"], &["export", "a-b"], &[]] {
        assert_eq!(run(nodes, arguments).code, Some(2), "{arguments:?}");
    }
    failed(nodes, &["sync", "nowhere"], 2);
    failed(nodes, &["import", "set", "--to", "nowhere"], 2);
    failed(nodes, &["--config", "/nonexistent.toml", "status"], 2);
    for bad in [
        "[[link]]\nname = \"x\"\nsource = \"a\"\ndestination = \"c\"\n",
        "[[link]]\nname = \"x\"\nsource = \"a\"\ndestination = \"b\"\ninclude = [\"a..b\"]\n",
        "[[link]]\nname = \"x\"\nsource = \"a\"\ndestination = \"b\"\nmode = \"plan\"\n",
        "[node.c]\ndsn = \"host=a sslcrl=/etc/crl\"\n",
    ] {
        let finished = failed(&format!("{nodes}{bad}"), &["sync"], 2);
        assert!(finished.stderr.contains("agent.toml"), "{}", finished.stderr);
    }
    let finished = run(&format!("{nodes}[nod.c]\ndsn = \"\"\n"), &["sync"]);
    assert_eq!(finished.code, Some(2));
    assert!(finished.stderr.contains("nod"), "the error names the place: {}", finished.stderr);
}

#[test]
fn version_and_help_are_on_standard_output() {
    let version = done("", &["--version"]).stdout;
    assert!(version.starts_with("syncjournal-agent (syncjournal) "), "{version}");
    let help = done("", &["--help"]).stdout;
    for command in ["run", "sync", "check", "status", "export", "import", "prune"] {
        assert!(help.contains(command), "{help}");
    }
}

#[test]
fn the_first_sync_brings_what_was_there_and_the_next_what_changed() {
    let (hq, branch) = pair();
    for (db, name) in [(&hq, "hq"), (&branch, "branch")] {
        db.exec(&format!("select syncjournal.create_node('{name}')"));
        db.exec("create table item (id int primary key, label text, amount int)");
    }
    hq.exec("insert into item select i, 'old ' || i from generate_series(1, 500) i");
    for db in [&hq, &branch] {
        db.exec("select syncjournal.track('item')");
    }
    hq.exec("insert into item values (1001, 'new')");
    let config = link(&hq, &branch, "mode = \"once\"");
    let first = done(&config, &["sync"]);
    assert!(first.stdout.contains("hq-branch"), "{}", first.stdout);
    assert!(first.stdout.ends_with("(1 row)\n"), "{}", first.stdout);
    assert_same_rows(&hq, &branch, "item");

    hq.exec("update item set label = 'changed' where id <= 10; delete from item where id = 11");
    let second = done(&config, &["sync", "hq-branch", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&second.stdout).expect("it is JSON");
    assert_eq!(report[0]["updated"], 10, "{report}");
    assert_eq!(report[0]["deleted"], 1, "{report}");
    assert_same_rows(&hq, &branch, "item");
    let third = done(&config, &["sync", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&third.stdout).expect("it is JSON");
    assert_eq!(report[0]["entries"], 0, "{report}");
}

#[test]
fn both_directions_in_one_sync() {
    let (hq, branch) = offices();
    hq.exec("insert into item values (1, 'hq')");
    branch.exec("insert into item values (2, 'branch')");
    let config = link(&hq, &branch, "direction = \"both\"\nmode = \"once\"");
    done(&config, &["sync"]);
    assert_eq!(count(&hq), 2);
    assert_same_rows(&hq, &branch, "item");
}

#[test]
fn a_dry_run_tells_and_changes_nothing() {
    let (hq, branch) = offices();
    hq.exec("insert into item values (1, 'one'), (2, 'two')");
    let config = link(&hq, &branch, "mode = \"once\"");
    for (arguments, inserted) in [(["sync", "--dry-run"], 2), (["sync", "--noupdate"], 2)] {
        let told = done(&config, &[&arguments[..], &["--json"]].concat()).stdout;
        let report: serde_json::Value = serde_json::from_str(&told).expect("it is JSON");
        assert_eq!(report[0]["inserted"], inserted, "{told}");
        assert_eq!(count(&branch), 0);
        for db in [&hq, &branch] {
            assert_eq!(db.query_one::<i64>("select count(*) from syncjournal.peer"), 0);
            assert_eq!(db.query_one::<i64>("select count(*) from syncjournal.sync_set"), 0);
        }
    }
    done(&config, &["sync"]);
    hq.exec("delete from item where id = 1");
    done(&config, &["sync", "-n"]);
    assert_eq!(count(&branch), 2);
    done(&config, &["sync"]);
    assert_same_rows(&hq, &branch, "item");
}

#[test]
fn check_names_what_is_missing_and_its_remedy() {
    let (hq, branch) = pair();
    furnish(&hq, "hq");
    let config = link(&hq, &branch, "");
    let finished = run(&config, &["check"]);
    assert_eq!(finished.code, Some(3), "{finished:#?}");
    assert!(finished.stdout.contains("syncjournal.create_node("), "{}", finished.stdout);
    branch.exec("select syncjournal.create_node('branch')");
    let finished = run(&config, &["check"]);
    assert_eq!(finished.code, Some(3), "{finished:#?}");
    assert!(finished.stdout.contains("public.item"), "{}", finished.stdout);
    branch.exec(
        "create table item (id int primary key, label text, amount int not null default 0);
         select syncjournal.track('item')",
    );
    let finished = done(&config, &["check", "--json"]);
    let found: serde_json::Value = serde_json::from_str(&finished.stdout).expect("it is JSON");
    assert!(found.as_array().is_some_and(|all| all.len() > 5), "{found}");
    let misspelt = link(&hq, &branch, "include = [\"public.itme\"]");
    let finished = run(&misspelt, &["check"]);
    assert_eq!(finished.code, Some(3), "{finished:#?}");
    assert!(finished.stdout.contains("public.itme"), "{}", finished.stdout);
}

#[test]
fn a_missing_extension_is_named_with_its_remedy() {
    let hq = Db::fresh(shared(0));
    furnish(&hq, "hq");
    // With the extension gone again: the roles stay.
    let branch = Db::fresh(shared(1));
    branch.exec("drop extension syncjournal cascade");
    let config = link(&hq, &branch, "mode = \"once\"");
    let finished = failed(&config, &["sync"], 1);
    assert!(finished.stderr.contains("create extension syncjournal"), "{}", finished.stderr);
    let finished = run(&config, &["check"]);
    assert_eq!(finished.code, Some(3), "{finished:#?}");
    assert!(finished.stdout.contains("create extension syncjournal"), "{}", finished.stdout);
}

#[test]
fn a_role_without_rights_is_told_what_to_grant() {
    let (hq, branch) = offices();
    let name = format!("nobody_{}", std::process::id());
    hq.exec(&format!("create role {name} login"));
    let (nobody, branch) = (hq.dsn_as(&name), agent_dsn(&branch));
    let nodes = Config::new(&[("hq", &nobody), ("branch", &branch)]);
    let config = nodes.link("hq", "branch", "mode = \"once\"").0;
    let finished = failed(&config, &["sync"], 1);
    let grant = format!("grant syncjournal_agent to \\\"{name}\\\"").replace('\\', "");
    assert!(finished.stderr.contains(&grant), "{}", finished.stderr);
}

#[test]
fn a_pattern_that_matches_nothing_is_an_error() {
    let (hq, branch) = offices();
    let config = link(&hq, &branch, "mode = \"once\"\ninclude = [\"public.itme\"]");
    let finished = failed(&config, &["sync"], 1);
    assert!(finished.stderr.contains("public.itme"), "{}", finished.stderr);
    assert_eq!(branch.query_one::<i64>("select count(*) from syncjournal.sync_set"), 0);
}

#[test]
fn a_missing_column_at_the_target_leaves_its_rows_in_quarantine() {
    let (hq, branch) = pair();
    furnish(&hq, "hq");
    branch.exec(
        "select syncjournal.create_node('branch');
         create table item (id int primary key, amount int);
         select syncjournal.track('item')",
    );
    hq.exec("insert into item values (1, 'one')");
    let config = link(&hq, &branch, "mode = \"once\"");
    for _ in 0..2 {
        let finished = run(&config, &["sync", "--json"]);
        assert_eq!(finished.code, Some(3), "{finished:#?}");
        assert!(finished.stdout.contains("\"unsettled\": 1"), "{finished:#?}");
        assert_eq!(count(&branch), 0);
    }
    assert!(branch.text("select error from syncjournal.quarantine").contains("label"));
    let told = done(&config, &["status", "--json"]).stdout;
    let status: serde_json::Value = serde_json::from_str(&told).expect("it is JSON");
    assert_eq!(status[0]["quarantined"], 1, "{told}");
    // The cause goes, and the next sync tries again by itself.
    branch.exec("alter table item add column label text");
    done(&config, &["sync"]);
    assert_eq!(branch.text("select label from item"), "one");
}

#[test]
fn an_error_of_a_class_that_stops_the_link_is_named_and_nothing_is_applied() {
    let (hq, branch) = pair();
    furnish(&hq, "hq");
    branch.exec(
        "select syncjournal.create_node('branch');
         create table item (id int primary key, amount int);
         select syncjournal.track('item');
         select syncjournal.add_peer('hq', stop_on => '{42}')",
    );
    hq.exec("insert into item values (1, 'one')");
    let finished = run(&link(&hq, &branch, "mode = \"once\""), &["sync"]);
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    assert!(finished.stderr.contains("label"), "{}", finished.stderr);
    assert_eq!(count(&branch), 0);
}

#[test]
fn one_broken_link_does_not_keep_the_others_from_their_turn() {
    let (hq, branch) = offices();
    hq.exec("insert into item values (1, 'one')");
    let (hq_dsn, branch_dsn) = (agent_dsn(&hq), agent_dsn(&branch));
    let nodes = [("hq", hq_dsn.as_str()), ("gone", "host=/nonexistent"), ("branch", &branch_dsn)];
    let config =
        Config::new(&nodes).link("hq", "gone", "").link("hq", "branch", "mode = \"once\"").0;
    let finished = failed(&config, &["sync"], 1);
    assert!(finished.stderr.contains("/nonexistent"), "{}", finished.stderr);
    assert_same_rows(&hq, &branch, "item");
}

#[test]
fn a_set_travels_as_a_file() {
    let (hq, branch, other) = triple();
    for (db, name) in [(&hq, "hq"), (&branch, "branch"), (&other, "other")] {
        furnish(db, name);
    }
    // Enough for several parts: what compresses badly.
    hq.exec(
        "insert into item select i, (select string_agg(md5(i::text || k::text), '')
             from generate_series(1, 30) k) from generate_series(1, 12000) i",
    );
    let config = link(&hq, &branch, "mode = \"once\"");
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("set.sj");
    let file = file.to_str().expect("it is ASCII");
    let told = done(&config, &["export", "hq-branch", "-o", file]).stdout;
    assert!(told.contains("full"), "{told}");
    let told = done(&config, &["import", file, "--to", "branch", "--dry-run"]).stdout;
    assert!(told.contains("12000"), "{told}");
    assert_eq!(count(&branch), 0);
    done(&config, &["import", file, "--to", "branch"]);
    assert_same_rows(&hq, &branch, "item");
    // Again is harmless; for another node it is refused.
    done(&config, &["import", file, "--to", "branch"]);
    let elsewhere = Config::new(&[("other", &agent_dsn(&other))]).0;
    failed(&elsewhere, &["import", file, "--to", "other"], 1);

    let bytes = std::fs::read(file).expect("it was exported");
    assert!(bytes.len() > 5 << 20, "one part only: {} bytes", bytes.len());
    for (name, broken) in [
        ("cut", bytes[..bytes.len() - 1].to_vec()),
        ("empty", Vec::new()),
        ("text", b"PGDMP and more".to_vec()),
        ("flipped", {
            let mut flipped = bytes.clone();
            flipped[bytes.len() / 2] ^= 1;
            flipped
        }),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, broken).expect("the folder is writable");
        let before = table_rows(&branch, "item").len();
        let path = path.to_str().expect("it is ASCII");
        let finished = run(&config, &["import", path, "--to", "branch"]);
        assert_eq!(finished.code, Some(1), "{name}: {finished:#?}");
        assert_eq!(table_rows(&branch, "item").len(), before, "{name}");
    }
    failed(&config, &["import", "/nonexistent", "--to", "branch"], 1);
}

#[test]
fn status_tells_of_new_idle_and_unreachable_links() {
    let (hq, branch) = offices();
    let config = link(&hq, &branch, "mode = \"once\"");
    assert!(done(&config, &["status"]).stdout.contains(" new "));
    done(&config, &["sync"]);
    hq.exec("insert into item values (1, 'one')");
    let told = done(&config, &["status", "--json"]).stdout;
    let status: serde_json::Value = serde_json::from_str(&told).expect("it is JSON");
    assert_eq!(status[0]["link"], "hq-branch");
    assert_eq!(status[0]["state"], "idle");
    assert_eq!(status[0]["lag_entries"], 1);
    let nodes = [("hq", "host=/nonexistent"), ("branch", "host=/nonexistent")];
    let lost = Config::new(&nodes).link("hq", "branch", "").0;
    assert!(failed(&lost, &["status"], 1).stdout.contains("unreachable"));
}

#[test]
fn prune_visits_every_node() {
    let (hq, branch) = offices();
    let told = done(&link(&hq, &branch, ""), &["prune"]).stdout;
    assert!(told.contains("branch") && told.contains("hq"), "{told}");
}

#[test]
fn check_compares_the_rules_of_both_ends() {
    let (hq, branch) = offices();
    let one_way = link(&hq, &branch, "");
    let both = one_way.replace("destination =", "direction = \"both\"\ndestination =");
    assert!(done(&both, &["check"]).stdout.contains("settle conflicts alike"));
    hq.exec(
        "select syncjournal.alter_tracking('item', conflict_policy => 'merge_columns',
             counters => '{amount}')",
    );
    let told = done(&one_way, &["check"]).stdout;
    assert!(told.contains("policy last_update_wins here, merge_columns at the source"), "{told}");
    let finished = run(&both, &["check"]);
    assert_eq!(finished.code, Some(3), "{finished:#?}");
    assert!(finished.stdout.contains("counters => '{amount}'"), "{}", finished.stdout);
    for db in [&hq, &branch] {
        db.exec(
            "select syncjournal.alter_tracking('item', conflict_policy => 'node_priority',
                 counters => '{}')",
        );
        let own: String = db.text("select node_id::text from syncjournal.node where is_local");
        db.exec(&format!("select syncjournal.set_node_priority('{{{own}}}')"));
    }
    let finished = run(&both, &["check"]);
    assert_eq!(finished.code, Some(3), "{finished:#?}");
    assert!(finished.stdout.contains("set_node_priority("), "{}", finished.stdout);
    branch.exec("select syncjournal.alter_tracking('item', conflict_policy => 'keep_local')");
    let finished = run(&both, &["check"]);
    assert_eq!(finished.code, Some(3), "{finished:#?}");
    assert!(finished.stdout.contains("policy keep_local and a link both ways"), "{finished:#?}");
}
