//! The first copy by `syncjournal-agent clone`.

mod command;
mod load;
mod merge;
mod resume;
mod shapes;
mod slices;

use serde_json::Value;
use syncjournal_tests::{AgentCommand, Db, Finished, pair};

/// Two nodes with the same tables, all of them tracked.
fn nodes(tables: &str) -> (Db, Db) {
    let (hq, branch) = pair();
    for (db, name) in [(&hq, "hq"), (&branch, "branch")] {
        db.exec(tables);
        db.exec(&format!("select syncjournal.create_node('{name}')"));
        db.exec("select syncjournal.track_all()");
    }
    (hq, branch)
}

fn link(hq: &Db, branch: &Db, more: &str) -> String {
    format!(
        "[node.hq]\ndsn = \"{}\"\n[node.branch]\ndsn = \"{}\"\n[[link]]\nname = \"shop\"\n\
         source = \"hq\"\ndestination = \"branch\"\n{more}\n",
        hq.dsn(),
        branch.dsn()
    )
}

fn command(config: &str) -> AgentCommand {
    AgentCommand::new(config).args(&["clone", "shop", "--jobs", "2"])
}

/// A clone that must end well; what it says as JSON.
#[track_caller]
fn cloned(config: &str) -> Value {
    let finished = command(config).arg("--json").finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    json(&finished)
}

fn json(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{finished:#?}"))
}

/// What the first flow's report says of a table.
#[track_caller]
fn of_table<'a>(report: &'a Value, table: &str) -> &'a Value {
    let tables = report[0]["tables"].as_array().expect("there are tables");
    tables.iter().find(|one| one["table"] == table).unwrap_or_else(|| panic!("{report:#}"))
}

/// Nothing of a clone is left, and nothing of it was journaled.
#[track_caller]
fn assert_clean(branch: &Db) {
    let left: i64 = branch.query_one(
        "select (select count(*) from syncjournal.clone_run)
              + (select count(*) from syncjournal.clone_progress)
              + (select count(*) from syncjournal.clone_range)
              + (select count(*) from syncjournal.clone_heap)
              + (select count(*) from pg_class where relname ~ '^(clone|pg_temp)_[0-9]+$')",
    );
    assert_eq!(left, 0);
}

fn entries(db: &Db) -> i64 {
    db.query_one("select coalesce(sum(entries), 0)::int8 from syncjournal.journal_frame")
}

/// Carries what is left, both ways where the link does.
#[track_caller]
fn sync(config: &str) {
    let finished = AgentCommand::new(config).arg("sync").finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
}
