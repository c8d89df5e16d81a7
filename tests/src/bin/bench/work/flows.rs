//! The work that is carried: many small transactions, a large one, and a mix.

use syncjournal_tests::Db;

use super::pgbench::{self, ROWS_A_SCALE, Run, SIMPLE};
use super::rows::{self, Key};
use crate::bench::Rows;
use crate::choice::Choice;
use crate::figures::Metric;
use crate::measure::{ROWS_A_SECOND, TPS, number};
use crate::pair::{Pair, Tables};

const SMALL: usize = 100_000;
const INSERTED: usize = 1_000_000;
const UPDATED: usize = 500_000;
const MIXED: usize = 5_000;
const MIXED_TABLES: usize = 20;
const MIXED_ROWS: usize = 5_000;
/// What a transaction of the mix writes: inserts, updates, a delete.
const MIXED_ENTRIES: usize = 11;

/// The sizes of one run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flows {
    accounts_scale: usize,
    small: usize,
    inserted: usize,
    updated: usize,
    mixed: usize,
    mixed_rows: usize,
}

/// A piece of work, its name for people, and how much it is.
pub(crate) struct Work {
    pub(crate) name: String,
    pub(crate) rate: Metric,
    pub(crate) amount: f64,
    /// Makes the same work possible again, where it was done before.
    again: Option<String>,
    make: Box<dyn Fn(&Db)>,
}

impl Flows {
    pub(crate) fn new(choice: &Choice) -> Self {
        Self {
            accounts_scale: choice.size(UPDATED / ROWS_A_SCALE, 1),
            small: choice.size(SMALL, 100),
            inserted: choice.size(INSERTED, 1000),
            updated: choice.size(UPDATED, 500),
            mixed: choice.size(MIXED, 20),
            mixed_rows: choice.size(MIXED_ROWS, 100),
        }
    }

    pub(crate) fn tables(self) -> Tables {
        let mixed: Vec<String> = mixed_tables().collect();
        let mut names = pgbench::TABLES.to_vec();
        names.extend(Key::BOTH.map(Key::table));
        names.extend(mixed.iter().map(String::as_str));
        Tables::one_way(&names)
    }

    pub(crate) fn fill(self, db: &Db, rows: Rows) {
        pgbench::fill(db, self.accounts_scale, rows);
        for key in Key::BOTH {
            rows::create(db, key.table(), key);
        }
        for table in mixed_tables() {
            rows::fill(db, &table, Key::Bigint, self.mixed_rows, rows);
        }
    }

    /// All of it, one after the other.
    pub(crate) fn works(self) -> Vec<Work> {
        let mut works = vec![self.small()];
        works.extend(Key::BOTH.map(|key| self.insert(key)));
        works.extend(self.updates());
        works.push(self.mix());
        works
    }

    fn small(self) -> Work {
        let count = self.small;
        let run = move |db: &Db| {
            // How durable the work was when it was done has no part in carrying it.
            Run::of(SIMPLE, 4).transactions(count).asynchronous(true).finish(db);
        };
        Work {
            name: format!("small: {count} transactions of simple-update"),
            rate: TPS,
            amount: number(count),
            again: None,
            make: Box::new(run),
        }
    }

    pub(crate) fn insert(self, key: Key) -> Work {
        let (count, table) = (self.inserted, key.table());
        let sql = rows::insert(table, key, 1, count);
        Work {
            name: format!("insert: {count} rows in one transaction, {}", key.name()),
            rate: ROWS_A_SECOND,
            amount: number(count),
            again: Some(format!("truncate {table}")),
            make: Box::new(move |db| db.exec(&sql)),
        }
    }

    fn updates(self) -> [Work; 2] {
        let (own, count) = (Key::Uuid, self.updated);
        // Behind the insert, which leaves more rows than these.
        let of_own = format!("update {} set n = n + 1 where n <= {count}", own.table());
        let of_accounts = "update pgbench_accounts set abalance = abalance + 1".to_owned();
        [
            Self::update(self.accounts_scale * ROWS_A_SCALE, "int key", of_accounts),
            Self::update(count, own.name(), of_own),
        ]
    }

    fn update(count: usize, key: &str, sql: String) -> Work {
        Work {
            name: format!("update: {count} rows in one transaction, {key}"),
            rate: ROWS_A_SECOND,
            amount: number(count),
            again: None,
            make: Box::new(move |db| db.exec(&sql)),
        }
    }

    fn mix(self) -> Work {
        let sql = mix(self.mixed, self.mixed_rows);
        Work {
            name: format!("mix: {} transactions on {MIXED_TABLES} tables", self.mixed),
            rate: ROWS_A_SECOND,
            amount: number(self.mixed * MIXED_ENTRIES),
            again: None,
            make: Box::new(move |db| db.exec(&sql)),
        }
    }
}

impl Work {
    /// Whether there is something to carry before the work can be done again.
    pub(crate) fn clear(&self, pair: &Pair) -> bool {
        if let Some(sql) = &self.again {
            pair.source.exec(sql);
        }
        self.again.is_some()
    }

    pub(crate) fn make(&self, db: &Db) {
        (self.make)(db);
    }
}

fn mixed_tables() -> impl Iterator<Item = String> {
    (1..=MIXED_TABLES).map(|n| format!("mix_{n}"))
}

/// Transactions that insert, update and delete in turn on the tables, each on another one. New ids go
/// on above the highest; the rows with the lowest are those that stay, and are updated.
fn mix(transactions: usize, rows: usize) -> String {
    format!(
        "do $$
         declare
             relation name;
             top bigint;
         begin
             perform set_config('synchronous_commit', 'off', false);
             for i in 1..{transactions} loop
                 relation := 'mix_' || (i % {MIXED_TABLES} + 1);
                 execute format('select max(id) from %I', relation) into top;
                 execute format('insert into %I select $1 + g, g, repeat(md5(g::text), 2), now()
                     from generate_series(1, 5) g', relation) using top;
                 execute format('update %I set n = n + 1 where id between $1 and $1 + 4', relation)
                     using 1 + (i * 7) % ({rows} - 5);
                 execute format('delete from %I where id = $1', relation) using top + 1;
                 commit;
             end loop;
             perform set_config('synchronous_commit', 'on', false);
         end
         $$"
    )
}
