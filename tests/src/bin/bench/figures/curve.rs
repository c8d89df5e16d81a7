//! A line for each system where the cases are numbers, on logarithmic axes.

use super::book::{Book, Metric};
use super::plot::legend;
use super::spread::Spread;
use super::svg::{Anchor, Svg, colour};
use super::table::number;

const LEFT: f64 = 70.0;
const TOP: f64 = 40.0;
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 260.0;

/// One logarithmic axis: from which value to which, over how many pixels.
struct Axis {
    least: f64,
    most: f64,
    length: f64,
}

impl Axis {
    fn over(values: &[f64], length: f64) -> Option<Self> {
        let spread = Spread::of(values.iter().copied().filter(|value| *value > 0.0))?;
        // A single value still needs some room about it.
        let (least, most) = match spread {
            Spread { min, max, .. } if min == max => (min / 2.0, max * 2.0),
            Spread { min, max, .. } => (min, max),
        };
        Some(Self { least, most, length })
    }

    fn place(&self, value: f64) -> f64 {
        let value = value.max(self.least);
        (value / self.least).ln() / (self.most / self.least).ln() * self.length
    }
}

/// One picture for one metric; none where nothing above zero was measured in it.
pub(crate) fn render(book: &Book, metric: Metric) -> Option<String> {
    let lines = lines(book, metric);
    let points = || lines.iter().flatten();
    let horizontal = Axis::over(&points().map(|(x, _)| *x).collect::<Vec<_>>(), WIDTH)?;
    let ends = points().flat_map(|(_, spread)| [spread.min, spread.max]);
    let vertical = Axis::over(&ends.collect::<Vec<_>>(), HEIGHT)?;
    let at = |x: f64, y: f64| (LEFT + horizontal.place(x), TOP + HEIGHT - vertical.place(y));

    let mut svg = Svg::new(LEFT + WIDTH + 170.0, TOP + HEIGHT + 60.0);
    let title = format!("{}: {} ({})", book.name, metric.name, metric.unit);
    svg.text((LEFT, 20.0), Anchor::Start, &title);
    for value in [vertical.least, (vertical.least * vertical.most).sqrt(), vertical.most] {
        let (left, y) = at(horizontal.least, value);
        svg.line((left, y), (left + WIDTH, y), "#dddddd", 1.0);
        svg.text((left - 6.0, y + 4.0), Anchor::End, &number(value));
    }
    for case in book.cases() {
        let (x, bottom) = at(case.parse().ok()?, vertical.least);
        svg.line((x, TOP), (x, bottom), "#eeeeee", 1.0);
        svg.text((x, bottom + 18.0), Anchor::Middle, &number(case.parse().ok()?));
    }
    let below = (LEFT + WIDTH / 2.0, TOP + HEIGHT + 40.0);
    svg.text(below, Anchor::Middle, book.axis.unwrap_or_default());
    for (index, line) in lines.iter().enumerate() {
        for pair in line.windows(2) {
            let [from, to] = [&pair[0], &pair[1]].map(|(x, spread)| at(*x, spread.median));
            svg.line(from, to, colour(index), 2.0);
        }
        for (x, spread) in line {
            svg.dot(at(*x, spread.median), colour(index));
            svg.line(at(*x, spread.min), at(*x, spread.max), colour(index), 1.0);
        }
    }
    legend(&mut svg, &book.systems(), LEFT + WIDTH + 20.0);
    Some(svg.finish())
}

/// The points of each system, in the order of the legend.
fn lines(book: &Book, metric: Metric) -> Vec<Vec<(f64, Spread)>> {
    let point = |case: &str, system: &str| {
        let cell = book.cell(case, system, metric)?;
        Some((case.parse().ok()?, cell.spread()))
    };
    let line = |system: &str| {
        book.cases().into_iter().filter_map(|case| point(case, system)).collect::<Vec<_>>()
    };
    book.systems().into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_goes_through_its_points() {
        let mut book = Book::new("scale-table", "", "untracked", Some("rows"));
        let cpu = Metric::less("CPU", "µs");
        for (rows, value) in [("1000", 10.0), ("100000", 10.0), ("10000000", 20.0)] {
            book.add(rows, "ours", cpu, value);
        }
        let svg = render(&book, cpu).unwrap();
        assert_eq!(svg.matches("<circle").count(), 3, "{svg}");
        assert!(svg.contains(">100,000</text>"), "{svg}");
        // The middle case stands in the middle: the axis is logarithmic.
        assert!(svg.contains(&format!("cx=\"{:.1}\"", LEFT + WIDTH / 2.0)), "{svg}");
    }

    #[test]
    fn a_lonely_point_is_drawn_too() {
        let mut book = Book::new("scale-table", "", "untracked", Some("rows"));
        book.add("7", "ours", Metric::less("CPU", "µs"), 3.0);
        assert!(render(&book, Metric::less("CPU", "µs")).unwrap().contains("<circle"));
        assert_eq!(render(&book, Metric::less("WAL", "B")), None);
    }
}
