//! Pushes from development over test to production: never backward, and never over what was changed
//! downstream without a word. By file, and through the agent.

use syncjournal_tests::{
    AgentCommand, Db, Session, SqlError, apply_set, carry, prepare_set, shared,
};

use super::agent::{config, nodes, sync};
use super::{labels, offices};

#[track_caller]
fn apply_error(session: &mut Session, part: &[u8]) -> SqlError {
    let applied = session.client().query("select * from syncjournal.apply($1)", &[&part]);
    SqlError::from(&applied.expect_err("the part should have been refused"))
}

fn rank(db: &Db, rank: i32) {
    db.exec(&format!("select syncjournal.alter_node(rank => {rank})"));
}

fn ahead(db: &Db, peer: &str) -> Vec<String> {
    db.column(&format!(
        "select concat_ws(' ', a.relation, a.operation, a.node, i.label)
         from syncjournal.destination_ahead('{peer}') a left join item i on i.sync_id = a.row_id
         order by a.version"
    ))
}

#[test]
fn a_backward_push_is_refused_unless_it_is_asked_for() {
    let (hq, branch) = offices();
    hq.exec("insert into item values (1, 'one')");
    rank(&hq, 30);
    // Whoever has no rank is not in the order.
    carry(&hq, &branch, "full");
    let known = "select rank from syncjournal.node where name = 'hq'";
    assert_eq!(branch.query_one::<i32>(known), 30);
    rank(&branch, 10);
    hq.exec("insert into item values (2, 'two')");
    for mode in ["changes", "full"] {
        let parts = prepare_set(&hq, &branch, mode);
        let refused = apply_error(&mut branch.session(), &parts[0]);
        assert_eq!(refused.sqlstate, "55000", "{refused:#?}");
        assert!(refused.detail.contains("30") && refused.detail.contains("10"), "{refused:#?}");
        assert!(refused.hint.contains("allow_backward"), "{refused:#?}");
    }
    assert_eq!(labels(&branch), ["1 one"]);
    let parts = prepare_set(&hq, &branch, "changes");
    let asked = "select inserted from syncjournal.apply($1, allow_backward => true)";
    assert_eq!(branch.query_one_with::<i64>(asked, &[&parts[0]]), 1);

    branch.exec("insert into item values (3, 'three')");
    assert_eq!(carry(&branch, &hq, "changes").inserted, 1, "upward it goes");
    rank(&branch, 30);
    hq.exec("insert into item values (4, 'four')");
    apply_set(&branch, &prepare_set(&hq, &branch, "changes"));
    assert_eq!(labels(&branch).len(), 4, "equals may");
}

#[test]
fn the_agent_refuses_a_backward_push_unless_the_link_allows_it() {
    let (hq, branch) = nodes();
    hq.exec("insert into item values (1, 'one')");
    rank(&hq, 2);
    rank(&branch, 1);
    let plain = config(&hq, &branch, "mode = \"once\"");
    for arguments in [&[][..], &["--dry-run"], &["--full"]] {
        let finished = sync(&plain, arguments);
        assert_eq!(finished.code, Some(1), "{finished:#?}");
        assert!(finished.stderr.contains("backward"), "{finished:#?}");
        assert!(finished.stderr.contains("hint: ") && finished.stderr.contains("allow_backward"));
    }
    assert!(labels(&branch).is_empty());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("set").display().to_string();
    let command =
        |config: &str, arguments: &[&str]| AgentCommand::new(config).args(arguments).finish().code;
    assert_eq!(command(&plain, &["export", "hq-branch", "-o", &file]), Some(0));
    assert_eq!(command(&plain, &["import", &file, "--to", "branch"]), Some(1));
    assert!(labels(&branch).is_empty());
    assert_eq!(command(&plain, &["import", &file, "--to", "branch", "--allow-backward"]), Some(0));
    assert_eq!(labels(&branch), ["1 one"]);
    hq.exec("insert into item values (2, 'two')");
    let asked = config(&hq, &branch, "mode = \"once\"\nallow_backward = true");
    assert_eq!(sync(&asked, &[]).code, Some(0));
    assert_eq!(labels(&branch), ["1 one", "2 two"]);
}

