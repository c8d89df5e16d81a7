//! `syncjournal-agent`.
mod conninfo;
mod error;
mod net;
mod pgoutput;
mod replication;
fn main() {}
