//! The command itself: what it says, how it ends, whom it obeys.

use std::time::Duration;

use syncjournal_tests::{AgentCommand, assert_same_rows, wait_until};

use super::{assert_clean, command, link, nodes};

const ITEM: &str = "create table item (id int primary key, label text);";

#[test]
fn it_says_what_came_and_that_digests_are_equal() {
    let (hq, branch) = nodes(ITEM);
    hq.exec("insert into item select g, 'x' from generate_series(1, 2000) g");
    let finished = command(&link(&hq, &branch, "")).finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    assert!(finished.stdout.contains("public.item | fill | 2000"), "{}", finished.stdout);
    assert!(finished.stdout.contains("the digests of both ends are equal"), "{}", finished.stdout);
    // No terminal: plain lines, with what came and no bar.
    assert!(finished.stderr.contains("100 %, 2000 rows, "), "{}", finished.stderr);
    assert!(!finished.stderr.contains('\r'), "{}", finished.stderr);
    let quiet = command(&link(&hq, &branch, "")).arg("--quiet").finish();
    assert_eq!(quiet.stderr, "");
}

#[test]
fn a_terminal_shows_a_bar_with_rows_bytes_and_the_time_left() {
    let (hq, branch) = nodes("create table item (id int8 primary key, label text, filler text);");
    hq.exec(
        "insert into item select g, 'x', repeat(md5(g::text), 6) from generate_series(1, 20000) g",
    );
    // Row by row, and in several pieces.
    let config = link(&hq, &branch, "constraints = \"enforce\"");
    let agent = command(&config).args(&["--piece", "1"]).on_terminal().start();
    wait_until("something has come", || {
        branch.query_one("select count(*) > 0 from syncjournal.clone_range")
    });
    branch.exec("begin; lock table item in exclusive mode");
    std::thread::sleep(Duration::from_millis(1500));
    branch.exec("commit");
    let finished = agent.wait();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    let shown = &finished.stdout;
    for part in ["\r[==", " %, ", " rows, ", " kB, ", " left\x1b[K", "] 100 %, 20000 rows, "] {
        assert!(shown.contains(part), "{part:?} is not in {shown:?}");
    }
    assert_same_rows(&hq, &branch, "item");
}

#[test]
fn a_difference_is_told_and_is_exit_status_3() {
    let (hq, branch) = nodes(ITEM);
    branch.exec("insert into item values (7, 'only here')");
    hq.exec("insert into item values (1, 'one')");
    let finished = command(&link(&hq, &branch, "")).finish();
    assert_eq!(finished.code, Some(3), "{finished:#?}");
    assert!(finished.stdout.contains("the digests DIFFER: public.item"), "{}", finished.stdout);
}

#[test]
fn bad_input_is_named_before_anything_is_written() {
    let (hq, branch) = nodes(ITEM);
    hq.exec("create table other (id int primary key); select syncjournal.track('other')");
    hq.exec("insert into item values (1, 'one')");
    let config = link(&hq, &branch, "");
    let finished = command(&config).finish();
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("public.other"), "{}", finished.stderr);
    branch.exec("create table other (id int primary key)");
    let finished = command(&config).finish();
    assert_eq!(finished.code, Some(1));
    assert!(
        finished.stderr.contains("\"public.other\" is not tracked here"),
        "{}",
        finished.stderr
    );
    let rows: i64 = branch.query_one("select count(*) from item");
    assert_eq!(rows, 0);
    let finished = AgentCommand::new(&config).args(&["clone", "nothing"]).finish();
    assert_eq!(finished.code, Some(2));
    let finished = AgentCommand::new(&config).arg("clone").finish();
    assert_eq!(finished.code, Some(2));
}

#[test]
fn a_chunk_is_no_sync_set() {
    let (hq, branch) = nodes(ITEM);
    hq.exec("insert into item values (1, 'one')");
    hq.exec("select syncjournal.add_peer('branch')");
    branch.exec("select syncjournal.add_peer('hq')");
    let chunk: Vec<u8> =
        hq.query_one("select syncjournal.clone_read('branch', 'item'::regclass::oid, 0)");
    let error = branch.own().client().execute("select syncjournal.apply($1)", &[&chunk]);
    let error = error.expect_err("a chunk leads to no position");
    assert_eq!(error.code().map(|code| code.code().to_owned()), Some("22023".to_owned()));
    let set: Vec<u8> = hq.query_one("select data from syncjournal.prep_sync('branch', 'full')");
    let error =
        branch.own().client().execute("insert into syncjournal.clone_rows values ($1)", &[&set]);
    let error = error.expect_err("a set is not a chunk");
    assert_eq!(error.code().map(|code| code.code().to_owned()), Some("22023".to_owned()));
}

#[test]
fn the_agents_role_is_enough() {
    let (hq, branch) = nodes(
        "create role {role}_app; create table item (id int primary key, label text);"
            .replace("{role}_app", "clone_agents_app")
            .as_str(),
    );
    for db in [&hq, &branch] {
        db.exec("alter table item owner to clone_agents_app");
        db.exec("create role clone_agent login in role syncjournal_agent");
    }
    hq.exec("insert into item select g, 'x' from generate_series(1, 100) g");
    let config = link(&hq, &branch, "").replace("user=postgres", "user=clone_agent");
    assert!(config.contains("user=clone_agent"));
    let finished = command(&config).finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    assert_same_rows(&hq, &branch, "item");
    assert_clean(&branch);
    let owner = "select relowner::regrole::text from pg_class where relname = 'item'";
    assert_eq!(branch.text(owner), "clone_agents_app");
}
