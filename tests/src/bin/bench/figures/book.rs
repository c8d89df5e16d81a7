//! The samples of one measurement.

use super::spread::Spread;

/// What counts as good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    More,
    Less,
}

/// What a number says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
}

impl Metric {
    pub(crate) const fn more(name: &'static str, unit: &'static str) -> Self {
        Self { name, unit, better: Better::More }
    }

    pub(crate) const fn less(name: &'static str, unit: &'static str) -> Self {
        Self { name, unit, better: Better::Less }
    }
}

/// One number of one system in one case, over the rounds.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) case: String,
    pub(crate) system: String,
    pub(crate) metric: Metric,
    /// With the round of each: ratios are of samples taken in the same round.
    pub(crate) samples: Vec<(usize, f64)>,
}

/// Everything that one measurement has found.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// The system that the others are divided by.
    pub(crate) baseline: &'static str,
    /// What the cases are numbers of, where they are: then they make a curve.
    pub(crate) axis: Option<&'static str>,
    pub(crate) cells: Vec<Cell>,
    pub(crate) notes: Vec<String>,
    pub(crate) round: usize,
}

impl Book {
    pub(crate) fn new(
        name: &'static str,
        about: &'static str,
        baseline: &'static str,
        axis: Option<&'static str>,
    ) -> Self {
        Self { name, about, baseline, axis, cells: Vec::new(), notes: Vec::new(), round: 0 }
    }

    /// Adds a sample of the current round.
    pub(crate) fn add(&mut self, case: &str, system: &str, metric: Metric, value: f64) {
        let round = self.round;
        let same =
            |cell: &&mut Cell| cell.case == case && cell.system == system && cell.metric == metric;
        match self.cells.iter_mut().find(same) {
            Some(cell) => cell.samples.push((round, value)),
            None => self.cells.push(Cell {
                case: case.to_owned(),
                system: system.to_owned(),
                metric,
                samples: vec![(round, value)],
            }),
        }
    }

    /// Adds something that the reader of the numbers must know; once.
    pub(crate) fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// The cases, in the order in which they were first met.
    pub(crate) fn cases(&self) -> Vec<&str> {
        distinct(self.cells.iter().map(|cell| cell.case.as_str()))
    }

    pub(crate) fn systems(&self) -> Vec<&str> {
        distinct(self.cells.iter().map(|cell| cell.system.as_str()))
    }

    pub(crate) fn metrics(&self) -> Vec<Metric> {
        distinct(self.cells.iter().map(|cell| cell.metric))
    }

    /// In the order in which a case has them.
    pub(crate) fn metrics_of(&self, case: &str) -> Vec<Metric> {
        distinct(self.cells.iter().filter(|cell| cell.case == case).map(|cell| cell.metric))
    }

    pub(crate) fn cell(&self, case: &str, system: &str, metric: Metric) -> Option<&Cell> {
        self.cells
            .iter()
            .find(|cell| cell.case == case && cell.system == system && cell.metric == metric)
    }

    /// A cell divided by the baseline's, round by round; none for the baseline itself.
    pub(crate) fn ratio(&self, cell: &Cell) -> Option<Spread> {
        if cell.system == self.baseline {
            return None;
        }
        let base = self.cell(&cell.case, self.baseline, cell.metric)?;
        let ratios = cell.samples.iter().filter_map(|(round, value)| {
            let (_, base) = base.samples.iter().find(|(other, _)| other == round)?;
            (*base > 0.0).then(|| value / base)
        });
        Spread::of(ratios)
    }
}

impl Cell {
    pub(crate) fn spread(&self) -> Spread {
        let spread = Spread::of(self.samples.iter().map(|(_, value)| *value));
        spread.expect("a cell is made with its first sample")
    }
}

fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    const TPS: Metric = Metric::more("tps", "1/s");

    #[test]
    fn ratios_are_taken_within_a_round() {
        let mut book = Book::new("x", "", "none", None);
        for (round, (none, ours)) in [(100.0, 90.0), (50.0, 50.0), (10.0, 4.0)].iter().enumerate() {
            book.round = round;
            book.add("case", "none", TPS, *none);
            book.add("case", "ours", TPS, *ours);
        }
        let ours = book.cell("case", "ours", TPS).unwrap();
        assert_eq!(book.ratio(ours), Some(Spread { median: 0.9, min: 0.4, max: 1.0 }));
        assert_eq!(book.ratio(book.cell("case", "none", TPS).unwrap()), None);
    }

    #[test]
    fn a_round_that_one_side_missed_gives_no_ratio() {
        let mut book = Book::new("x", "", "none", None);
        book.add("case", "none", TPS, 1.0);
        book.round = 1;
        book.add("case", "ours", TPS, 2.0);
        assert_eq!(book.ratio(book.cell("case", "ours", TPS).unwrap()), None);
        assert_eq!(book.systems(), ["none", "ours"]);
    }
}
