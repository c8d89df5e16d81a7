//! Which relation a frame is of, and whether it may pass.

use super::{Offer, Source};
use crate::config::Flow;
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::sync::Arc;
use syncjournal_core::RelationLayout;
use syncjournal_core::pattern::Selection;
use syncjournal_core::slice::{Audience, Lock};

/// The layouts met so far, each judged once by the two lists that the agent holds: the link's and
/// the source's for this peer. Layouts never change, so only a new list makes this start anew.
#[derive(Debug)]
pub(crate) struct Layouts {
    offer: Offer,
    offered: Selection,
    known: HashMap<i32, Passing>,
}

/// A layout, and what of its frames may pass.
#[derive(Debug, Clone)]
pub(crate) struct Passing {
    pub(crate) layout: Arc<RelationLayout>,
    pub(crate) audience: Arc<Audience>,
    pub(crate) locks: Arc<[Lock]>,
}

impl Layouts {
    pub(crate) fn new(offer: Offer) -> Result<Self> {
        let offered = offer.selection()?;
        Ok(Self { offer, offered, known: HashMap::new() })
    }

    pub(crate) fn knows(&self, layout_id: i32) -> bool {
        self.known.contains_key(&layout_id)
    }

    pub(crate) fn offer(&self) -> &Offer {
        &self.offer
    }

    /// The layout, and what of its frames may pass. Asks the source on the first meeting.
    pub(crate) async fn passing(
        &mut self,
        layout_id: i32,
        source: &Source,
        flow: &Flow,
    ) -> Result<Passing> {
        if let Some(known) = self.known.get(&layout_id) {
            return Ok(known.clone());
        }
        let slices = async {
            // Most peers have none.
            match self.offer.slices.is_empty() {
                true => Ok((Audience::Nothing, Vec::new())),
                false => source.slices_of(layout_id).await,
            }
        };
        let (layout, (by_slices, locks)) = tokio::try_join!(fetch(layout_id, source), slices)?;
        let (schema, table) = (&layout.schema, &layout.table);
        // A table with slices for this peer goes by these, and must not be excluded.
        let offered = match by_slices {
            Audience::Nothing => self.offered.selects(schema, table),
            _ => !self.offered.excludes(schema, table),
        };
        let audience = match by_slices {
            _ if !offered || !flow.selection.selects(schema, table) => Audience::Nothing,
            Audience::Nothing => Audience::Table,
            by_slices => by_slices,
        };
        let (layout, audience) = (Arc::new(layout), Arc::new(audience));
        let judged = Passing { layout, audience, locks: locks.into() };
        self.known.insert(layout_id, judged.clone());
        Ok(judged)
    }
}

async fn fetch(layout_id: i32, source: &Source) -> Result<RelationLayout> {
    let row = source
        .database
        .session
        .query_one("select syncjournal.layout_definition($1)", &[&layout_id])
        .await
        .map_err(|error| source.explain(error))?;
    let definition: Option<&[u8]> = row.try_get(0).map_err(|error| source.explain(error))?;
    let unreadable = || Error::protocol(format!("layout {layout_id} of the source cannot be read"));
    RelationLayout::decode(definition.ok_or_else(unreadable)?)
        .map_err(|error| source.explain(unreadable().caused_by(error)))
}
