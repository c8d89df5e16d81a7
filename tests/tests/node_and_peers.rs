//! Nodes, peers, positions, retention and rights: what the SQL around the journal promises.

use std::process::Command;

use syncjournal_tests::{Db, server, shared, wait_until};

fn node() -> Db {
    let db = Db::fresh(shared(0));
    db.exec("select syncjournal.create_node('hq', owner => 'me', url => 'x://y')");
    db
}

const OTHER: &str = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa";
const THIRD: &str = "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb";

#[test]
fn a_node_has_one_name_and_a_copy_takes_another() {
    let db = node();
    assert_eq!(db.expect_error("select syncjournal.create_node('two')").sqlstate, "42710");
    let bare = Db::fresh(shared(0));
    assert_eq!(bare.expect_error("select syncjournal.create_node(' ')").sqlstate, "22023");
    assert_eq!(bare.expect_error("select syncjournal.adopt_clone('x')").sqlstate, "55000");

    let own = "select node_id || ' ' || name from syncjournal.node where is_local";
    let before = db.text(own);
    assert_eq!(db.expect_error("select syncjournal.adopt_clone('hq')").sqlstate, "42710");
    db.exec("select syncjournal.adopt_clone('copy')");
    assert_ne!(db.text(own), before);
    assert_eq!(db.query_one::<i64>("select count(*) from syncjournal.node"), 2);
    // From the commit on, what is written carries the new tag.
    db.exec("create table t (id int primary key); select syncjournal.track('t')");
    db.exec("insert into t values (1)");
    let tag = "select count(*) from t, syncjournal.known_node k join syncjournal.local_node l
        using (node_id) where syncjournal.version_node(t.sync_version) = k.node_tag";
    assert_eq!(db.query_one::<i64>(tag), 1);
}

#[test]
fn a_restored_dump_keeps_its_tables_tracked_and_asks_for_a_name() {
    let db = node();
    db.exec(
        "create table t (id int primary key, v text); insert into t values (1, 'a');
         create table p (id int primary key) partition by range (id);
         create table p1 partition of p default; insert into p values (1);
         select syncjournal.track_all(); update t set v = 'b'; insert into t values (2, 'c');
         insert into p values (2); select syncjournal.add_peer('branch')",
    );
    let copy = Db::bare(shared(1));
    let dump = Command::new(server().bin.join("pg_dump"))
        .args(["--dbname", &db.dsn()])
        .output()
        .expect("pg_dump can be started");
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let restored = copy.psql(&String::from_utf8_lossy(&dump.stdout));
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));

    let rows =
        "select id::text || v || sync_id || coalesce(sync_version::text, '-') from t order by id";
    assert_eq!(copy.column::<String>(rows), db.column::<String>(rows));
    let frames = "select count(*) from syncjournal.journal_frame";
    assert_eq!(copy.query_one::<i64>(frames), db.query_one::<i64>(frames));
    assert_eq!(copy.query_one::<i64>("select count(*) from syncjournal.local_node"), 0);
    assert_eq!(copy.expect_error("insert into t values (3)").sqlstate, "55000");
    assert_eq!(copy.expect_error("select syncjournal.create_node('hq')").sqlstate, "55000");
    copy.exec("select syncjournal.adopt_clone('copy')");
    copy.exec("insert into t values (3); insert into p values (3); alter table t add column w int");
    assert_eq!(copy.query_one::<i64>(frames), db.query_one::<i64>(frames) + 2);
    let ahead: i64 = copy.query_one(
        "select count(*) from syncjournal.journal_frame
         where not pg_visible_in_snapshot(xid, pg_current_snapshot())",
    );
    assert_eq!(ahead, 0, "no entry lies in this cluster's future");
    copy.exec("drop extension syncjournal cascade");
    assert_eq!(
        copy.query_one::<i64>("select count(*) from pg_attribute where attname = 'sync_id'"),
        0
    );
}

