//! `make converge`: three nodes in every topology under every policy, written and disturbed for a
//! minute each; what they end with is compared to the last bit.
//!
//! `SYNCJOURNAL_CONVERGE_SECONDS`, `…_TOPOLOGIES`, `…_POLICIES` (names with commas) and `…_SEED` say how
//! long, which, and with which chance.

use std::fmt::Debug;
use std::io::Write as _;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use syncjournal_tests::converge::{Policy, Report, Run, Topology};
use syncjournal_tests::{Cluster, Options, agent_binary};

fn main() -> ExitCode {
    let seconds = setting("SECONDS").map_or(60, |text| text.parse().expect("a number of seconds"));
    let seed = setting("SEED").map_or_else(now, |text| text.parse().expect("a number"));
    let topologies = chosen("TOPOLOGIES", &Topology::ALL);
    let policies = chosen("POLICIES", &Policy::ALL);
    agent_binary();
    let clusters: [Arc<Cluster>; 3] = std::array::from_fn(|_| Cluster::start(Options::default()));
    println!("SYNCJOURNAL_CONVERGE_SEED={seed}, {seconds} s each\n");
    println!(
        "{:<9} {:<18} {:>7} {:>7} {:>7} {:>17} {:>9} {:>5} {:>7}",
        "topology",
        "policy",
        "tx",
        "writes",
        "merges",
        "conflicts a/b/c",
        "resolved",
        "cuts",
        "equal s"
    );
    let mut failures = 0;
    for &topology in &topologies {
        for &policy in &policies {
            let run = Run { topology, policy, time: Duration::from_secs(seconds), seed };
            print!("{:<9} {:<18} ", topology.as_str(), policy.as_str());
            let _ = std::io::stdout().flush();
            // A difference is told on standard error; the other runs still tell something.
            let outcome = std::panic::catch_unwind(|| run.on(clusters.each_ref()));
            match outcome {
                Ok(report) => print_report(&report),
                Err(_) => {
                    println!("NOT EQUAL, see above");
                    failures += 1;
                }
            }
        }
    }
    let runs = topologies.len() * policies.len();
    println!("\n{} of {runs} runs ended equal", runs - failures);
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print_report(report: &Report) {
    let [a, b, c] = report.conflicts;
    println!(
        "{:>7} {:>7} {:>7} {:>17} {:>9} {:>5} {:>7.1}",
        report.transactions,
        report.writes,
        report.merges,
        format!("{a}/{b}/{c}"),
        report.resolved,
        report.cuts,
        report.until_equal.as_secs_f64()
    );
}

fn setting(name: &str) -> Option<String> {
    std::env::var(format!("SYNCJOURNAL_CONVERGE_{name}")).ok().filter(|text| !text.is_empty())
}

fn chosen<T: FromStr<Err: Debug> + Copy>(name: &str, all: &[T]) -> Vec<T> {
    let parse = |text: &str| text.trim().parse().expect("a name that there is");
    setting(name).map_or_else(|| all.to_vec(), |text| text.split(',').map(parse).collect())
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(1, |since| since.as_secs())
}
