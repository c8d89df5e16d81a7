//! Throw-away clusters.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex, OnceLock};

use crate::build::server;
use crate::guard::Guard;
use crate::process::{run, server_command};
use crate::session::Session;
use crate::tls::make_certificates;

/// The database with the extension from which those of the tests are copied.
const TEMPLATE: &str = "syncjournal_template";

/// Settings of every cluster: safe enough for a test, fast, and small.
const SETTINGS: &str = "
wal_level = logical
max_wal_senders = 20
max_replication_slots = 20
max_connections = 200
max_prepared_transactions = 20
shared_buffers = 64MB
max_wal_size = 4GB
fsync = off
full_page_writes = off
wal_retrieve_retry_interval = 100ms
timezone = UTC
jit = off
log_line_prefix = '%m [%p] %q%d '
";

/// What is special about a cluster.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Further lines of postgresql.conf; they win over the harness's own.
    pub settings: Vec<(String, String)>,
    /// Listens on 127.0.0.1 too, where it asks for SCRAM passwords.
    pub tcp: bool,
    /// TLS on that port, with a certificate that [`Cluster::ca_file`] vouches for; plain connections
    /// are refused.
    pub tls: bool,
}

impl Options {
    /// Adds a setting.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A Postgres cluster in a temporary folder, on a Unix socket of its own.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    port: u16,
    options: Options,
    guard: Option<Guard>,
    template: OnceLock<()>,
    /// `create extension` makes roles, which all databases share: one at a time.
    creating: Mutex<()>,
}

/// One of three clusters that all tests of this run share; `index` is 0, 1 or 2.
pub fn shared(index: usize) -> &'static Arc<Cluster> {
    static SHARED: [LazyLock<Arc<Cluster>>; 3] =
        [const { LazyLock::new(|| Cluster::start(Options::default())) }; 3];
    &SHARED[index]
}

impl Cluster {
    /// Makes and starts a cluster. It stops and its folder goes when the last reference is dropped, or
    /// when the test process ends.
    pub fn start(options: Options) -> Arc<Self> {
        let port = if options.tcp || options.tls { free_port() } else { 5432 };
        let cluster = Self::in_new_folder(options, port);
        run(server_command(server().bin.join("initdb"))
            .args(["--no-sync", "--locale=C.UTF-8", "--encoding=UTF8", "--username=postgres"])
            .args(["--auth-local=trust", "--auth-host=scram-sha-256", "--pgdata"])
            .arg(cluster.data()));
        cluster.configure();
        cluster.start_again();
        Arc::new(cluster)
    }

    /// A folder without a server yet.
    fn in_new_folder(options: Options, port: u16) -> Self {
        let bin = &server().bin;
        let template = std::env::temp_dir().join("syncjournal-cluster-XXXXXXXX");
        let folder = PathBuf::from(run(server_command("mktemp").arg("-d").arg(template)).trim());
        let guard = Guard::new(
            "$4 \"$1/pg_ctl\" stop -m immediate -D \"$2\"; rm -rf \"$3\"",
            &[
                &bin.to_string_lossy(),
                &folder.join("data").to_string_lossy(),
                &folder.to_string_lossy(),
                &crate::process::as_server_user().join(" "),
            ],
        );
        let (template, creating) = (OnceLock::new(), Mutex::new(()));
        Self { folder, port, options, guard: Some(guard), template, creating }
    }

    /// A base backup of the running cluster, as a cluster of its own; `standby`: it follows the
    /// original until it is promoted.
    pub fn base_backup(&self, standby: bool) -> Arc<Self> {
        let cluster = Self::in_new_folder(self.options.clone(), self.port);
        run(server_command(server().bin.join("pg_basebackup"))
            .args(["--checkpoint=fast", "--no-sync", "--dbname"])
            .arg(self.dsn("postgres", "postgres"))
            .args(standby.then_some("--write-recovery-conf"))
            .arg("--pgdata")
            .arg(cluster.data()));
        let file = cluster.data().join("postgresql.conf");
        let settings = std::fs::read_to_string(&file).expect("it is part of the backup");
        let own = format!("unix_socket_directories = '{}'\n", cluster.folder.display());
        std::fs::write(&file, settings + &own).expect("the folder is writable");
        cluster.start_again();
        Arc::new(cluster)
    }

    /// Makes a standby a server of its own.
    pub fn promote(&self) {
        run(server_command(server().bin.join("pg_ctl"))
            .args(["promote", "--silent", "--wait", "--pgdata"])
            .arg(self.data()));
    }