#[test]
fn a_link_registers_itself_and_never_widens_what_a_person_allowed() {
    let db = node();
    let link = |name: &str, node: &str, direction: &str| {
        format!("select syncjournal.register_link('{name}', '{node}', '{direction}')")
    };
    let direction = |name: &str| {
        db.text(&format!("select direction from syncjournal.peer where name = '{name}'"))
    };
    assert_eq!(db.text(&link("branch", OTHER, "send")), "branch");
    assert_eq!(db.text(&link("renamed", OTHER, "send")), "branch", "a node has one name here");
    assert_eq!(direction("branch"), "send");
    db.exec(&link("branch", OTHER, "receive"));
    assert_eq!(direction("branch"), "both", "a second link adds its direction");
    let taken = db.expect_error(&link("branch", THIRD, "send"));
    assert_eq!(taken.sqlstate, "42710");
    assert!(taken.detail.contains(OTHER) && taken.detail.contains(THIRD));

    db.exec("select syncjournal.register_link('branch', null, 'send')");
    db.exec("select syncjournal.add_peer('strict', direction => 'send')");
    db.exec(&link("strict", THIRD, "send"));
    let refused = db.expect_error(&link("strict", THIRD, "both"));
    assert_eq!(refused.sqlstate, "55000");
    assert_eq!(direction("strict"), "send");
    db.exec("select syncjournal.alter_peer('strict', direction => 'both')");
    db.exec(&link("strict", THIRD, "both"));
}

#[test]
fn what_may_leave_is_what_both_lists_select() {
    let db = node();
    db.exec(
        "create table a (id int primary key); create table b (id int primary key);
         create table \"A b\" (id int primary key); create table untracked (id int);
         select syncjournal.track_all(exclude => '{untracked}');
         select syncjournal.add_peer('x', exclude => '{public.b}')",
    );
    let tables = |arguments: &str| {
        db.column::<String>(&format!("select syncjournal.exported_tables({arguments})"))
    };
    assert_eq!(tables("'x'"), ["public.\"A b\"", "public.a"]);
    assert_eq!(tables("'x', '{public.*}', array['\"A b\"']"), ["public.a"]);
    assert_eq!(tables("'x', '{b}'"), Vec::<String>::new());
    let nothing = db.expect_error("select syncjournal.exported_tables('x', '{public.untracked}')");
    assert_eq!(nothing.sqlstate, "42P01");
    let shape = db.expect_error("select syncjournal.add_peer('y', include => '{a.b.c}')");
    assert_eq!(shape.sqlstate, "22023");
    let slices = db.expect_error("select syncjournal.add_peer('y', slices => '{s}')");
    assert_eq!(slices.sqlstate, "42704");
}

#[test]
fn a_position_never_goes_back_nor_into_the_future() {
    let db = node();
    db.exec("select syncjournal.add_peer('x')");
    let confirmed = "select confirmed::text from syncjournal.registered_peer";
    db.exec("select syncjournal.confirm_position('x', pg_current_snapshot())");
    let reached = db.text(confirmed);
    for earlier in ["1:1:", "10:20:12,15"] {
        db.exec(&format!("select syncjournal.confirm_position('x', '{earlier}')"));
        assert_eq!(db.text(confirmed), reached);
    }
    let future = "select syncjournal.confirm_position('x', '1:4000000000:')";
    assert_eq!(db.expect_error(future).sqlstate, "22023");
    let covers = |later: &str, earlier: &str| {
        db.query_one::<bool>(&format!("select syncjournal.snapshot_covers('{later}', '{earlier}')"))
    };
    assert!(covers("10:20:12", "10:20:12,15") && covers("20:20:", "10:20:10"));
    assert!(!covers("10:20:12,15", "10:20:12") && !covers("10:20:", "10:21:"));
    assert!(covers("15:30:15", "10:20:12,15") && !covers("15:30:15", "10:20:12"));
    let unknown = "select syncjournal.confirm_sync(gen_random_uuid())";
    assert_eq!(db.expect_error(unknown).sqlstate, "42704");
}

