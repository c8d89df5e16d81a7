//! Waiting until nothing moves any more: every journal holds the same frames, for a while.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::database::Db;

/// Beside as long as was written: for links that wait between two attempts, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_millis(300);
/// Times that nothing may have changed.
const TIMES: usize = 3;
/// Frames that are shown where they are missing elsewhere.
const SHOWN: usize = 12;

/// The journal as a set. First copies are left out: whose copies a node got is not the same
/// everywhere, and the number of their backend has the highest bit (merges have the highest numbers).
const POSITION: &str = "
select count(*) || ' frames, ' || coalesce(bit_xor(uuid_hash_extended(frame, 0)), 0)
from syncjournal.journal_frame where get_byte(uuid_send(frame), 12) not between 128 and 254";

#[track_caller]
pub(super) fn wait(nodes: &[Db; 3], written: Duration) {
    let limit = PATIENCE + written;
    let start = Instant::now();
    let mut last = Vec::new();
    let mut times = 0;
    while times < TIMES {
        let now: Vec<String> = nodes.iter().map(|db| db.text(POSITION)).collect();
        let equal = now.iter().all(|position| *position == now[0]);
        times = if equal && now == last { times + 1 } else { 0 };
        if start.elapsed() >= limit {
            explain(nodes);
            panic!("waited {limit:?} in vain until all journals hold the same: {now:#?}");
        }
        last = now;
        std::thread::sleep(PAUSE);
    }
}

/// Prints the frames that one node has and another lacks, and what links say of themselves.
fn explain(nodes: &[Db; 3]) {
    let frames = nodes.each_ref().map(|db| {
        db.column::<String>(
            "select frame::text from syncjournal.journal_frame
             where get_byte(uuid_send(frame), 12) not between 128 and 254",
        )
    });
    let everywhere: HashSet<&String> =
        frames[0].iter().filter(|f| frames[1..].iter().all(|others| others.contains(f))).collect();
    for (db, own) in nodes.iter().zip(&frames) {
        let extra: Vec<&str> =
            own.iter().filter(|f| !everywhere.contains(f)).map(String::as_str).collect();
        eprintln!("{} has {} frames that not all have:", db.name(), extra.len());
        for frame in extra.iter().take(SHOWN) {
            print_rows(
                db,
                &format!(
                    "select j.frame, 'peer ' || j.origin, 'xid ' || j.xid, 'lsn ' || j.lsn, e.node,
                     e.relation, e.row_id, e.op, e.version, e.prev, e.merged, e.changed_at
                 from syncjournal.journal_frame j join syncjournal.journal_entry e using (frame)
                 where j.frame = '{frame}'"
                ),
            );
        }
        print_rows(db, "select * from syncjournal.stat_peer");
    }
}

fn print_rows(db: &Db, query: &str) {
    for row in db.rows(query) {
        let cells: Vec<&str> = row.iter().map(|cell| cell.as_deref().unwrap_or("-")).collect();
        eprintln!("  {}", cells.join(" | "));
    }
}
