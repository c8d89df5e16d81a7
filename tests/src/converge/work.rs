//! Sessions that write at random to the same rows, and remember what the server acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use postgres::{Client, NoTls, SimpleQueryMessage};
use uuid::Uuid;

use crate::database::Db;
use crate::random::Random;

const ROWS: usize = 1000;
/// A fifth of all work meets on these.
const HOT_ROWS: usize = 10;
const TALLIES: usize = 20;
const WRITERS_PER_NODE: usize = 2;

/// Each node has the rows before it knows of any other: they have no version yet.
pub(super) const SCHEMA: &str = "
create table item (id uuid primary key, label text, note text, n int not null default 0);
create table part (id uuid primary key, item uuid not null, quantity int not null);
create table tally (id uuid primary key, label text, stock int8 not null default 0);
insert into item (id, label)
    select ('00000000-0000-0000-0000-' || lpad(i::text, 12, '0'))::uuid, 'item ' || i
    from generate_series(1, 1000) i;
insert into tally (id, label)
    select ('00000000-0000-0000-0001-' || lpad(i::text, 12, '0'))::uuid, 'tally ' || i
    from generate_series(1, 20) i;";

/// What was acknowledged.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) transactions: usize,
    /// Rows that stood at this version once.
    pub(super) versions: Vec<Uuid>,
    /// Deleted rows, each with the version that it had; none where it had never been written.
    pub(super) deletes: Vec<(Uuid, Option<Uuid>)>,
    /// The sum of all that was added to `tally.stock`.
    pub(super) stock: i64,
}

impl Done {
    pub(super) fn writes(&self) -> usize {
        self.versions.len() + self.deletes.len()
    }

    fn add(&mut self, other: Self) {
        self.transactions += other.transactions;
        self.versions.extend(other.versions);
        self.deletes.extend(other.deletes);
        self.stock += other.stock;
    }
}

/// The sessions of a run.
#[derive(Debug)]
pub(super) struct Writers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Done>>,
}

impl Writers {
    pub(super) fn start(nodes: &[Db; 3], random: &mut Random) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for db in nodes {
            for _ in 0..WRITERS_PER_NODE {
                let (dsn, stop, random) = (db.dsn(), Arc::clone(&stop), random.fork());
                threads.push(std::thread::spawn(move || write(&dsn, &stop, random)));
            }
        }
        Self { stop, threads }
    }

    #[track_caller]
    pub(super) fn stop(self) -> Done {
        self.stop.store(true, Ordering::Relaxed);
        let mut done = Done::default();
        for thread in self.threads {
            done.add(thread.join().expect("a writer ends well"));
        }
        done
    }
}

fn write(dsn: &str, stop: &AtomicBool, mut random: Random) -> Done {
    let mut client = Client::connect(dsn, NoTls).expect("the node answers");
    client.batch_execute("set lock_timeout = '3s'").expect("a setting");
    let mut done = Done::default();
    while !stop.load(Ordering::Relaxed) {
        let (statements, stock) = transaction(&mut random);
        match client.simple_query(&format!("begin; {statements}; commit")) {
            Ok(messages) => {
                done.transactions += 1;
                done.stock += stock;
                messages.into_iter().for_each(|message| note(&mut done, message));
            }
            Err(error) => {
                let code = error.as_db_error().map(|error| error.code().code().to_owned());
                // Deadlock with what apply writes, or a row that it holds while it is frozen.
                let expected = matches!(code.as_deref(), Some("40P01" | "55P03"));
                assert!(expected, "{error:?}\nin: {statements}");
                client.batch_execute("rollback").expect("the session is still there");
            }
        }
        std::thread::sleep(Duration::from_millis(random.below(40) as u64));
    }
    done
}

/// Each statement returns what it did to which row: `w`rote it, which has this version now, or
/// `d`eleted it, which had this one.
fn note(done: &mut Done, message: SimpleQueryMessage) {
    let SimpleQueryMessage::Row(row) = message else { return };
    let uuid = |column| row.get(column).map(|text: &str| text.parse::<Uuid>().expect("a uuid"));
    match row.get(0) {
        // An update that changed nothing leaves a row that was never written without a version.
        Some("w") => done.versions.extend(uuid(2)),
        _ => done.deletes.push((uuid(1).expect("every row has its identity"), uuid(2))),
    }
}

/// One transaction's statements, and what it adds to the stock.
fn transaction(random: &mut Random) -> (String, i64) {
    match random.below(20) {
        0..14 => (statement(random), 0),
        14..18 => count(random),
        // Rows in order, or the writers would only lock each other out.
        _ => {
            let mut rows: Vec<usize> = (0..2 + random.below(5)).map(|_| row(random)).collect();
            rows.sort_unstable();
            rows.dedup();
            let value = random.below(1000);
            let mut all: Vec<String> = rows
                .iter()
                .map(|&row| update(&format!("n = {value}, label = 'many {value}'"), row))
                .collect();
            let (counted, stock) = count(random);
            all.push(part(random));
            all.push(counted);
            (all.join("; "), stock)
        }
    }
}

fn statement(random: &mut Random) -> String {
    let (row, value) = (row(random), random.below(1000));
    let id = item(row);
    match random.below(20) {
        0..5 => update(&format!("label = 'label {value}'"), row),
        5..9 => update(&format!("n = {value}"), row),
        9..12 => update(&format!("note = 'note {value}', n = n + 1"), row),
        12 => update("note = null", row),
        13 => update("label = 'the same'", row),
        14..17 => format!(
            "insert into item values ('{id}', 'new {value}', null, {value})
             on conflict (id) do update set label = excluded.label
             returning 'w', id, sync_version"
        ),
        17..19 => format!("delete from item where id = '{id}' returning 'd', id, sync_version"),
        _ => part(random),
    }
}

fn update(set: &str, row: usize) -> String {
    format!("update item set {set} where id = '{}' returning 'w', id, sync_version", item(row))
}

fn part(random: &mut Random) -> String {
    let (row, part, value) = (row(random), random.below(200), random.below(50));
    let id = format!("00000000-0000-0000-0002-{part:012}");
    match random.below(4) {
        0 => format!("delete from part where id = '{id}' returning 'd', id, sync_version"),
        _ => format!(
            "insert into part values ('{id}', '{}', {value})
             on conflict (id) do update set quantity = excluded.quantity, item = excluded.item
             returning 'w', id, sync_version",
            item(row)
        ),
    }
}

fn count(random: &mut Random) -> (String, i64) {
    let (tally, value) = (1 + random.below(TALLIES), random.below(100));
    let by = i64::try_from(random.below(10)).expect("small") - 3;
    let label = if value < 20 { format!(", label = 'label {value}'") } else { String::new() };
    let statement = format!(
        "update tally set stock = stock + {by}{label}
         where id = '00000000-0000-0000-0001-{tally:012}' returning 'w', id, sync_version"
    );
    (statement, by)
}

fn row(random: &mut Random) -> usize {
    let among = if random.below(5) == 0 { HOT_ROWS } else { ROWS };
    1 + random.below(among)
}

fn item(row: usize) -> String {
    format!("00000000-0000-0000-0000-{row:012}")
}
