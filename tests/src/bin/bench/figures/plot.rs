//! Bars for the cases of a book: the ratio to the baseline where there is one, else the number itself.

use super::book::{Book, Metric};
use super::spread::Spread;
use super::svg::{Anchor, Svg, colour};
use super::table::number;

const LEFT: f64 = 60.0;
const TOP: f64 = 40.0;
const HEIGHT: f64 = 240.0;
const BAR: f64 = 16.0;
const GAP: f64 = 28.0;
/// Room for the name of a case below its bars.
const LEAST_GROUP: f64 = 130.0;

/// One picture for one metric; none where nothing was measured in it.
pub(crate) fn render(book: &Book, metric: Metric) -> Option<String> {
    if book.axis.is_some() {
        return super::curve::render(book, metric);
    }
    let cases: Vec<&str> = book.cases();
    let bars: Vec<Vec<(usize, Spread)>> =
        cases.iter().map(|case| group(book, case, metric)).collect();
    let top = bars.iter().flatten().map(|(_, spread)| spread.max).fold(0.0, f64::max);
    if top <= 0.0 {
        return None;
    }
    let most = f64::from(u32::try_from(bars.iter().map(Vec::len).max()?).ok()?);
    let group_width = (most * BAR + GAP).max(LEAST_GROUP);
    let count = f64::from(u32::try_from(cases.len()).ok()?);
    let mut svg = Svg::new(LEFT + count * group_width + 160.0, TOP + HEIGHT + 60.0);
    let relative = has_ratios(book, metric);
    let title = match relative {
        true => format!("{}: {} ÷ {}", book.name, metric.name, book.baseline),
        false => format!("{}: {} ({})", book.name, metric.name, metric.unit),
    };
    svg.text((LEFT, 20.0), Anchor::Start, &title);
    let y = |value: f64| TOP + HEIGHT * (1.0 - value / top);
    scale(&mut svg, top, LEFT + count * group_width);
    if relative {
        svg.line((LEFT, y(1.0)), (LEFT + count * group_width, y(1.0)), "#444444", 1.5);
    }
    let mut x = LEFT;
    for (case, bars) in cases.iter().zip(&bars) {
        let mut at = x + GAP / 2.0;
        for (system, spread) in bars {
            let height = y(0.0) - y(spread.median);
            svg.rectangle((at, y(spread.median)), (BAR - 3.0, height), colour(*system));
            let middle = at + (BAR - 3.0) / 2.0;
            svg.line((middle, y(spread.min)), (middle, y(spread.max)), "#000000", 1.0);
            at += BAR;
        }
        svg.text((x + group_width / 2.0, y(0.0) + 18.0), Anchor::Middle, case);
        x += group_width;
    }
    legend(&mut svg, &book.systems(), x + 10.0);
    Some(svg.finish())
}

/// The bars of one case, each with the place of its system in the legend.
fn group(book: &Book, case: &str, metric: Metric) -> Vec<(usize, Spread)> {
    let relative = has_ratios(book, metric);
    let systems = book.systems();
    let cells = systems.iter().enumerate();
    let bars = cells.filter_map(|(index, system)| {
        let cell = book.cell(case, system, metric)?;
        Some((index, if relative { book.ratio(cell)? } else { cell.spread() }))
    });
    bars.collect()
}

fn has_ratios(book: &Book, metric: Metric) -> bool {
    book.cells.iter().any(|cell| cell.metric == metric && book.ratio(cell).is_some())
}

fn scale(svg: &mut Svg, top: f64, right: f64) {
    for step in 0..=4 {
        let share = f64::from(step) / 4.0;
        let y = TOP + HEIGHT * (1.0 - share);
        svg.line((LEFT, y), (right, y), "#dddddd", 1.0);
        svg.text((LEFT - 6.0, y + 4.0), Anchor::End, &number(top * share));
    }
}

/// The names of the systems with their colours.
pub(crate) fn legend(svg: &mut Svg, systems: &[&str], x: f64) {
    let mut y = TOP;
    for (index, system) in systems.iter().enumerate() {
        svg.rectangle((x, y), (12.0, 12.0), colour(index));
        svg.text((x + 18.0, y + 10.0), Anchor::Start, system);
        y += 20.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_for_each_system_but_the_baseline() {
        let mut book = Book::new("capture", "", "untracked", None);
        let (tps, cpu) = (Metric::more("tps", "1/s"), Metric::less("cpu", "µs"));
        for (system, value) in [("untracked", 100.0), ("ours", 90.0), ("audit", 70.0)] {
            book.add("one client", system, tps, value);
        }
        let svg = render(&book, tps).unwrap();
        // The paper, two bars, and three squares of the legend.
        assert_eq!(svg.matches("<rect").count(), 6, "{svg}");
        assert!(svg.contains("tps ÷ untracked"), "{svg}");
        assert_eq!(render(&book, cpu), None);
    }
}
