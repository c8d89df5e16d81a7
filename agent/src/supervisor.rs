//! All flows of `run`: starts them, stops them, starts them anew from a changed configuration.
//!
//! One task a flow; the supervisor itself only waits, and tells systemd that it does.

use crate::config::{Config, Flow, Mode, Node};
use crate::database::Database;
use crate::error::{Error, Result};
use crate::link::{State, keep_running};
use crate::net::SessionName;
use crate::service::{self, Request, Signals};
use crate::source::Streams;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{self, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// Retention is counted in days: an hour more or less is nothing.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
/// The first prune comes after the links have had the servers to themselves.
const FIRST_PRUNE_AFTER: Duration = Duration::from_secs(60);

/// What runs: a task for each flow, and one for each node that is pruned. All of them wait their
/// errors out; none ends but by its own token.
#[derive(Debug)]
struct Running {
    tasks: JoinSet<()>,
    flows: Vec<Task<Flow>>,
    nodes: Vec<Task<Arc<Node>>>,
    streams: Arc<Streams>,
}

/// A task, and what it was started for.
#[derive(Debug)]
struct Task<T> {
    what: T,
    stop: CancellationToken,
    task: task::Id,
    state: watch::Receiver<State>,
}

impl Running {
    fn new() -> Self {
        let (flows, nodes) = (Vec::new(), Vec::new());
        Self { tasks: JoinSet::new(), flows, nodes, streams: Arc::default() }
    }

    /// Goes over to a configuration: what stands in it unchanged is left alone.
    async fn follow(&mut self, config: &Config) -> Result<()> {
        let mut wanted = config.active_flows()?;
        wanted.retain(|flow| !matches!(flow.mode, Mode::Once));
        if wanted.is_empty() {
            tracing::warn!("no active link has mode live or plan: there is nothing to do");
        }
        let nodes: Vec<Arc<Node>> = config.nodes.values().cloned().collect();
        self.end(|flow| wanted.contains(flow), |node| nodes.contains(node)).await;
        for flow in wanted {
            if !self.flows.iter().any(|running| running.what == flow) {
                self.start_flow(flow);
            }
        }
        for node in nodes {
            if !self.nodes.iter().any(|running| running.what == node) {
                let (stop, (_, state)) = (CancellationToken::new(), watch::channel(State::Stopped));
                let pruning = keep_pruned(Arc::clone(&node), stop.clone());
                let task = self.tasks.spawn(pruning).id();
                self.nodes.push(Task { what: node, stop, task, state });
            }
        }
        Ok(())
    }

    fn start_flow(&mut self, flow: Flow) {
        let (shown, state) = watch::channel(State::Connecting);
        let span = tracing::info_span!(
            "flow",
            link = %flow.links.join(","),
            from = %flow.source.name,
            to = %flow.target.name
        );
        let stop = CancellationToken::new();
        let streams = Arc::clone(&self.streams);
        let running = keep_running(flow.clone(), streams, stop.clone(), shown);
        let task = self.tasks.spawn(running.instrument(span)).id();
        self.flows.push(Task { what: flow, stop, task, state });
    }

    /// Ends the others. Each flow finishes what it is applying and acknowledges it.
    async fn end(
        &mut self,
        keep_flow: impl Fn(&Flow) -> bool,
        keep_node: impl Fn(&Arc<Node>) -> bool,
    ) {
        let mut ending = HashSet::new();
        take_out(&mut self.flows, keep_flow, &mut ending);
        take_out(&mut self.nodes, keep_node, &mut ending);
        let mut beat = interval(service::watchdog_interval());
        while !ending.is_empty() {
            tokio::select! {
                ended = self.tasks.join_next_with_id() => match ended {
                    None => break,
                    Some(Ok((id, ()))) => { ending.remove(&id); }
                    Some(Err(error)) => {
                        ending.remove(&error.id());
                        tracing::error!(%error, "a flow's task failed");
                    }
                },
                // A large part may take its time.
                _ = beat.tick() => service::alive(),
            }
        }
    }

    async fn finish(mut self) {
        self.end(|_| false, |_| false).await;
        self.streams.finish().await;
    }

    /// `2 streaming, 1 retrying`.
    fn summary(&self) -> String {
        let mut counts: Vec<(&'static str, usize)> = Vec::new();
        for running in &self.flows {
            let word = running.state.borrow().word();
            match counts.iter_mut().find(|(known, _)| *known == word) {
                Some((_, count)) => *count += 1,
                None => counts.push((word, 1)),
            }
        }
        let parts: Vec<String> =
            counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
        if parts.is_empty() { "no flows".to_owned() } else { parts.join(", ") }
    }
}

/// Tells those to stop that are not kept.
fn take_out<T>(
    running: &mut Vec<Task<T>>,
    keep: impl Fn(&T) -> bool,
    ending: &mut HashSet<task::Id>,
) {
    running.retain(|one| {
        let kept = keep(&one.what);
        if !kept {
            one.stop.cancel();
            ending.insert(one.task);
        }
        kept
    });
}

/// Runs until SIGTERM. `reload` reads the configuration again.
pub(crate) async fn run(config: Config, reload: impl Fn() -> Result<Config>) -> Result<()> {
    let mut signals = Signals::listen()?;
    let mut running = Running::new();
    running.follow(&config).await?;
    let mut beat = interval(service::watchdog_interval());
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    service::ready();
    loop {
        let request = tokio::select! {
            request = signals.next() => request,
            _ = beat.tick() => {
                service::alive();
                service::status(&running.summary());
                continue;
            }
            // One that ends before it is told to is a fault of ours, and the service manager's to
            // start anew.
            Some(ended) = running.tasks.join_next() => {
                let failed = Error::protocol("a flow's task failed");
                return Err(match ended {
                    Ok(()) => failed,
                    Err(error) => failed.caused_by(error),
                });
            }
        };
        match request {
            Request::Stop => break,
            Request::Reload => {
                service::reloading();
                match reload() {
                    Ok(config) => {
                        running.follow(&config).await?;
                        tracing::info!("configuration reloaded");
                    }
                    Err(error) => tracing::error!(
                        error = %error.chain(),
                        hint = error.hint_text(),
                        "the new configuration is not valid: the old one stays"
                    ),
                }
                service::ready();
            }
        }
    }
    tracing::info!("stopping");
    service::stopping();
    running.finish().await;
    Ok(())
}

async fn keep_pruned(node: Arc<Node>, stop: CancellationToken) {
    let mut wait = FIRST_PRUNE_AFTER;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(wait) => {}
        }
        wait = PRUNE_EVERY;
        match stop.run_until_cancelled(prune(&node)).await {
            None => return,
            Some(Ok(dropped)) => tracing::info!(node = %node.name, dropped, "pruned"),
            Some(Err(error)) => {
                tracing::warn!(error = %error.chain(), hint = error.hint_text(), "prune failed");
            }
        }
    }
}

/// Retention at one node, now; the number of entries or segments that went is the extension's.
pub(crate) async fn prune(node: &Arc<Node>) -> Result<i64> {
    let database = Database::connect(node, &SessionName::of_command("prune")).await?;
    let row = database
        .session
        .query_one("select syncjournal.prune()", &[])
        .await
        .map_err(|error| database.explain(error))?;
    row.try_get(0).map_err(|error| database.explain(error))
}
