//! Both ends of a flow, met and registered with each other.

use crate::config::{Flow, LinkOptions};
use crate::database::Database;
use crate::error::{Error, Kind, Result};
use crate::net::SessionName;
use crate::source::{Offer, Purpose, Source, WindowMode};
use crate::target::Target;
use futures_util::future::join;
use std::time::Duration;
use syncjournal_core::Snapshot;
use tokio::time::{Instant, sleep};

/// A predecessor that was killed may still be at work in the server: so long is it waited for.
const CLAIM_PATIENCE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A running service has a backlog to bring: so long does a `sync` beside it wait for that.
const OTHER_AGENT_PATIENCE: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) flow: Flow,
    pub(crate) source: Source,
    pub(crate) target: Target,
    /// The source's name among the target's peers.
    pub(crate) target_peer: String,
}

impl Ends {
    /// Connects to both and sees that they can be a source and a target. Changes nothing there.
    pub(crate) async fn connect(flow: &Flow, name: &SessionName) -> Result<Self> {
        let (source, target) =
            tokio::try_join!(Source::connect(flow, name), Target::connect(&flow.target, name))?;
        let target_peer = flow.source.name.clone();
        let mut ends = Self { flow: flow.clone(), source, target, target_peer };
        ends.target.allow_backward = flow.options.allow_backward.unwrap_or(false);
        ends.check_identities()?;
        ends.check_ranks()?;
        tokio::try_join!(
            ends.source.database.commit_without_waiting(),
            ends.target.database.commit_without_waiting()
        )?;
        Ok(ends)
    }

    fn check_identities(&self) -> Result<()> {
        let (source, target) = (&self.source.database.identity, &self.target.database.identity);
        if source.node_id == target.node_id {
            let error = if self.source.database.instance == self.target.database.instance {
                Error::config("both ends are the same database")
            } else {
                let name = &source.name;
                Error::new(Kind::Prerequisite, format!("both ends are node \"{name}\""))
                    .detail("One of the two databases is a copy of the other.")
                    .hint("Give the copy an identity: select syncjournal.adopt_clone('name');")
            };
            return Err(error.at(&self.flow));
        }
        if source.tag == target.tag {
            return Err(Error::new(Kind::Prerequisite, "both nodes have the same tag")
                .detail("Versions of rows could not be told apart.")
                .hint("Drop and create the extension at one end, and create_node() again.")
                .at(&self.flow));
        }
        Ok(())
    }

    /// The target would refuse what comes: better before anything is made.
    fn check_ranks(&self) -> Result<()> {
        let (from, to) = (self.source.database.rank, self.target.database.rank);
        match from.zip(to) {
            Some((from, to)) if from > to && !self.target.allow_backward => {
                Err(Error::new(Kind::Prerequisite, "this push would go backward")
                    .detail(format!("The source has rank {from}, the target {to}."))
                    .hint("If it is meant to: allow_backward = true in the link.")
                    .at(&self.flow))
            }
            _ => Ok(()),
        }
    }

    /// Makes each end known at the other, under the nodes' names; one that a person has registered
    /// already keeps the name it has.
    pub(crate) async fn register(&mut self) -> Result<()> {
        let way = |one: &'static str| if self.flow.two_way { "both" } else { one };
        let (source, target) = (&self.source.database, &self.target.database);
        let peer = register(source, target, way("send"), &self.flow.options.at_source()).await?;
        let options = &self.flow.options.at_target();
        self.target_peer = register(target, source, way("receive"), options).await?;
        source.link_selects(&peer, &self.flow).await?;
        self.source.peer = peer;
        Ok(())
    }

    /// Takes the flow for this session; waits for one that has it.
    pub(crate) async fn claim(&self) -> Result<()> {
        let until = Instant::now() + CLAIM_PATIENCE;
        while !self.try_claim().await? {
            self.wait_until(until).await?;
        }
        Ok(())
    }

    /// Takes the flow if no other session has it.
    pub(crate) async fn try_claim(&self) -> Result<bool> {
        self.target.database.claim(self.source.database.identity.node_id).await
    }

