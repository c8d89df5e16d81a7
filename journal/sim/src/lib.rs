//! A seeded simulation of databases that write, part, meet again and merge.
//!
//! A *schedule* is one run, wholly made by its seed: how many nodes, joined in what shape, under
//! which policy; who writes what; which sets are lost, come twice or late; clocks that are hours
//! off, partitions, backups restored, journals pruned. At its end the network heals, everything is
//! delivered, and the [`oracle`] looks at what all nodes hold.
//!
//! The merge rules are those of `syncjournal-core`, called as the database calls them. Around them
//! a [`node::Node`] keeps what a database keeps: rows with versions, tombstones, a journal, a log in
//! order of commit, positions in the logs of its peers.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`random`] | the generator |
//! | [`plan`] | what a seed means |
//! | [`node`] | one database |
//! | [`host`] | its journal as the merge rules see it |
//! | [`world`] | the network, and what happens in it |
//! | [`oracle`] | what must hold at the end |

pub mod host;
pub mod node;
pub mod oracle;
pub mod plan;
pub mod random;
pub mod world;

pub use plan::{Flaw, Plan};
pub use world::{Report, run};
