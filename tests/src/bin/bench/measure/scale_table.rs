//! Cost against the size of the table.

use super::{Measurement, curve};
use crate::bench::Bench;
use crate::figures::Book;
use crate::pair::Tables;
use crate::work::pgbench::{self, ROWS_A_SCALE, Run, SIMPLE};

pub(super) const MEASUREMENT: Measurement = Measurement {
    name: "scale-table",
    about: "simple-update on tables of 1e5 to 1e7 rows: CPU of a transaction where it is captured, and \
            catching up with 20,000 of them.",
    baseline: "untracked",
    axis: Some("rows in the table"),
    run,
};

/// Of pgbench: 100,000 rows each.
const SCALES: [usize; 3] = [1, 10, 100];

fn run(bench: &Bench, book: &mut Book) {
    let tables = Tables::one_way(&pgbench::TABLES);
    let mut scales = SCALES.map(|scale| bench.choice.size(scale, 1)).to_vec();
    scales.dedup();
    for scale in scales {
        let case = (scale * ROWS_A_SCALE).to_string();
        let fill = |db: &_, rows| pgbench::fill(db, scale, rows);
        curve::point(bench, book, &case, &tables, fill, &Run::of(SIMPLE, 4));
    }
}