    fn configure(&self) {
        if self.options.tls {
            make_certificates(&self.folder);
            let certificates = ["ca.crt", "server.crt", "server.key"].map(|f| self.folder.join(f));
            let owner = run(Command::new("stat").args(["-c", "%u:%g"]).arg(&self.folder));
            run(Command::new("chown").arg(owner.trim()).args(&certificates));
        }
        let listen = if self.port == 5432 { "" } else { "127.0.0.1" };
        let folder = self.folder.display();
        let mut settings = format!(
            "{SETTINGS}listen_addresses = '{listen}'\nport = {}\n\
             unix_socket_directories = '{folder}'\n",
            self.port
        );
        if self.options.tls {
            settings += &format!(
                "ssl = on\nssl_cert_file = '{folder}/server.crt'\nssl_key_file = '{folder}/server.key'\n"
            );
            let rules = "local all all trust\nlocal replication all trust\n\
                         hostssl all all 127.0.0.1/32 scram-sha-256\n\
                         hostssl replication all 127.0.0.1/32 scram-sha-256\n";
            std::fs::write(self.data().join("pg_hba.conf"), rules).expect("the folder is writable");
        }
        for (name, value) in &self.options.settings {
            settings += &format!("{name} = '{}'\n", value.replace('\'', "''"));
        }
        let file = self.data().join("postgresql.conf");
        let defaults = std::fs::read_to_string(&file).expect("initdb writes it");
        std::fs::write(&file, defaults + &settings).expect("the folder is writable");
    }

    /// Starts the server after [`Cluster::stop`] or [`Cluster::kill`].
    pub fn start_again(&self) {
        let log = self.folder.join("log");
        let started = server_command(server().bin.join("pg_ctl"))
            .args(["start", "--silent", "--wait", "--timeout=60", "--log"])
            .arg(&log)
            .arg("--pgdata")
            .arg(self.data())
            .status();
        let log = std::fs::read_to_string(log).unwrap_or_default();
        assert!(started.is_ok_and(|status| status.success()), "Postgres did not start:\n{log}");
    }

    /// Stops the server; open sessions are ended.
    pub fn stop(&self) {
        self.stop_by("fast");
    }

    /// Ends the server as a power cut would: no checkpoint, recovery at the next start.
    pub fn kill(&self) {
        self.stop_by("immediate");
    }

    fn stop_by(&self, mode: &str) {
        run(server_command(server().bin.join("pg_ctl"))
            .args(["stop", "--silent", "--wait", "--mode", mode, "--pgdata"])
            .arg(self.data()));
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The folder of the Unix socket, for connection strings.
    pub fn socket(&self) -> &Path {
        &self.folder
    }

    /// The port: of the socket's name, and on 127.0.0.1 where the options ask for it.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The certificate of the authority that signed the server's, where the options ask for TLS.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// The postmaster's process.
    pub fn pid(&self) -> u32 {
        let file = std::fs::read_to_string(self.data().join("postmaster.pid"));
        let first = file.as_deref().ok().and_then(|file| file.lines().next());
        first.and_then(|line| line.parse().ok()).expect("the server is running")
    }

    /// Everything the server has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// A connection string (keyword form, over the socket) for a database and a role.
    pub fn dsn(&self, database: &str, role: &str) -> String {
        format!("host={} port={} dbname={database} user={role}", self.folder.display(), self.port)
    }

    /// A session as superuser.
    #[track_caller]
    pub fn session(&self, database: &str) -> Session {
        Session::connect(&self.dsn(database, "postgres"))
    }

    /// Makes a database with the extension in it.
    pub(crate) fn create_database(&self, name: &str) {
        self.template.get_or_init(|| {
            // A first attempt may have failed in the middle: the next test shall see why, too.
            self.session("postgres").exec(&format!("drop database if exists {TEMPLATE}"));
            self.create_empty_database(TEMPLATE);
            self.session(TEMPLATE).exec("create extension syncjournal");
        });
        self.copy_database(name, TEMPLATE);
    }

    /// Makes a database without the extension.
    pub(crate) fn create_empty_database(&self, name: &str) {
        self.copy_database(name, "template0");
    }

    fn copy_database(&self, name: &str, template: &str) {
        let _one_at_a_time = self.creating.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        self.session("postgres").exec(&format!("create database {name} template {template}"));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(guard) = self.guard.take() {
            guard.fire();
        }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a local port can be had");
    listener.local_addr().expect("a bound socket has an address").port()
}
