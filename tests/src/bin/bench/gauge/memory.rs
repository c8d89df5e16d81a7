//! The most memory of its own that each of some processes, or any of their children, had.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(50);

/// Watches until it is stopped.
#[derive(Debug)]
pub(crate) struct Peak {
    stop: Arc<AtomicBool>,
    watcher: JoinHandle<BTreeMap<&'static str, f64>>,
}

impl Peak {
    /// Watches families of processes, each under a name; anonymous memory only, so shared buffers do
    /// not count. The largest process of a name is what counts, not the sum.
    pub(crate) fn watch(processes: Vec<(&'static str, u32)>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let watcher = std::thread::spawn(move || {
            let mut peaks = BTreeMap::new();
            loop {
                for (name, process) in &processes {
                    let own = largest(*process);
                    let peak = peaks.entry(*name).or_insert(0.0);
                    *peak = f64::max(own, *peak);
                }
                if stopped.load(Ordering::Relaxed) {
                    return peaks;
                }
                std::thread::sleep(PAUSE);
            }
        });
        Self { stop, watcher }
    }

    /// What it saw, in MiB.
    pub(crate) fn stop(self) -> BTreeMap<&'static str, f64> {
        self.stop.store(true, Ordering::Relaxed);
        self.watcher.join().expect("the watcher does not panic")
    }
}

/// The anonymous memory of the largest process of a family, in MiB.
pub(crate) fn largest(process: u32) -> f64 {
    super::family(process).into_iter().map(anonymous).fold(0.0, f64::max)
}

/// The anonymous memory of a process, in MiB; 0 where it is gone.
fn anonymous(process: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_kept() {
        let peak = Peak::watch(vec![("me", std::process::id())]);
        let memory = vec![1_u8; 64 << 20];
        std::thread::sleep(4 * PAUSE);
        drop(memory);
        let seen = peak.stop()["me"];
        assert!(seen > 60.0, "{seen} MiB");
    }
}