    /// Lets the flow go, for another session to take it at once.
    pub(crate) async fn release(&self) -> Result<()> {
        let target = &self.target.database;
        let unlocked = target.session.execute("select pg_catalog.pg_advisory_unlock_all()", &[]);
        unlocked.await.map_err(|error| target.explain(error))?;
        Ok(())
    }

    /// Waits until the agent that has the flow has brought everything.
    pub(crate) async fn await_other_agent(&self) -> Result<()> {
        let until = Instant::now() + OTHER_AGENT_PATIENCE;
        while self.source.is_ahead().await? {
            self.wait_until(until).await?;
        }
        Ok(())
    }

    async fn wait_until(&self, until: Instant) -> Result<()> {
        if Instant::now() >= until {
            return Err(Error::new(Kind::Connection, "another agent is at work on this flow")
                .at(&self.flow)
                .hint("Look for application_name syncjournal/ in the target's pg_stat_activity."));
        }
        sleep(LOOK_EVERY).await;
        Ok(())
    }

    /// The source's offer to this target.
    pub(crate) async fn offer(&self) -> Result<Offer> {
        let offer = self.source.offer().await?;
        if !offer.sends {
            return Err(self.source.explain(
                Error::new(
                    Kind::Prerequisite,
                    format!("peer \"{}\" may not receive from here", self.source.peer),
                )
                .hint("select syncjournal.alter_peer(name, direction => 'both');"),
            ));
        }
        Ok(offer)
    }

    /// Whether each end has the other switched on. A target that does not know yet that the source has
    /// switched it off is told; its own switch is nobody else's affair, and neither switches the other on.
    pub(crate) async fn is_open(&mut self) -> Result<bool> {
        Ok(self.open_offer().await?.is_some())
    }

    /// The source's offer, where both ends are switched on.
    pub(crate) async fn open_offer(&mut self) -> Result<Option<Offer>> {
        let (offer, taken) = join(self.offer(), self.target.takes_from(&self.target_peer)).await;
        let (offer, taken) = (offer?, taken?);
        let offered = offer.active;
        if taken && !offered && self.flow.carries_switch {
            self.tell_switched_off().await?;
        }
        Ok((offered && taken).then_some(offer))
    }

    /// [`Self::is_open`] before the ends have met, for a trial: nobody is told anything.
    pub(crate) async fn would_be_open(&mut self) -> Result<bool> {
        let (source, target) = (&self.source.database, &self.target.database);
        let known = source.peer_of(&target.identity, &self.flow.target.name).await?;
        if let Some(peer) = known {
            self.source.peer = peer;
        }
        let offered = self.offer_if_known().await?.is_none_or(|offer| offer.active);
        Ok(offered && self.target.takes_from(&self.target_peer).await?)
    }

    /// Brings the set that says so. It leads nowhere: no position is confirmed by it.
    async fn tell_switched_off(&mut self) -> Result<()> {
        let mut window = self.source.window(WindowMode::Notice, &self.flow, Purpose::Apply).await?;
        while let Some(part) = window.next().await? {
            self.target.apply(&part.data, part.continues).await?;
        }
        window.finish().await?;
        tracing::warn!("the source has switched this link off: it is off at the target, too");
        Ok(())
    }

    /// The offer, if the source has heard of the target.
    pub(crate) async fn offer_if_known(&self) -> Result<Option<Offer>> {
        match self.source.database.has_peer(&self.source.peer).await? {
            true => self.offer().await.map(Some),
            false => Ok(None),
        }
    }

    /// How far the target has come with the source.
    pub(crate) async fn position(&self) -> Result<Option<Snapshot>> {
        self.target.position(self.source.database.identity.node_id).await
    }
}

async fn register(
    here: &Database,
    there: &Database,
    direction: &str,
    options: &LinkOptions,
) -> Result<String> {
    here.register(&there.node.name, Some(there.identity.node_id), direction, options).await
}
