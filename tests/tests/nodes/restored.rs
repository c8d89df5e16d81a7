//! A node that was restored from an old backup is noticed, and both sides heal.

use std::sync::Arc;

use syncjournal_tests::{
    Agent, AgentCommand, Cluster, Db, Options, apply_set, assert_same_rows, carry, introduce,
    prepare_set, shared, table_rows, wait_until,
};

fn config(hq: &Db, branch: &Db, more: &str) -> String {
    format!(
        "[node.hq]\ndsn = \"{}\"\n[node.branch]\ndsn = \"{}\"\n[[link]]\nname = \"l\"\n\
         source = \"hq\"\ndestination = \"branch\"\n{more}\n",
        hq.dsn(),
        branch.dsn()
    )
}

fn sync(config: &str) {
    let done = AgentCommand::new(config).arg("sync").finish();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
}

const BOTH: &str = "direction = \"both\"";

/// Two nodes that are in step, `branch` in a cluster of its own.
fn offices() -> (Db, Db, Arc<Cluster>) {
    let cluster = Cluster::start(Options::default());
    let (hq, branch) = (Db::fresh(shared(0)), Db::fresh(&cluster));
    introduce(&[(&hq, "hq"), (&branch, "branch")]);
    for db in [&hq, &branch] {
        db.exec("create table t (id int primary key, v text); select syncjournal.track('t')");
    }
    hq.exec("insert into t select i, 'hq' from generate_series(1, 10) i");
    branch.exec("insert into t values (100, 'branch')");
    (hq, branch, cluster)
}

/// What happens after the backup: changes on both sides that the other has, and some that it lacks.
fn life_goes_on(hq: &Db, branch: &Db, mut bring: impl FnMut()) {
    branch.exec("insert into t values (101, 'lost'); update t set v = 'lost' where id = 1");
    branch.exec("delete from t where id = 2");
    hq.exec("insert into t values (11, 'later'); update t set v = 'later' where id in (3, 4)");
    bring();
    assert_same_rows(hq, branch, "t");
    hq.exec("update t set v = 'hq only' where id = 5");
}

/// What the restored node does, before it meets anybody.
fn life_begins_anew(branch: &Db) {
    branch.exec("insert into t values (102, 'anew'); update t set v = 'anew' where id = 4");
}

fn assert_healed(hq: &Db, branch: &Db) {
    assert_same_rows(hq, branch, "t");
    let value = |id: i32| hq.text(&format!("select v from t where id = {id}"));
    let all = [1, 3, 4, 5, 101, 102].map(value);
    assert_eq!(all, ["lost", "later", "anew", "hq only", "lost", "anew"], "nothing is missing");
    assert_eq!(hq.query_one::<i64>("select count(*) from t where id = 2"), 0);
    for db in [hq, branch] {
        let waiting = "select count(*) from syncjournal.quarantine";
        assert_eq!(db.query_one::<i64>(waiting), 0);
        let told = "select severity || ' ' || detail from syncjournal.health
            where check_name = 'restored'";
        let told = db.text(told);
        assert!(told.starts_with("warning") && told.contains("\"branch\""), "{told}");
    }
}

/// Both lives of the node are known by its name.
fn assert_known(db: &Db) {
    let tags = "select count(distinct syncjournal.version_node(version))
        from syncjournal.change where node = 'branch'";
    assert_eq!(db.query_one::<i64>(tags), 2);
}

/// Lets the counter of transactions pass beyond all that anybody has seen.
fn burn_transactions(db: &Db) {
    db.exec(
        "do $$ begin for i in 1..3000 loop perform pg_current_xact_id(); commit; end loop; end $$",
    );
}

#[test]
fn links_heal_by_themselves() {
    for passes_by in [false, true] {
        let (hq, branch, cluster) = offices();
        let before = config(&hq, &branch, BOTH);
        sync(&before);
        let backup = cluster.base_backup(false);
        life_goes_on(&hq, &branch, || sync(&before));
        let restored = branch.copy_in(&backup);
        cluster.stop();
        life_begins_anew(&restored);
        if passes_by {
            burn_transactions(&restored);
        }
        let after = config(&hq, &restored, BOTH);
        sync(&after);
        sync(&after);
        assert_healed(&hq, &restored);
        let tags = "select array_agg(node_tag order by name) from syncjournal.node";
        assert_eq!(hq.query_one::<Vec<i32>>(tags), restored.query_one::<Vec<i32>>(tags));
        // Once: later meetings find all as it should be.
        hq.exec("update t set v = 'x' where id = 6");
        restored.exec("update t set v = 'y' where id = 7");
        sync(&after);
        assert_same_rows(&hq, &restored, "t");
        assert_known(&hq);
        assert_known(&restored);
        assert_eq!(hq.query_one::<i64>("select count(*) from syncjournal.former_tag"), 1);
    }
}

