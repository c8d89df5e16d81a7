use std::collections::BTreeMap;
use syncjournal_sim::{Plan, run};
fn main() {
    let n: u64 = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(2000);
    let mut kinds: BTreeMap<String, (usize, usize, Vec<(u64, usize, String)>)> = BTreeMap::new();
    for seed in 1..=n {
        let plan = Plan::of_seed(seed);
        let policy = format!("{:?}", plan.policy).split('(').next().unwrap().to_owned();
        let kind = format!("{policy} counters={} restores={} prunes={} truncates={}", !plan.counters.is_empty(), plan.restores, plan.prunes, plan.truncates);
        if std::env::var("V").is_ok() { eprintln!("seed {seed} {kind} n={} ev={}", plan.nodes, plan.events); }
        let result = std::panic::catch_unwind(|| run(&plan)).unwrap_or_else(|_| Err("panic".into()));
        let e = kinds.entry(kind).or_default();
        e.0 += 1;
        if let Err(w) = result { e.1 += 1; e.2.push((seed, plan.nodes * 100 + plan.events, w)); }
    }
    for (k, (n, bad, mut ex)) in kinds {
        ex.sort_by_key(|e| e.1);
        println!("{k}: {bad}/{n} {}", ex.first().map(|e| format!("seed {}: {}", e.0, e.2.chars().take(300).collect::<String>())).unwrap_or_default());
    }
}
