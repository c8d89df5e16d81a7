//! A database for each test.

use std::cell::{RefCell, RefMut};
use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use postgres::types::{FromSqlOwned, ToSql};

use crate::build::server;
use crate::cluster::{Cluster, shared};
use crate::session::{Session, SqlError};
use crate::wait::wait_until;

/// A database of a test's own, with a session in it as superuser. It goes with its cluster.
#[derive(Debug)]
pub struct Db {
    cluster: Arc<Cluster>,
    name: String,
    session: RefCell<Session>,
}

/// Two databases with the extension, on two clusters.
pub fn pair() -> (Db, Db) {
    (Db::fresh(shared(0)), Db::fresh(shared(1)))
}

/// Three databases with the extension, on three clusters.
pub fn triple() -> (Db, Db, Db) {
    (Db::fresh(shared(0)), Db::fresh(shared(1)), Db::fresh(shared(2)))
}

impl Db {
    /// A new database with the extension in it.
    pub fn fresh(cluster: &Arc<Cluster>) -> Self {
        let name = new_name();
        cluster.create_database(&name);
        Self::open(cluster, name)
    }

    /// A new database without the extension.
    pub fn bare(cluster: &Arc<Cluster>) -> Self {
        Self::named(cluster, &new_name())
    }

    /// A new database without the extension, of a given name.
    pub fn named(cluster: &Arc<Cluster>, name: &str) -> Self {
        cluster.create_empty_database(name);
        Self::open(cluster, name.to_owned())
    }

    /// The database of the same name in another cluster: one made from this one's by base backup.
    pub fn copy_in(&self, cluster: &Arc<Cluster>) -> Self {
        Self::open(cluster, self.name.clone())
    }

    /// A copy in the same cluster, by createdb. Sessions with the original end first.
    pub fn createdb_copy(&self) -> Self {
        let name = new_name();
        let mut outside = self.cluster.session("postgres");
        outside.exec(&format!(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{}'",
            self.name
        ));
        crate::process::run(
            Command::new(server().bin.join("createdb"))
                .args(["--host", &self.cluster.socket().to_string_lossy(), "--username=postgres"])
                .args(["--port", &self.cluster.port().to_string()])
                .args(["--template", &self.name, &name]),
        );
        self.reconnect();
        Self::open(&self.cluster, name)
    }

    /// A copy in another cluster, by pg_dump and psql.
    pub fn restored_copy(&self, cluster: &Arc<Cluster>) -> Self {
        let dump = crate::process::run(
            Command::new(server().bin.join("pg_dump")).args(["--dbname", &self.dsn()]),
        );
        let copy = Self::bare(cluster);
        let restored = copy.psql(&dump);
        assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
        copy
    }

    fn open(cluster: &Arc<Cluster>, name: String) -> Self {
        let session = RefCell::new(cluster.session(&name));
        Self { cluster: Arc::clone(cluster), name, session }
    }

    /// The database's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cluster it is in.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// A connection string as superuser.
    pub fn dsn(&self) -> String {
        self.dsn_as("postgres")
    }

    /// A connection string as another role.
    pub fn dsn_as(&self, role: &str) -> String {
        self.cluster.dsn(&self.name, role)
    }

    /// Waits until a snapshot shows whole whatever has been written here: transactions of other tests on
    /// the cluster hold its edge back, and with it what peers can confirm.
    #[track_caller]
    pub fn outlive_others(&self) {
        let written: String = self.query_one("select pg_current_xact_id()::text");
        let edge = format!("select pg_snapshot_xmin(pg_current_snapshot()) > '{written}'::xid8");
        wait_until("all that is older has ended", || self.query_one(&edge));
    }

    /// One more session, for tests in which several interleave.
    #[track_caller]
    pub fn session(&self) -> Session {
        Session::connect(&self.dsn())
    }

    /// One more session, as another role.
    #[track_caller]
    pub fn session_as(&self, role: &str) -> Session {
        Session::connect(&self.dsn_as(role))
    }

    /// Connects the database's own session anew, after its server was restarted.
    #[track_caller]
    pub fn reconnect(&self) {
        *self.session.borrow_mut() = self.session();
    }

    /// The database's own session.
    pub fn own(&self) -> RefMut<'_, Session> {
        self.session.borrow_mut()
    }

    /// See [`Session::exec`].
    #[track_caller]
    pub fn exec(&self, sql: &str) {
        self.own().exec(sql);
    }

    /// See [`Session::expect_error`].
    #[track_caller]
    pub fn expect_error(&self, sql: &str) -> SqlError {
        self.own().expect_error(sql)
    }

    /// See [`Session::query_one`].
    #[track_caller]
    pub fn query_one<T: FromSqlOwned>(&self, sql: &str) -> T {
        self.own().query_one(sql)
    }

    /// See [`Session::query_one_with`].
    #[track_caller]
    pub fn query_one_with<T: FromSqlOwned>(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> T {
        self.own().query_one_with(sql, parameters)
    }

    /// See [`Session::column`].
    #[track_caller]
    pub fn column<T: FromSqlOwned>(&self, sql: &str) -> Vec<T> {
        self.own().column(sql)
    }

    /// See [`Session::rows`].
    #[track_caller]
    pub fn rows(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        self.own().rows(sql)
    }

    /// See [`Session::text`].
    #[track_caller]
    pub fn text(&self, sql: &str) -> String {
        self.own().text(sql)
    }

    /// Runs a script with the real psql, which stops at the first error.
    pub fn psql(&self, script: &str) -> Output {
        let mut psql = Command::new(server().bin.join("psql"))
            .args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname", &self.dsn()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("psql can be started");
        let mut stdin = psql.stdin.take().expect("it was asked for");
        std::thread::scope(|scope| {
            // Written beside the reading, or a long script and a long answer would block each other.
            // An error means that psql stopped early, which its exit status tells.
            scope.spawn(move || {
                let _ = stdin.write_all(script.as_bytes());
            });
            psql.wait_with_output().expect("psql can be waited for")
        })
    }
}

fn new_name() -> String {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    // Test threads are named for their test: that makes server logs readable.
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("main").rsplit("::").next().unwrap_or_default();
    let test: String = test.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    format!("t{number}_{}", &test[..test.len().min(40)])
}
