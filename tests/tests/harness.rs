//! The harness does what the other tests believe of it.

use syncjournal_tests::{
    Cluster, Db, Options, Session, assert_same_rows, pair, server, shared, table_rows,
};

#[test]
fn a_database_has_the_extension_from_this_source_tree() {
    let db = Db::fresh(shared(0));
    let version = db.text("select extversion from pg_extension where extname = 'syncjournal'");
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
    let library =
        db.text("select setting || '/syncjournal.so' from pg_config where name = 'PKGLIBDIR'");
    assert_eq!(library, server().library.to_str().expect("paths are UTF-8"));
    db.exec("load '$libdir/syncjournal'");
}

#[test]
fn errors_come_with_sqlstate_detail_and_hint() {
    let db = Db::bare(shared(0));
    let error = db.expect_error(
        "do $$ begin raise 'no' using errcode = 'SJ001', detail = 'a fact', hint = 'do this'; end $$",
    );
    assert_eq!(
        (
            error.sqlstate.as_str(),
            error.message.as_str(),
            error.detail.as_str(),
            error.hint.as_str()
        ),
        ("SJ001", "no", "a fact", "do this")
    );
}

#[test]
fn psql_runs_a_script_and_stops_at_the_first_error() {
    let db = Db::bare(shared(0));
    let done =
        db.psql("create table t (a int);\n\\copy t from stdin\n1\n2\n\\.\nselect sum(a) from t;");
    assert!(done.status.success(), "{done:?}");
    assert!(String::from_utf8_lossy(&done.stdout).contains('3'));
    let failed = db.psql("select 1/0;\ninsert into t values (9);");
    assert!(!failed.status.success());
    assert_eq!(db.query_one::<i64>("select count(*) from t"), 2);
}

#[test]
fn tables_are_compared_by_content_and_not_by_order() {
    let (left, right) = pair();
    left.exec("create table t (a int, b text); insert into t values (1, 'x'), (2, null)");
    right.exec("create table t (b text, a int); insert into t values (null, 2), ('x', 1)");
    assert_same_rows(&left, &right, "t");
    right.exec("update t set b = '' where a = 2");
    assert_ne!(table_rows(&left, "t"), table_rows(&right, "t"));
}

#[test]
fn a_cluster_of_its_own_can_be_killed_restarted_and_asks_for_passwords_over_tls() {
    let cluster =
        Cluster::start(Options { tls: true, ..Options::default() }.set("work_mem", "1MB"));
    let db = Db::bare(&cluster);
    db.exec("create table t (a int); insert into t values (1); checkpoint");
    db.exec("create role someone login password 'secret'");
    cluster.kill();
    cluster.start_again();
    db.reconnect();
    assert_eq!(db.query_one::<i32>("select a from t"), 1);
    assert_eq!(db.text("show work_mem"), "1MB");

    let tcp =
        |password: &str, sslmode: &str| {
            std::process::Command::new(server().bin.join("psql"))
            .args(["--no-psqlrc", "--no-password", "-Atc", "select ssl from pg_stat_ssl \
                    where pid = pg_backend_pid()", "-d"])
            .arg(format!(
                "host=localhost port={} dbname={} user=someone sslmode={sslmode} sslrootcert={}",
                cluster.port(), db.name(), cluster.ca_file().display()
            ))
            .env("PGPASSWORD", password)
            .output()
            .expect("psql can be started")
        };
    let good = tcp("secret", "verify-full");
    assert_eq!(String::from_utf8_lossy(&good.stdout), "t\n", "{good:?}");
    assert!(String::from_utf8_lossy(&tcp("wrong", "verify-full").stderr).contains("password"));
    assert!(!tcp("secret", "disable").status.success());
}

#[test]
fn a_dropped_cluster_leaves_nothing_behind() {
    let cluster = Cluster::start(Options::default());
    let folder = cluster.socket().to_owned();
    let mut session: Session = cluster.session("postgres");
    assert!(folder.exists());
    drop(cluster);
    assert!(!folder.exists());
    assert!(session.try_exec("select 1").is_err());
}
