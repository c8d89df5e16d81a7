//! How the agent gets to its servers: TLS, passwords, hosts, service files.

use syncjournal_tests::{
    Agent, AgentCommand, Cluster, Db, Options, assert_same_rows, shared, table_rows, wait_until,
};

use super::{Config, agent_dsn, agent_role, furnish};

const PASSWORD: &str = "correct horse: battery's \\staple";

/// A node on a cluster with TLS and SCRAM, and one on a shared cluster.
fn remote_and_local() -> (Db, Db, String) {
    let cluster = Cluster::start(Options { tls: true, tcp: true, ..Options::default() });
    let (hq, branch) = (Db::fresh(&cluster), Db::fresh(shared(1)));
    furnish(&hq, "hq");
    furnish(&branch, "branch");
    let role = agent_role(&cluster, &PASSWORD.replace('\'', "''"));
    (hq, branch, role)
}

/// The connection string of `hq` over TCP, in the form that goes into TOML.
fn remote(hq: &Db, role: &str, more: &str) -> String {
    let port = hq.cluster().port();
    let ca = hq.cluster().ca_file();
    format!(
        "host=localhost hostaddr=127.0.0.1 port={port} dbname={} user={role} sslrootcert={} {more}",
        hq.name(),
        ca.display()
    )
}

fn config(hq: &str, branch: &str) -> String {
    Config::new(&[("hq", hq), ("branch", branch)]).link("hq", "branch", "").0
}

#[test]
fn a_live_link_over_tls_with_a_scram_password() {
    let (hq, branch, role) = remote_and_local();
    let dsn = remote(&hq, &role, "sslmode=verify-full channel_binding=require");
    let config = config(&dsn, &agent_dsn(&branch));
    let agent = AgentCommand::new(&config).env("PGPASSWORD", PASSWORD).arg("run").start();
    hq.exec("insert into item select i from generate_series(1, 1000) i");
    wait_until("the rows are there", || table_rows(&branch, "item").len() == 1000);
    wait_until("the stream runs under TLS", || {
        hq.query_one::<i64>(
            "select count(*) from pg_stat_ssl join pg_stat_replication using (pid) where ssl",
        ) == 1
    });
    hq.exec("delete from item where id > 10");
    wait_until("the stream brings the deletes", || table_rows(&branch, "item").len() == 10);
    assert_same_rows(&hq, &branch, "item");
    assert_eq!(agent.stop().code, Some(0));
}

#[test]
fn passwords_come_from_pgpass_and_settings_from_a_service() {
    let (hq, branch, role) = remote_and_local();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let passfile = folder.path().join("pgpass");
    let escaped = PASSWORD.replace('\\', "\\\\").replace(':', "\\:");
    std::fs::write(&passfile, format!("# ours\nlocalhost:*:*:{role}:{escaped}\n"))
        .expect("the folder is writable");
    set_mode(&passfile, 0o600);
    let service = folder.path().join("services");
    let settings = remote(&hq, &role, "sslmode=verify-ca").replace(' ', "\n");
    std::fs::write(&service, format!("[head]\n{settings}")).expect("the folder is writable");
    let config = config("service=head", &agent_dsn(&branch));
    let sync = || {
        AgentCommand::new(&config)
            .env("PGSERVICEFILE", service.to_str().expect("it is ASCII"))
            .env("PGPASSFILE", passfile.to_str().expect("it is ASCII"))
            .arg("sync")
            .finish()
    };
    let finished = sync();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    // What others can read is no secret, and is not used.
    set_mode(&passfile, 0o644);
    let finished = sync();
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    assert!(finished.stderr.contains("group or world access"), "{}", finished.stderr);
}

fn set_mode(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
}

#[test]
fn wrong_passwords_and_certificates_are_clear_errors() {
    let (hq, branch, role) = remote_and_local();
    let sync = |more: &str, password: &str| {
        let config = config(&remote(&hq, &role, more), &agent_dsn(&branch));
        AgentCommand::new(&config).env("PGPASSWORD", password).arg("sync").finish()
    };
    let wrong = sync("sslmode=require", "wrong");
    assert_eq!(wrong.code, Some(1), "{wrong:#?}");
    assert!(wrong.stderr.contains("password authentication failed"), "{}", wrong.stderr);
    assert!(wrong.stderr.contains("28P01"), "{}", wrong.stderr);

    let plain = sync("sslmode=disable", PASSWORD);
    assert_eq!(plain.code, Some(1), "{plain:#?}");
    assert!(plain.stderr.contains("pg_hba.conf"), "{}", plain.stderr);

    for good in ["sslmode=allow", "sslmode=prefer", "sslmode=require", "sslmode=verify-ca"] {
        let finished = sync(good, PASSWORD);
        assert_eq!(finished.code, Some(0), "{good}: {finished:#?}");
    }

    // Another name than the certificate's: verify-full refuses, verify-ca does not look.
    let elsewhere = |mode: &str| {
        let dsn = remote(&hq, &role, &format!("sslmode={mode}"));
        let dsn = dsn.replace("host=localhost", "host=elsewhere.example");
        let config = config(&dsn, &agent_dsn(&branch));
        AgentCommand::new(&config).env("PGPASSWORD", PASSWORD).arg("sync").finish()
    };
    let finished = elsewhere("verify-full");
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    assert!(finished.stderr.contains("certificate"), "{}", finished.stderr);
    assert_eq!(elsewhere("verify-ca").code, Some(0));

    // An authority that did not sign it.
    let stranger = Cluster::start(Options { tls: true, tcp: true, ..Options::default() });
    let (ours, theirs) = (hq.cluster().ca_file(), stranger.ca_file());
    let dsn = remote(&hq, &role, "sslmode=verify-ca")
        .replace(&ours.display().to_string(), &theirs.display().to_string());
    let config = config(&dsn, &agent_dsn(&branch));
    let finished = AgentCommand::new(&config).env("PGPASSWORD", PASSWORD).arg("sync").finish();
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    assert!(finished.stderr.contains("certificate"), "{}", finished.stderr);
}

#[test]
fn the_second_host_is_taken_where_the_first_is_down() {
    let (hq, branch) = super::offices();
    let role = agent_role(hq.cluster(), "");
    let socket = hq.cluster().socket().display();
    let dsn = format!(
        "host=/nonexistent,{socket} port=1,{} dbname={} user={role} target_session_attrs=read-write",
        hq.cluster().port(),
        hq.name()
    );
    hq.exec("insert into item values (1, 'one')");
    let config = config(&dsn, &agent_dsn(&branch));
    let agent = Agent::run(&config);
    wait_until("it is there", || table_rows(&branch, "item").len() == 1);
    assert_eq!(agent.stop().code, Some(0));
}

#[test]
fn a_target_that_is_down_fails_a_sync_and_is_waited_for_by_the_service() {
    let cluster = Cluster::start(Options::default());
    let (hq, branch) = (Db::fresh(shared(0)), Db::fresh(&cluster));
    furnish(&hq, "hq");
    furnish(&branch, "branch");
    let config = config(&agent_dsn(&hq), &agent_dsn(&branch));
    cluster.stop();
    let finished = AgentCommand::new(&config).arg("sync").finish();
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    assert!(finished.stderr.contains("hint: Is the server running"), "{}", finished.stderr);
    let agent = Agent::run(&config);
    wait_until("it has tried", || agent.stderr().contains("will try again"));
    hq.exec("insert into item values (1, 'patience')");
    cluster.start_again();
    branch.reconnect();
    wait_until("the link has come up", || table_rows(&branch, "item").len() == 1);
    assert_eq!(agent.stop().code, Some(0));
}
