//! All flows of `run`: starts them, stops them, starts them anew from a changed configuration.
//!
//! One task a flow; the supervisor itself only waits, and tells systemd that it does.

use crate::config::{Config, Flow, Mode, Node};
use crate::database::Database;
use crate::error::{Error, Result};
use crate::link::{State, keep_running};
use crate::net::SessionName;
use crate::service::{self, Request, Signals};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// Retention is counted in days: an hour more or less is nothing.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
/// The first prune comes after the links have had the servers to themselves.
const FIRST_PRUNE_AFTER: Duration = Duration::from_secs(60);

/// The running flows of one configuration.
#[derive(Debug)]
struct Flows {
    tasks: JoinSet<()>,
    stop: CancellationToken,
    states: Vec<watch::Receiver<State>>,
}

impl Flows {
    fn start(config: &Config) -> Self {
        let mut flows =
            Self { tasks: JoinSet::new(), stop: CancellationToken::new(), states: Vec::new() };
        for link in config.links.iter().filter(|link| link.active) {
            if matches!(link.mode, Mode::Once) {
                continue;
            }
            for flow in link.flows() {
                flows.start_flow(flow);
            }
        }
        if flows.states.is_empty() {
            tracing::warn!("no active link has mode live or plan: there is nothing to do");
        }
        for node in config.nodes.values() {
            flows.tasks.spawn(keep_pruned(Arc::clone(node), flows.stop.clone()));
        }
        flows
    }

    fn start_flow(&mut self, flow: Flow) {
        let (shown, state) = watch::channel(State::Connecting);
        let span = tracing::info_span!(
            "flow",
            link = %flow.link.name,
            from = %flow.source.name,
            to = %flow.target.name
        );
        self.tasks.spawn(keep_running(flow, self.stop.clone(), shown).instrument(span));
        self.states.push(state);
    }

    /// Each flow finishes what it is applying and acknowledges it.
    async fn finish(mut self) {
        self.stop.cancel();
        let mut beat = interval(service::watchdog_interval());
        loop {
            tokio::select! {
                ended = self.tasks.join_next() => match ended {
                    None => return,
                    Some(Err(error)) => tracing::error!(%error, "a flow's task failed"),
                    Some(Ok(())) => {}
                },
                // A large part may take its time.
                _ = beat.tick() => service::alive(),
            }
        }
    }

    /// `2 streaming, 1 retrying`.
    fn summary(&self) -> String {
        let mut counts: Vec<(&'static str, usize)> = Vec::new();
        for state in &self.states {
            let word = state.borrow().word();
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

/// Runs until SIGTERM. `reload` reads the configuration again.
pub(crate) async fn run(config: Config, reload: impl Fn() -> Result<Config>) -> Result<()> {
    let mut signals = Signals::listen()?;
    let mut flows = Flows::start(&config);
    let mut beat = interval(service::watchdog_interval());
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    service::ready();
    loop {
        let request = tokio::select! {
            request = signals.next() => request,
            _ = beat.tick() => {
                service::alive();
                service::status(&flows.summary());
                continue;
            }
            // Flows wait their errors out. One that ended otherwise is a fault of ours, and the
            // service manager's to start anew.
            Some(Err(error)) = flows.tasks.join_next() => {
                return Err(Error::protocol("a flow's task failed").caused_by(error));
            }
        };
        match request {
            Request::Stop => break,
            Request::Reload => {
                service::reloading();
                match reload() {
                    Ok(config) => {
                        flows.finish().await;
                        flows = Flows::start(&config);
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
    flows.finish().await;
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
