//! Every test on real clusters, as one binary: they share the clusters of [`syncjournal_tests::shared`].
//! One module for each topic.

mod agent;
mod agent_role;
mod bad_input;
mod capture;
mod chinook;
mod clone;
mod constraints;
mod convergence;
mod demo;
mod digest;
mod docs;
mod echo;
mod gates;
mod harness;
mod history;
mod keys;
mod merge;
mod natural;
mod node_and_peers;
mod nodes;
mod packs;
mod policies;
mod prune;
mod quarantine;
mod rows;
mod rules;
mod runs;
mod schema_check;
mod sets;
mod slices;
mod surface;
mod topology;
mod tracked_ddl;
mod tracking;
mod types;