#[test]
fn rows_changed_downstream_are_listed_and_what_replaces_them_is_a_conflict() {
    for policy in ["last_update_wins", "apply_remote"] {
        let (hq, branch) = offices();
        hq.exec("insert into item select i, 'row ' || i from generate_series(1, 5) i");
        carry(&hq, &branch, "full");
        carry(&hq, &branch, "changes");
        hq.exec("select syncjournal.alter_peer('branch', direction => 'send')");
        branch.exec("select syncjournal.alter_peer('hq', direction => 'receive')");
        branch.exec(&format!(
            "select syncjournal.alter_tracking('item', conflict_policy => '{policy}')"
        ));
        assert!(ahead(&branch, "hq").is_empty());

        branch.exec("update item set label = 'mine' where id = 1");
        branch.exec("delete from item where id = 2");
        branch.exec(
            "insert into item values (9, 'own'); update item set label = 'kept' where id = 3",
        );
        let listed = [
            "public.item UPDATE branch mine",
            "public.item DELETE branch",
            "public.item INSERT branch own",
            "public.item UPDATE branch kept",
        ];
        assert_eq!(ahead(&branch, "hq"), listed);

        hq.exec("update item set label = 'theirs' where id in (1, 2, 4)");
        let applied = carry(&hq, &branch, "changes");
        assert_eq!(applied.conflicts, 2, "{policy}");
        let told: Vec<String> = branch.column(
            "select concat_ws(' ', conflict_type, winner, local ->> 'label', remote ->> 'label')
             from syncjournal.conflict order by 1",
        );
        assert_eq!(
            told,
            ["update_deleted remote theirs", "update_origin_differs remote mine theirs",]
        );
        assert_eq!(
            labels(&branch),
            ["1 theirs", "2 theirs", "3 kept", "4 theirs", "5 row 5", "9 own"]
        );
        let left = ["public.item INSERT branch own", "public.item UPDATE branch kept"];
        assert_eq!(ahead(&branch, "hq"), left, "{policy}");
    }
}

#[test]
fn what_the_source_has_got_is_not_ahead_of_it() {
    let (hq, branch) = offices();
    carry(&hq, &branch, "full");
    branch.exec("insert into item values (1, 'one'), (2, 'two')");
    assert_eq!(ahead(&branch, "hq").len(), 2);
    carry(&branch, &hq, "changes");
    assert!(ahead(&branch, "hq").is_empty());
    branch.exec("update item set label = 'uno' where id = 1");
    assert_eq!(ahead(&branch, "hq"), ["public.item UPDATE branch uno"]);
    let error = branch.expect_error("select syncjournal.destination_ahead('nobody')");
    assert_eq!(error.sqlstate, "42704");
}

/// A full set over what a third node has written here: nothing goes back, so nobody else would ever
/// tell.
#[test]
fn a_full_set_that_replaces_a_third_nodes_change_is_a_conflict_where_nothing_goes_back() {
    let (hq, branch) = offices();
    let third = Db::fresh(shared(2));
    third.exec(
        "select syncjournal.create_node('third'); create table item (id int primary key, label text);
         select syncjournal.track('item'); select syncjournal.add_peer('branch')",
    );
    branch.exec("select syncjournal.add_peer('third')");
    branch.exec("select syncjournal.alter_peer('hq', direction => 'receive')");
    hq.exec("insert into item values (1, 'one')");
    carry(&hq, &branch, "full");
    carry(&branch, &third, "full");
    third.exec("update item set label = 'third'");
    carry(&third, &branch, "changes");
    assert_eq!(labels(&branch), ["1 third"]);
    assert_eq!(ahead(&branch, "hq"), ["public.item UPDATE third third"]);
    hq.exec("update item set label = 'hq'");
    let applied = carry(&hq, &branch, "full");
    assert_eq!((applied.updated, applied.conflicts), (1, 1));
    let told = "select concat_ws(' ', winner, local ->> 'label', remote ->> 'label')
        from syncjournal.conflict";
    assert_eq!(branch.text(told), "remote third hq");
    assert!(ahead(&branch, "hq").is_empty());
}

#[test]
fn a_dry_run_shows_what_is_ahead_and_what_would_be_overwritten() {
    let (hq, branch) = nodes();
    hq.exec("insert into item values (1, 'one'), (2, 'two')");
    let config = config(&hq, &branch, "mode = \"once\"");
    assert_eq!(sync(&config, &[]).code, Some(0));
    branch.exec("update item set label = 'mine' where id = 1");
    branch.exec("update item set label = 'own' where id = 2");
    hq.exec("update item set label = 'theirs' where id = 1");
    let finished = sync(&config, &["--dry-run", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&finished.stdout).expect("it is JSON");
    let rows = report[0]["ahead"].as_array().expect("a list");
    let fates: Vec<bool> = rows.iter().map(|row| row["would_overwrite"] == true).collect();
    assert_eq!(fates, [true, false], "{report}");
    assert_eq!(rows[0]["relation"], "public.item");
    let finished = sync(&config, &["--dry-run"]);
    assert!(finished.stdout.contains("would be overwritten"), "{finished:#?}");
    assert!(finished.stdout.contains("is ahead"), "{finished:#?}");
    assert_eq!(labels(&branch), ["1 mine", "2 own"]);
    assert_eq!(sync(&config, &[]).code, Some(0));
    assert_eq!(labels(&branch), ["1 theirs", "2 own"]);
    assert_eq!(branch.query_one::<i64>("select count(*) from syncjournal.conflict"), 1);
}
