//! Nothing: what the same work costs alone. Of native replication and pglogical the source's
//! transactions cost the same, since their capture is the WAL, which is there anyway.

use std::rc::Rc;

use super::{Does, Link, Peer};
use crate::pair::{Pair, Tables};

pub(crate) struct Untracked;

struct Nothing;

impl Link for Nothing {}

impl Peer for Untracked {
    fn name(&self) -> &'static str {
        "untracked"
    }

    fn look(&self) -> Result<String, String> {
        Ok("the server alone".to_owned())
    }

    fn does(&self) -> Does {
        Does { capture: true, carry: false, both_ways: false }
    }

    fn unlike(&self) -> &'static str {
        "captures nothing; wal_level is logical all the same, as native and pglogical need it"
    }

    fn prepare(&self, _: &Rc<Pair>, _: &Tables) -> Box<dyn Link> {
        Box::new(Nothing)
    }
}
