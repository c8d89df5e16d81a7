//! Cost against the number of tables that are followed.

use std::io::Write as _;

use tempfile::NamedTempFile;

use super::{Measurement, curve};
use crate::bench::Bench;
use crate::figures::Book;
use crate::pair::Tables;
use crate::work::pgbench::Run;
use crate::work::rows::{self, Key};

pub(super) const MEASUREMENT: Measurement = Measurement {
    name: "scale-tables",
    about: "updates of one row of a table at random, with 1 to 1,000 tables: CPU of a transaction where \
            it is captured, and catching up with 20,000 of them.",
    baseline: "untracked",
    axis: Some("tables"),
    run,
};

const TABLES: [usize; 4] = [1, 10, 100, 1000];
const ROWS: usize = 100;

fn run(bench: &Bench, book: &mut Book) {
    for count in TABLES {
        let most = bench.choice.size(TABLES[TABLES.len() - 1], 10);
        if count > most {
            continue;
        }
        let names: Vec<String> = (1..=count).map(|n| format!("many_{n}")).collect();
        let tables = Tables::one_way(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let script = script(count);
        let fill = |db: &_, with| {
            for name in &names {
                rows::fill(db, name, Key::Bigint, ROWS, with);
            }
        };
        let work = Run::of_file(script.path(), 4);
        curve::point(bench, book, &count.to_string(), &tables, fill, &work);
    }
}

/// A table's name holds a number, which pgbench puts in only where it sends plain text.
fn script(tables: usize) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a temporary file can be made");
    let text = format!(
        "\\set t random(1, {tables})\n\\set row random(1, {ROWS})\n\
         update many_:t set n = n + 1 where id = :row;\n"
    );
    file.write_all(text.as_bytes()).expect("a temporary file is writable");
    file
}
