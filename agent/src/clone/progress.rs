//! How far a clone is: a bar on a terminal, a line now and then elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

const BAR_EVERY: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(10);
const BAR_WIDTH: usize = 24;
/// What a block comes to on the way, until it is known.
const BYTES_A_BLOCK: f64 = 8192.0;

/// Counts, shared by the workers.
#[derive(Debug)]
pub(super) struct Progress {
    shown: bool,
    terminal: bool,
    begun: Instant,
    /// Came in earlier runs.
    bytes_before: i64,
    blocks: i64,
    rows: AtomicI64,
    bytes: AtomicI64,
    /// Of pieces that are complete.
    blocks_done: AtomicI64,
    bytes_done: AtomicI64,
    told: Mutex<Option<Instant>>,
}

/// What has come before this run.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Before {
    pub(super) rows: i64,
    pub(super) bytes: i64,
    pub(super) blocks: i64,
}

impl Progress {
    pub(super) fn new(shown: bool, blocks: i64, before: Before) -> Self {
        Self {
            shown,
            terminal: std::io::stderr().is_terminal(),
            begun: Instant::now(),
            bytes_before: before.bytes,
            blocks,
            rows: before.rows.into(),
            bytes: before.bytes.into(),
            blocks_done: before.blocks.into(),
            bytes_done: before.bytes.into(),
            told: Mutex::new(None),
        }
    }

    pub(super) fn bytes(&self, bytes: usize) {
        self.bytes.fetch_add(i64::try_from(bytes).unwrap_or(0), Ordering::Relaxed);
        self.tell(false);
    }

    pub(super) fn piece(&self, blocks: i64, rows: i64, bytes: i64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.blocks_done.fetch_add(blocks, Ordering::Relaxed);
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
        self.tell(false);
    }

    /// The last line; what comes next stands below the bar.
    pub(super) fn end(&self) {
        self.tell(true);
        if self.shown && self.terminal {
            let _ = writeln!(std::io::stderr());
        }
    }

    fn tell(&self, now: bool) {
        if !self.shown {
            return;
        }
        let every = if self.terminal { BAR_EVERY } else { LINE_EVERY };
        let Ok(mut told) = self.told.try_lock() else { return };
        let since = told.unwrap_or(self.begun).elapsed();
        if !now && since < every {
            return;
        }
        *told = Some(Instant::now());
        let line = self.line();
        if self.terminal {
            let _ = write!(std::io::stderr(), "\r{line}\x1b[K");
        } else {
            let _ = writeln!(std::io::stderr(), "syncjournal-agent: {line}");
        }
    }

    fn line(&self) -> String {
        let [rows, bytes, blocks_done, bytes_done] =
            [&self.rows, &self.bytes, &self.blocks_done, &self.bytes_done]
                .map(|count| count.load(Ordering::Relaxed));
        let seconds = self.begun.elapsed().as_secs_f64();
        let share = share(bytes, self.blocks, blocks_done, bytes_done);
        let left = time_left(seconds, (bytes - self.bytes_before) as f64, bytes as f64, share);
        let bar = if self.terminal { format!("[{}] ", bar(share)) } else { String::new() };
        format!("{bar}{:.0} %, {rows} rows, {}{left}", share * 100.0, human(bytes))
    }
}

/// The part of all that has come, as far as the blocks that are complete let it be known.
fn share(bytes: i64, blocks: i64, blocks_done: i64, bytes_done: i64) -> f64 {
    if blocks_done >= blocks {
        return 1.0;
    }
    let each = if blocks_done > 0 { bytes_done as f64 / blocks_done as f64 } else { BYTES_A_BLOCK };
    let all = each * blocks as f64;
    if all > 0.0 { (bytes as f64 / all).min(0.99) } else { 0.0 }
}

fn time_left(seconds: f64, came: f64, bytes: f64, share: f64) -> String {
    if share <= 0.0 || share >= 1.0 || came <= 0.0 || seconds < 1.0 {
        return String::new();
    }
    let left = bytes / share * (1.0 - share) / (came / seconds);
    let left = left as u64;
    format!(", {}:{:02} left", left / 60, left % 60)
}

fn bar(share: f64) -> String {
    let full = (share * BAR_WIDTH as f64) as usize;
    let rest = BAR_WIDTH - full.min(BAR_WIDTH);
    format!("{}{}", "=".repeat(BAR_WIDTH - rest), " ".repeat(rest))
}

/// Bytes as people read them.
pub(super) fn human(bytes: i64) -> String {
    let units = ["bytes", "kB", "MB", "GB", "TB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 10_240.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.0} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_follows_from_what_came() {
        assert_eq!(share(0, 100, 0, 0), 0.0);
        assert_eq!(share(500, 100, 50, 500), 0.5);
        assert_eq!(share(900, 100, 100, 900), 1.0);
        assert_eq!(time_left(10.0, 500.0, 500.0, 0.5), ", 0:10 left");
        assert_eq!(time_left(90.0, 100.0, 500.0, 0.5), ", 7:30 left");
        assert_eq!(bar(0.5), "=".repeat(12) + &" ".repeat(12));
        assert_eq!([human(900), human(52_428_800)], ["900 bytes", "50 MB"]);
    }
}
