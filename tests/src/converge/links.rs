//! The agents of a run, and what happens to them.

use std::time::{Duration, Instant};

use super::shape::Topology;
use crate::agent::{Agent, AgentCommand};
use crate::database::Db;
use crate::process::{run, server_command};
use crate::random::Random;

const ROLE: &str = "converge_agent";

/// Agents that are started anew whenever they were ended.
#[derive(Debug)]
pub(super) struct Links {
    agents: Vec<(String, Option<Agent>)>,
}

impl Links {
    /// The first copies are there when this returns.
    #[track_caller]
    pub(super) fn connect(topology: Topology, nodes: &[Db; 3]) -> Self {
        for db in nodes {
            // The nodes of other tests may share the cluster, and be made at the same moment.
            db.exec(&format!(
                "do $$ begin
                     create role {ROLE} login replication in role syncjournal_agent;
                 exception when duplicate_object or unique_violation then null;
                 end $$"
            ));
        }
        let dsns = nodes.each_ref().map(|db| db.dsn_as(ROLE));
        let configurations = topology.configurations(&dsns);
        for configuration in &configurations {
            let first = AgentCommand::new(configuration).arg("sync").finish();
            assert_eq!(first.code, Some(0), "{}", first.stderr);
        }
        let start = |configuration: String| {
            let agent = Agent::run(&configuration);
            (configuration, Some(agent))
        };
        Self { agents: configurations.into_iter().map(start).collect() }
    }

    /// One accident, and its end.
    pub(super) fn trouble(&mut self, random: &mut Random, nodes: &[Db; 3], end: Instant) {
        let left = || end.saturating_duration_since(Instant::now());
        let millis = |millis: usize| Duration::from_millis(millis as u64).min(left());
        std::thread::sleep(millis(300 + random.below(1500)));
        let pause = millis(200 + random.below(2500));
        let which = random.below(self.agents.len());
        let (configuration, slot) = &mut self.agents[which];
        let db = random.pick(nodes);
        let Some(agent) = slot.take() else { return };
        assert_nobody_was_restored(&agent.stderr());
        match random.below(5) {
            // Told to stop; killed.
            0 => drop(agent.stop()),
            1 => drop(agent),
            // Hangs, and its servers do not notice.
            2 => {
                agent.signal("STOP");
                std::thread::sleep(pause);
                agent.signal("CONT");
                *slot = Some(agent);
            }
            // Its sessions at one node are cut off.
            3 => {
                db.rows(&format!("select pg_terminate_backend(pid) from ({}) s", sessions()));
                *slot = Some(agent);
            }
            // One of them hangs, maybe in the middle of a transaction.
            _ => {
                let pids: Vec<i32> = db.column(&sessions());
                if !pids.is_empty() {
                    let pid = random.pick(&pids).to_string();
                    signal("STOP", &pid);
                    std::thread::sleep(pause.min(Duration::from_secs(1)));
                    signal("CONT", &pid);
                }
                *slot = Some(agent);
            }
        }
        if slot.is_none() {
            std::thread::sleep(pause);
            *slot = Some(Agent::run(configuration));
        }
    }

    /// Every link is whole from here on.
    #[track_caller]
    pub(super) fn mend(&mut self) {
        for (configuration, slot) in &mut self.agents {
            let running = slot.as_mut().is_some_and(Agent::is_running);
            assert!(running, "an agent ended by itself: {configuration}");
        }
    }

    #[track_caller]
    pub(super) fn stop(self) {
        for agent in self.agents.into_iter().filter_map(|(_, agent)| agent) {
            let ended = agent.stop();
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
            assert_nobody_was_restored(&ended.stderr);
        }
    }
}

/// Whatever happens to links, no node is taken for one that was restored from a backup.
#[track_caller]
fn assert_nobody_was_restored(told: &str) {
    assert!(!told.contains("was restored") && !told.contains("has less than it had"), "{told}");
}

/// The agents' sessions in a database.
fn sessions() -> String {
    format!(
        "select pid from pg_stat_activity
         where datname = current_database() and usename = '{ROLE}'"
    )
}

/// The session may be gone by now, which is as well.
fn signal(name: &str, pid: &str) {
    run(server_command("sh").args(["-c", "kill -$0 $1 2>/dev/null || true", name, pid]));
}
