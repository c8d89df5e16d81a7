//! A few seconds of what `make converge` does for a minute each.
//!
//! `SYNCJOURNAL_SEED` replays the chances of a run (not the servers' timing).

use std::time::Duration;

use syncjournal_tests::converge::{Policy, Run, Topology};
use syncjournal_tests::shared;

#[track_caller]
fn run(topology: Topology, policy: Policy) {
    let chosen = std::env::var("SYNCJOURNAL_SEED").ok().and_then(|text| text.parse().ok());
    let seed = chosen.unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("SYNCJOURNAL_SEED={seed}");
    let run = Run { topology, policy, time: Duration::from_secs(6), seed };
    let report = run.on([shared(0), shared(1), shared(2)]);
    eprintln!("{report:#?}");
    assert!(report.writes > 100, "hardly anything was written: {report:?}");
}

#[test]
fn a_ring_ends_equal_under_last_update_wins() {
    run(Topology::Ring, Policy::LastUpdateWins);
}

#[test]
fn a_ring_ends_equal_under_merge_columns() {
    run(Topology::Ring, Policy::MergeColumns);
}

#[test]
fn a_ring_ends_equal_under_manual_once_somebody_has_resolved() {
    run(Topology::Ring, Policy::Manual);
}

#[test]
fn a_hub_ends_equal_under_node_priority() {
    run(Topology::Hub, Policy::NodePriority);
}

#[test]
fn a_mesh_ends_equal_under_a_function_of_ones_own() {
    run(Topology::Mesh, Policy::Custom);
}
