//! A database that was copied, by whatever means, is found out, and becomes a node of its own.

use std::sync::Arc;

use syncjournal_tests::{
    AgentCommand, Cluster, Db, Finished, Options, SqlError, apply_set, assert_same_rows, carry,
    introduce, pair, prepare_set, shared,
};

/// Two nodes that have synced the table `t`.
fn offices(hq: &Db, branch: &Db) {
    introduce(&[(hq, "hq"), (branch, "branch")]);
    for db in [hq, branch] {
        db.exec("create table t (id int primary key, v text); select syncjournal.track('t')");
    }
    hq.exec("insert into t select i, 'hq' from generate_series(1, 10) i; update t set v = 'h' where id = 2");
    carry(hq, branch, "full");
    branch.exec("insert into t values (11, 'branch')");
    carry(branch, hq, "changes");
    assert_same_rows(hq, branch, "t");
}

/// A copy that has a name of its own syncs with the original and its peer, before and after changes.
fn lives_on(copy: &Db, hq: &Db, branch: &Db) {
    let history = "select count(*) from syncjournal.history('t',
        (select sync_id from t where id = 2))";
    assert_eq!(copy.query_one::<i64>(history), 2, "histories stay");
    for db in [hq, branch] {
        db.exec("select syncjournal.add_peer('copy')");
    }
    copy.exec("select syncjournal.add_peer('hq')");
    let same = carry(copy, hq, "full");
    assert_eq!((same.inserted, same.updated, same.conflicts), (0, 0, 0), "{same:?}");
    copy.exec("insert into t values (20, 'copy'); update t set v = 'copied' where id = 3");
    hq.exec("update t set v = 'original' where id = 4");
    for (from, to) in [(copy, hq), (hq, copy), (hq, branch), (copy, branch), (branch, copy)] {
        let done = carry(from, to, "changes");
        assert_eq!((done.conflicts, done.quarantined), (0, 0), "{done:?}");
    }
    assert_same_rows(copy, hq, "t");
    assert_same_rows(copy, branch, "t");
    let own = "select count(*) from t join syncjournal.node n
        on n.node_tag = syncjournal.version_node(sync_version) where n.name = 'copy' and n.is_local";
    assert_eq!(copy.query_one::<i64>(own), 2);
}

fn sync(one: &Db, other: &Db) -> Finished {
    let config = format!(
        "[node.one]\ndsn = \"{}\"\n[node.other]\ndsn = \"{}\"\n[[link]]\nname = \"l\"\n\
         source = \"one\"\ndestination = \"other\"\ndirection = \"both\"\n",
        one.dsn(),
        other.dsn()
    );
    AgentCommand::new(&config).arg("sync").finish()
}

/// What `apply` says against a part of a set.
fn refused_set(db: &Db, part: &[u8]) -> SqlError {
    let bytes: String = part.iter().map(|byte| format!("{byte:02x}")).collect();
    db.expect_error(&format!("select syncjournal.apply('\\x{bytes}')"))
}

fn assert_refused(done: &Finished) {
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert!(done.stderr.contains("adopt_clone"), "{}", done.stderr);
}

#[test]
fn what_createdb_copies_writes_and_syncs_only_under_a_name_of_its_own() {
    let (hq, branch) = pair();
    offices(&hq, &branch);
    let copy = hq.createdb_copy();
    for refused in [
        "select syncjournal.prep_sync('branch')",
        "insert into t values (99)",
        "select syncjournal.add_peer('x')",
        "select syncjournal.create_node('x')",
    ] {
        let error = copy.expect_error(refused);
        assert!(error.hint.contains("adopt_clone"), "{refused}: {error:?}");
    }
    let parts = prepare_set(&branch, &hq, "changes");
    let apply = refused_set(&copy, &parts[0]);
    assert_eq!(apply.sqlstate, "55000");
    assert_refused(&sync(&copy, &hq));
    assert_refused(&sync(&copy, &branch));
    let kept = copy.expect_error("select syncjournal.keep_identity()");
    assert!(kept.message.contains(hq.name()), "{kept:?}");
    copy.exec("select syncjournal.adopt_clone('copy')");
    lives_on(&copy, &hq, &branch);
}

#[test]
fn a_database_that_took_its_originals_place_keeps_its_identity() {
    let (hq, branch) = pair();
    offices(&hq, &branch);
    let copy = hq.createdb_copy();
    let original = hq.name().to_owned();
    drop(hq);
    let mut outside = copy.cluster().session("postgres");
    outside.exec(&format!("drop database {original} with (force)"));
    assert_eq!(copy.expect_error("insert into t values (99)").sqlstate, "55000");
    copy.exec("select syncjournal.keep_identity(); insert into t values (99)");
    assert_eq!(carry(&copy, &branch, "changes").inserted, 1);
    carry(&branch, &copy, "changes");
    assert_same_rows(&copy, &branch, "t");
}

#[test]
fn a_restored_dump_goes_on_under_a_name_of_its_own() {
    let (hq, branch) = pair();
    offices(&hq, &branch);
    let copy = hq.restored_copy(shared(2));
    assert_eq!(copy.expect_error("insert into t values (99)").sqlstate, "55000");
    let done = sync(&copy, &branch);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    copy.exec("select syncjournal.adopt_clone('copy')");
    lives_on(&copy, &hq, &branch);
}

#[test]
fn a_base_backup_and_its_original_refuse_each_other() {
    let cluster = Cluster::start(Options::default());
    let (hq, branch) = (Db::fresh(&cluster), Db::fresh(shared(1)));
    offices(&hq, &branch);
    let double: Arc<Cluster> = cluster.base_backup(false);
    let copy = hq.copy_in(&double);
    assert_refused(&sync(&copy, &hq));
    // By file, too.
    copy.exec("select syncjournal.add_peer('hq')");
    let set = copy.column::<Vec<u8>>("select data from syncjournal.prep_sync('hq')");
    let error = refused_set(&hq, &set[0]);
    assert!(error.hint.contains("adopt_clone"), "{error:?}");
    copy.exec("select syncjournal.drop_peer('hq'); select syncjournal.adopt_clone('copy')");
    lives_on(&copy, &hq, &branch);
    assert_eq!(sync(&copy, &hq).code, Some(0));
}

#[test]
fn a_promoted_standby_and_its_original_refuse_each_other() {
    let cluster = Cluster::start(Options::default());
    let (hq, branch) = (Db::fresh(&cluster), Db::fresh(shared(1)));
    offices(&hq, &branch);
    let standby = cluster.base_backup(true);
    standby.promote();
    let copy = hq.copy_in(&standby);
    assert_refused(&sync(&hq, &copy));
    copy.exec("select syncjournal.adopt_clone('copy')");
    lives_on(&copy, &hq, &branch);
    let set = prepare_set(&copy, &hq, "changes");
    apply_set(&hq, &set);
}
