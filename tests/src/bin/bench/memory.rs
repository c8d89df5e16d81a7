//! The most memory of its own that each of some processes, or any of their children, had.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(50);

/// Watches until it is stopped.
pub(crate) struct Peak {
    stop: Arc<AtomicBool>,
    watcher: JoinHandle<BTreeMap<&'static str, u64>>,
}

impl Peak {
    /// Watches each process and its children; anonymous memory only, so shared buffers do not count.
    pub(crate) fn watch(processes: &[(&'static str, u32)]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let processes = processes.to_vec();
        let watcher = std::thread::spawn(move || {
            let mut peaks = BTreeMap::new();
            while !stopped.load(Ordering::Relaxed) {
                for (name, process) in &processes {
                    let own = family(*process).into_iter().map(anonymous_kb).max().unwrap_or(0);
                    let peak = peaks.entry(*name).or_insert(0);
                    *peak = own.max(*peak);
                }
                std::thread::sleep(PAUSE);
            }
            peaks
        });
        Self { stop, watcher }
    }

    /// What it saw, for people.
    pub(crate) fn stop(self) -> String {
        self.stop.store(true, Ordering::Relaxed);
        let peaks = self.watcher.join().expect("the watcher does not panic");
        let each = peaks.into_iter().map(|(name, kb)| format!("{name} {} MB", kb / 1000));
        each.collect::<Vec<_>>().join(", ")
    }
}

fn family(process: u32) -> Vec<u32> {
    let children = format!("/proc/{process}/task/{process}/children");
    let children = std::fs::read_to_string(children).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    children.chain([process]).collect()
}

fn anonymous_kb(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}