#[test]
fn a_live_link_heals_too() {
    let (hq, branch, cluster) = offices();
    let before = config(&hq, &branch, BOTH);
    sync(&before);
    let backup = cluster.base_backup(false);
    life_goes_on(&hq, &branch, || sync(&before));
    let restored = branch.copy_in(&backup);
    cluster.stop();
    life_begins_anew(&restored);
    let live = format!("{BOTH}\nmode = \"live\"");
    let agent = Agent::run(&config(&hq, &restored, &live));
    let same = || table_rows(&hq, "t") == table_rows(&restored, "t");
    wait_until("both are in step", || {
        same() && hq.query_one("select exists (select from t where id = 102)")
    });
    restored.exec("update t set v = 'streamed' where id = 8");
    wait_until("the link goes on", || {
        hq.query_one("select exists (select from t where v = 'streamed')")
    });
    assert_healed(&hq, &restored);
    let ended = agent.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn one_way_links_heal_too() {
    for more in ["", "direction = \"pull\""] {
        let (hq, branch, cluster) = offices();
        let before = config(&hq, &branch, more);
        sync(&before);
        let backup = cluster.base_backup(false);
        branch.exec("insert into t values (101, 'lost')");
        hq.exec("insert into t values (11, 'later')");
        sync(&before);
        let restored = branch.copy_in(&backup);
        cluster.stop();
        restored.exec("insert into t values (102, 'anew')");
        hq.exec("insert into t values (12, 'later')");
        let after = config(&hq, &restored, more);
        sync(&after);
        let has = |db: &Db, id: i32| {
            db.query_one::<bool>(&format!("select exists (select from t where id = {id})"))
        };
        match more {
            "" => assert!(has(&restored, 11) && has(&restored, 12), "hq's own is there again"),
            _ => assert!(has(&hq, 101) && has(&hq, 102), "both lives are at hq"),
        }
    }
}

#[test]
fn sets_by_file_name_the_remedy() {
    let (hq, branch, cluster) = offices();
    carry(&hq, &branch, "full");
    carry(&branch, &hq, "full");
    let backup = cluster.base_backup(false);
    life_goes_on(&hq, &branch, || {
        carry(&hq, &branch, "changes");
        carry(&branch, &hq, "changes");
    });
    let restored = branch.copy_in(&backup);
    let stale = prepare_set(&branch, &hq, "changes");
    cluster.stop();
    life_begins_anew(&restored);
    let set = prepare_set(&hq, &restored, "changes");
    let hex: String = set[0].iter().map(|byte| format!("{byte:02x}")).collect();
    let error = restored.expect_error(&format!("select syncjournal.apply('\\x{hex}')"));
    assert_eq!(error.sqlstate, "55000");
    assert!(error.message.contains("restored from a backup"), "{error:?}");
    assert!(error.hint.contains("syncjournal.rejoin()"), "{error:?}");
    restored.exec("select syncjournal.rejoin()");
    carry(&restored, &hq, "changes");
    carry(&hq, &restored, "changes");
    carry(&restored, &hq, "changes");
    assert_healed(&hq, &restored);
    // What the lost life had made, or a copy that stayed behind makes, is refused.
    let hex: String = stale[0].iter().map(|byte| format!("{byte:02x}")).collect();
    let refused = hq.expect_error(&format!("select syncjournal.apply('\\x{hex}')"));
    assert!(refused.message.contains("goes on as another"), "{refused:?}");
    assert!(refused.hint.contains("adopt_clone"), "{refused:?}");
    let again = apply_set(&hq, &prepare_set(&restored, &hq, "changes"));
    assert_eq!(again.quarantined, 0);
}

#[test]
fn a_transaction_that_is_open_when_its_node_rejoins_is_captured_whole() {
    let (a, b) = (Db::fresh(shared(0)), Db::fresh(shared(1)));
    introduce(&[(&a, "a"), (&b, "b")]);
    for db in [&a, &b] {
        db.exec("create table t (id int primary key, v text); select syncjournal.track('t')");
    }
    a.exec("insert into t values (1, 'before')");
    carry(&a, &b, "changes");
    let mut open = a.session();
    open.exec("begin; insert into t values (2, 'open')");
    a.exec("select syncjournal.rejoin()");
    open.exec("insert into t values (3, 'still'); update t set v = 'changed' where id = 1");
    open.exec("commit; insert into t values (4, 'after')");
    carry(&a, &b, "changes");
    assert_same_rows(&a, &b, "t");
    assert_eq!(b.query_one::<i64>("select count(*) from t"), 4);
    let tags =
        "select count(distinct syncjournal.version_node(frame)) from syncjournal.journal_frame";
    assert_eq!(a.query_one::<i64>(tags), 2);
}