#[test]
fn the_journal_is_pruned_by_segments_that_every_peer_has() {
    let db = node();
    db.exec("create table t (id int primary key); select syncjournal.track('t')");
    db.exec("select syncjournal.add_peer('x', direction => 'send'); insert into t select generate_series(1, 10)");
    let grow_old =
        "update syncjournal.journal_segment set opened_at = opened_at - interval '2 days'";
    let prune = "select syncjournal.prune()";
    let segments =
        "select count(*) from pg_inherits where inhparent = 'syncjournal.journal'::regclass";
    assert_eq!(db.query_one::<i64>(prune), 0);
    assert_eq!(db.query_one::<i64>(segments), 1, "a young segment goes on");
    db.exec(grow_old);
    assert_eq!(db.query_one::<i64>(prune), 0);
    assert_eq!(db.query_one::<i64>(segments), 2);
    db.exec("delete from t where id = 1; insert into t values (11)");
    assert_eq!(db.query_one::<i64>(prune), 0, "the peer lacks it, and it is not old enough");

    // Transactions of other tests on the cluster hold the snapshot's edge back for a while.
    wait_until("all that is older has ended", || {
        db.query_one(
            "select pg_snapshot_xmin(pg_current_snapshot()) > max(xid)
            from syncjournal.journal_frame",
        )
    });
    db.exec("select syncjournal.confirm_position('x', pg_current_snapshot())");
    let mut reader = db.session();
    reader.exec("begin; select count(*) from syncjournal.journal");
    assert_eq!(db.query_one::<i64>(prune), 0, "readers are left in peace");
    reader.exec("commit");
    assert_eq!(db.query_one::<i64>(prune), 10);
    assert_eq!(db.query_one::<i64>(segments), 1);
    let state = "select state from syncjournal.stat_peer";
    assert_eq!(db.text(state), "current");
    assert_eq!(db.query_one::<i64>("select count(*) from syncjournal.tombstone"), 1);

    // Past retention it goes all the same, and the peer needs a full set.
    db.exec("insert into t values (12)");
    assert_eq!(db.text(state), "behind");
    db.exec(grow_old);
    db.query_one::<i64>(prune);
    db.exec("update syncjournal.journal_segment set opened_at = opened_at - interval '30 days'");
    assert_eq!(db.query_one::<i64>(prune), 3);
    assert_eq!(db.text(state), "needs full set");
    assert_eq!(db.query_one::<i64>("select count(*) from syncjournal.tombstone"), 0);
    let health = "select severity from syncjournal.health where check_name = 'lost_peers'";
    assert_eq!(db.text(health), "warning");
}

#[test]
fn nothing_is_granted_to_the_public() {
    let db = node();
    let open: Vec<String> = db.column(
        "select proname::text from pg_proc where pronamespace = 'syncjournal'::regnamespace
            and (proacl is null or exists (select from aclexplode(proacl) where grantee = 0))
         union all
         select relname::text from pg_class where relnamespace = 'syncjournal'::regnamespace
            and exists (select from aclexplode(relacl) where grantee = 0)",
    );
    assert_eq!(open, Vec::<String>::new());
    let loose: Vec<String> = db.column(
        "select proname::text from pg_proc where pronamespace = 'syncjournal'::regnamespace
            and prosecdef and not 'search_path=pg_catalog, pg_temp' = any (coalesce(proconfig, '{}'))
            and prolang <> (select oid from pg_language where lanname = 'c')",
    );
    assert_eq!(loose, Vec::<String>::new(), "functions with their owner's rights fix their path");
}

