//! What capture costs rows that are wide, or hold a large value, of which little changes.

use syncjournal_tests::Db;

use super::Measurement;
use super::capture_bulk::statement;
use crate::bench::{Bench, Rows, take_turns};
use crate::figures::Book;
use crate::pair::Tables;

pub(super) const MEASUREMENT: Measurement = Measurement {
    name: "capture-wide",
    about: "one statement that changes an int in every row: of rows with 100 columns, and of rows with \
            a TOASTed text of 100 kB that stays as it is.",
    baseline: "untracked",
    axis: None,
    run,
};

const WIDE_ROWS: usize = 50_000;
const WIDE_COLUMNS: usize = 100;
const LARGE_ROWS: usize = 1_000;

fn run(bench: &Bench, book: &mut Book) {
    let (wide, large) = (bench.choice.size(WIDE_ROWS, 100), bench.choice.size(LARGE_ROWS, 20));
    let tables = Tables::one_way(&["wide", "large"]);
    let mut entrants = bench.enter(
        book,
        |does| does.capture,
        &tables,
        |db, rows| {
            create(db);
            if rows == Rows::All {
                fill(db, wide, large);
            }
        },
    );
    for round in 0..bench.rounds() {
        book.round = round;
        for (case, table, rows) in [
            ("one of 100 columns changed", "wide", wide),
            ("100 kB TOASTed column unchanged", "large", large),
        ] {
            let sql = format!("update {table} set n = n + 1");
            take_turns(book, &mut entrants, |entrant, book| {
                statement(entrant, book, case, &sql, rows);
            });
        }
    }
}

fn create(db: &Db) {
    let columns: String = (1..WIDE_COLUMNS).map(|n| format!(", c{n} int not null")).collect();
    db.exec(&format!("create table wide (id bigint primary key, n int not null{columns})"));
    db.exec("create table large (id bigint primary key, n int not null, document text not null)");
    // Random letters hardly compress; out of line all the same, whatever the compression.
    db.exec("alter table large alter column document set storage external");
}

fn fill(db: &Db, wide: usize, large: usize) {
    let values: String = (1..WIDE_COLUMNS).map(|n| format!(", i + {n}")).collect();
    db.exec(&format!("insert into wide select i, i{values} from generate_series(1, {wide}) i"));
    db.exec(&format!(
        "insert into large
         select i, i, (select string_agg(md5((i * 3200 + j)::text), '') from generate_series(1, 3200) j)
         from generate_series(1, {large}) i"
    ));
}
