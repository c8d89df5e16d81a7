//! The agent's commands and its live links, seen from outside: processes, exit statuses, databases.

mod commands;
mod conflicts;
mod connections;
mod constraints;
mod fan_out;
mod live;
mod restarts;
mod shapes;
mod slices;

use std::sync::atomic::{AtomicUsize, Ordering};

use syncjournal_tests::{Cluster, Db, pair};

/// The configuration of nodes and links.
struct Config(String);

impl Config {
    fn new(nodes: &[(&str, &str)]) -> Self {
        let table = |(name, dsn): &(&str, &str)| format!("[node.{name}]\ndsn = \"{dsn}\"\n");
        Self(nodes.iter().map(table).collect())
    }

    /// Adds a link named after its ends; `more` are further lines.
    fn link(mut self, source: &str, destination: &str, more: &str) -> Self {
        self.0 += &format!(
            "[[link]]\nname = \"{source}-{destination}\"\nsource = \"{source}\"\n\
             destination = \"{destination}\"\n{more}\n"
        );
        self
    }
}

/// Two nodes, hq and branch, each with the empty table `item`, tracked.
fn offices() -> (Db, Db) {
    let (hq, branch) = pair();
    furnish(&hq, "hq");
    furnish(&branch, "branch");
    (hq, branch)
}

fn furnish(db: &Db, name: &str) {
    db.exec(&format!(
        "select syncjournal.create_node('{name}');
         create table item (id int primary key, label text, amount int not null default 0);
         select syncjournal.track('item')"
    ));
}

/// A link of some mode and more from hq to branch, as a role that is no superuser.
fn link(hq: &Db, branch: &Db, more: &str) -> String {
    let (hq, branch) = (agent_dsn(hq), agent_dsn(branch));
    Config::new(&[("hq", &hq), ("branch", &branch)]).link("hq", "branch", more).0
}

/// A connection string for a role with the rights that an agent needs, and no more.
fn agent_dsn(db: &Db) -> String {
    let role = agent_role(db.cluster(), "");
    db.dsn_as(&role)
}

/// Makes such a role. Roles are the cluster's: each has a name of its own.
fn agent_role(cluster: &Cluster, password: &str) -> String {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let role = format!("agent_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    cluster.session("postgres").exec(&format!(
        "create role {role} login replication password '{password}' in role syncjournal_agent"
    ));
    role
}

fn count(db: &Db) -> i64 {
    db.query_one("select count(*) from item")
}