#[test]
fn each_role_can_do_its_part_and_no_more() {
    let db = node();
    db.exec(
        "create table t (id int primary key); select syncjournal.add_peer('x');
         create role nap_reader login in role syncjournal_reader;
         create role nap_agent login in role syncjournal_agent;
         create role nap_admin login in role syncjournal_admin;
         create role nap_nobody login",
    );
    let mut nobody = db.session_as("nap_nobody");
    assert_eq!(nobody.expect_error("select * from syncjournal.node").sqlstate, "42501");
    assert_eq!(nobody.expect_error("select syncjournal.track('t')").sqlstate, "42501");

    let mut admin = db.session_as("nap_admin");
    admin.exec("select syncjournal.track('t'); select syncjournal.alter_peer('x', active => true)");
    admin.exec("select syncjournal.prune(); select * from syncjournal.health");
    admin.exec("select syncjournal.set_node_priority('{hq}')");
    let borrowed = "select syncjournal.update_as_owner('t', 'alter role nap_admin superuser')";
    assert_eq!(admin.expect_error(borrowed).sqlstate, "42501");
    let internal: i64 = db.query_one(
        "select count(*) from pg_proc where pronamespace = 'syncjournal'::regnamespace
            and has_function_privilege('syncjournal_admin', oid, 'execute') and not prosecdef
            and proname !~ '(^|_)pack(_|$)' and proname not in ('referring_table', 'stream_position', 'version_time', 'version_node', 'describe_set',
                'snapshot_covers', 'unfold_frame', 'unfold_entries', 'bundled_frames')",
    );
    assert_eq!(internal, 0, "what may be called acts by its own rules, or needs no rights");
    db.exec("insert into t values (1)");

    let mut reader = db.session_as("nap_reader");
    let views: Vec<String> = db.column(
        "select relname::text from pg_class
         where relnamespace = 'syncjournal'::regnamespace and relkind = 'v'
            and relname not in ('journal_entry', 'journal_frame', 'last_word', 'clone_rows')",
    );
    for view in &views {
        reader.exec(&format!("select * from syncjournal.{view}"));
    }
    for refused in ["syncjournal.prune()", "syncjournal.untrack('t')", "syncjournal.drop_peer('x')"]
    {
        assert_eq!(reader.expect_error(&format!("select {refused}")).sqlstate, "42501");
    }
    reader.exec("select syncjournal.history('t', (select row_id from syncjournal.change))");
    assert_eq!(reader.expect_error("select * from t").sqlstate, "42501");
    assert_eq!(reader.expect_error("select * from syncjournal.journal").sqlstate, "42501");

    let mut agent = db.session_as("nap_agent");
    for call in [
        "register_link('y', 'aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa', 'both')",
        "peer_filter('x')",
        "exported_tables('x')",
        "layout_definition(1)",
        "received_position('aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa')",
        "stream_position()",
        "confirm_position('x', pg_current_snapshot())",
        "ensure_publication()",
        "prune()",
    ] {
        agent.exec(&format!("select syncjournal.{call}"));
    }
    for refused in [
        "untrack('t')",
        "alter_peer('x', active => true)",
        "create_node('z')",
        "set_node_priority('{}')",
    ] {
        let error = agent.expect_error(&format!("select syncjournal.{refused}"));
        assert_eq!(error.sqlstate, "42501");
    }
    assert_eq!(agent.expect_error("select * from t").sqlstate, "42501");
}

#[test]
fn health_names_what_is_wrong_and_the_remedy() {
    let db = Db::fresh(shared(0));
    let wrong = "select check_name || ': ' || severity from syncjournal.health
        where severity <> 'ok' order by 1";
    assert_eq!(db.column::<String>(wrong), ["node: error"]);
    db.exec("select syncjournal.create_node('hq'); create table t (id int primary key)");
    db.exec("select syncjournal.track('t')");
    assert_eq!(db.column::<String>(wrong), Vec::<String>::new());
    db.exec("alter table t disable trigger syncjournal_capture; drop index t_sync_id_idx");
    assert_eq!(db.column::<String>(wrong), ["identity: error", "triggers: error"]);
    let silent: i64 = db.query_one(
        "select count(*) from syncjournal.health where (severity = 'ok') <> (hint is null)",
    );
    assert_eq!(silent, 0, "a hint where something is wrong, and only there");
}

#[test]
fn a_copied_database_is_found_out() {
    let db = node();
    let copy = Db::bare(shared(0));
    let (original, name) = (db.name().to_owned(), format!("{}_twin", copy.name()));
    let mut outside = shared(0).session("postgres");
    outside.exec(&format!(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{original}'"
    ));
    outside.exec(&format!("create database {name} template {original}"));
    let mut twin = shared(0).session(&name);
    let clone = "select severity from syncjournal.health where check_name = 'clone'";
    assert_eq!(twin.text(clone), "error");
    twin.exec("select syncjournal.adopt_clone('twin')");
    assert_eq!(twin.text(clone), "ok");
}
