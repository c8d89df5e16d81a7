//! Random schedules: all nodes end equal, and no write disappears.
//!
//! `SYNCJOURNAL_SIM_SCHEDULES=5000000` runs longer, `SYNCJOURNAL_SIM_SEED=N` begins elsewhere (the
//! day's number, for one). A failing schedule prints the line that replays it.

use std::time::Instant;

use syncjournal_core::merge::Policy;
use syncjournal_sim::random::Random;
use syncjournal_sim::{Flaw, Plan, Report, run};

const SCHEDULES: u64 = 100_000;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn must(plan: &Plan) -> Report {
    match run(plan) {
        Ok(report) => report,
        Err(wrong) => panic!(
            "seed {seed}: {wrong}\nreplay: SYNCJOURNAL_SIM_SEED={seed} \
             SYNCJOURNAL_SIM_SCHEDULES=1 cargo test -p syncjournal-sim every_schedule\n{plan:?}",
            seed = plan.seed,
        ),
    }
}

#[test]
fn every_schedule_converges() {
    let first = setting("SYNCJOURNAL_SIM_SEED").unwrap_or(1);
    let schedules = setting("SYNCJOURNAL_SIM_SCHEDULES").unwrap_or(SCHEDULES);
    let begun = Instant::now();
    let mut total = Report::default();
    let mut largest = 0;
    for seed in first..first + schedules {
        let plan = Plan::of_seed(seed);
        let report = must(&plan);
        largest = largest.max(plan.nodes);
        total.writes += report.writes;
        total.conflicts += report.conflicts;
        total.merges += report.merges;
        total.resolutions += report.resolutions;
        total.rounds = total.rounds.max(report.rounds);
    }
    println!("{schedules} schedules, up to {largest} nodes, in {:.1?}: {total:?}", begun.elapsed());
}

#[test]
fn a_thousand_nodes_converge() {
    for seed in setting("SYNCJOURNAL_SIM_SEED").map_or(1..=1, |seed| seed..=seed) {
        let begun = Instant::now();
        let mut plan = Plan::with_nodes(seed, 1_000, &mut Random::new(seed));
        plan.links.extend((0..1_000).map(|node| (node, (node + 1) % 1_000)));
        plan.links.iter_mut().for_each(|(a, b)| (*a, *b) = ((*a).min(*b), (*a).max(*b)));
        plan.links.sort_unstable();
        plan.links.dedup();
        plan.rows = 200;
        plan.initial_rows = 100;
        plan.events = 2_000;
        plan.policy = Policy::MergeColumns;
        plan.counters = vec![plan.columns - 1];
        plan.truncates = false;
        let report = must(&plan);
        println!("1000 nodes in {:.1?}: {report:?} {:?}", begun.elapsed(), plan.policy);
    }
}

/// Seeds that once failed, with what they taught.
#[test]
fn schedules_that_once_failed() {
    for line in include_str!("regressions.txt").lines().filter(|line| !line.starts_with('#')) {
        let seed = line.split_whitespace().next().and_then(|word| word.parse().ok());
        must(&Plan::of_seed(seed.expect("a seed")));
    }
}

/// The oracle has eyes: with a rule left out, schedules fail.
fn notices(flaw: Flaw, applies: fn(&Plan) -> bool) {
    let plans = (1..200_000).map(Plan::of_seed).filter(applies).take(3_000);
    let noticed = plans
        .map(|plan| Plan { flaw: Some(flaw), ..plan })
        .find_map(|plan| run(&plan).err().map(|wrong| format!("seed {}: {wrong}", plan.seed)));
    println!("{flaw:?}: {noticed:?}");
    assert!(noticed.is_some(), "no schedule notices {flaw:?}");
}

#[test]
fn a_restored_node_needs_a_new_tag() {
    notices(Flaw::RestoreKeepsIdentity, |plan| plan.restores);
}

#[test]
fn what_a_peer_will_send_again_must_not_be_pruned() {
    notices(Flaw::PruneBeforeInbound, |plan| plan.prunes);
}

#[test]
fn an_insert_must_know_the_tombstone_of_its_identity() {
    notices(Flaw::InsertForgetsTombstone, |plan| plan.skew_micros > 0 && !plan.truncates);
}

#[test]
fn the_first_update_of_an_old_row_must_carry_it_whole() {
    notices(Flaw::PartialFirstUpdate, |plan| plan.initial_rows > 0);
}

#[test]
fn a_truncate_must_spare_what_its_node_had_not_seen() {
    notices(Flaw::TruncateAll, |plan| plan.truncates);
}
