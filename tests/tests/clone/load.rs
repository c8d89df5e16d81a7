//! Sessions that write while a clone runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use syncjournal_tests::{Db, Session};

/// Writes until it is told to stop.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<u64>>,
}

impl Load {
    /// Two sessions that insert from `first` on, update, delete, and touch without a change; what
    /// they touch begins with `common`.
    pub(super) fn start(db: &Db, first: i64, common: i64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..2)
            .map(|writer| {
                let (dsn, stop) = (db.dsn(), Arc::clone(&stop));
                std::thread::spawn(move || write(&dsn, first + writer * 100_000, common, &stop))
            })
            .collect();
        Self { stop, threads }
    }

    /// Returns how many transactions were committed.
    pub(super) fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().expect("a writer ends well")).sum()
    }
}

fn write(dsn: &str, first: i64, common: i64, stop: &AtomicBool) -> u64 {
    let mut session = Session::connect(dsn);
    let (mut done, mut step) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        step += 1;
        let id = first + step;
        let old = common + (id * 7919) % 20_000;
        let sql = match step % 6 {
            0 => format!("delete from item where id = {old}"),
            1 => format!("update item set label = label where id between {old} and {old} + 20"),
            2 => format!(
                "begin; insert into item values ({id}, 'two'); savepoint s;
                 update item set amount = amount + 1 where id = {old}; commit"
            ),
            3 => format!(
                "delete from item where id = {id} - 3; insert into item values (-{id}, 'back')"
            ),
            _ => format!(
                "insert into item values ({id}, 'one'); update item set label = 'new' where id = {old}"
            ),
        };
        // A deadlock with another writer is part of the game.
        if session.try_exec(&sql).is_ok() {
            done += 1;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    done
}
