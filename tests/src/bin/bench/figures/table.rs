//! A book as text.

use std::fmt::Write as _;

use super::book::{Better, Book, Cell};

/// A block for each case, a line for each number of each system; the arrow says what counts as good.
pub(crate) fn render(book: &Book) -> String {
    let mut text = format!("\n{}\n{}\n{}\n", book.name, "=".repeat(book.name.len()), book.about);
    for case in book.cases() {
        let case_title = match book.axis {
            Some(axis) => format!("{axis}: {}", grouped(case)),
            None => case.to_owned(),
        };
        let over = format!("÷ {}", book.baseline);
        let _ = writeln!(
            text,
            "\n{case_title}\n  {:<36} {:<18} {:>11} {:>23}  {over}",
            "", "system", "median", "min .. max"
        );
        for metric in book.metrics_of(case) {
            for system in book.systems() {
                if let Some(cell) = book.cell(case, system, metric) {
                    line(&mut text, book, cell);
                }
            }
        }
    }
    for note in &book.notes {
        let _ = writeln!(text, "\nnote: {note}");
    }
    text
}

fn line(text: &mut String, book: &Book, cell: &Cell) {
    let (spread, metric) = (cell.spread(), cell.metric);
    let better = if metric.better == Better::More { '↑' } else { '↓' };
    let what = format!("{better} {} ({})", metric.name, metric.unit);
    let ends = format!("{} .. {}", number(spread.min), number(spread.max));
    let ratio = match book.ratio(cell) {
        Some(ratio) => format!("{:.2} ({:.2} .. {:.2})", ratio.median, ratio.min, ratio.max),
        None if cell.system == book.baseline => "1".to_owned(),
        None => "-".to_owned(),
    };
    let _ = writeln!(
        text,
        "  {what:<36} {:<18} {:>11} {ends:>23}  {ratio}",
        cell.system,
        number(spread.median)
    );
}

/// Three digits that mean something, thousands apart.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 || v == 0.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        v if v >= 0.1 => 3,
        _ => 4,
    };
    grouped(&format!("{value:.digits$}"))
}

/// Commas between the thousands of a plain number; anything else stays as it is.
fn grouped(number: &str) -> String {
    let (sign, rest) = number.strip_prefix('-').map_or(("", number), |rest| ("-", rest));
    let (whole, fraction) = rest.split_once('.').map_or((rest, None), |(w, f)| (w, Some(f)));
    if whole.is_empty() || !whole.bytes().all(|byte| byte.is_ascii_digit()) {
        return number.to_owned();
    }
    let mut out = sign.to_owned();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    fraction.map_or(out.clone(), |fraction| format!("{out}.{fraction}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Metric;

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 1_234_567.0, -1234.4, 99.95, 3.0, 0.25, 0.012].map(number);
        assert_eq!(shown, ["0", "1,234,567", "-1,234", "100.0", "3.00", "0.250", "0.0120"]);
        assert_eq!(grouped("mixed"), "mixed");
    }

    #[test]
    fn every_number_has_its_line() {
        let mut book = Book::new("capture", "What it costs.", "untracked", None);
        let tps = Metric::more("tps", "1/s");
        book.add("one client", "untracked", tps, 1000.0);
        book.add("one client", "syncjournal", tps, 900.0);
        book.note("slow".to_owned());
        let text = render(&book);
        let line = text.lines().find(|line| line.contains("syncjournal")).unwrap();
        assert!(line.contains("↑ tps (1/s)"), "{text}");
        assert!(line.ends_with("0.90 (0.90 .. 0.90)"), "{text}");
        assert!(text.contains("\none client\n") && text.ends_with("note: slow\n"), "{text}");
    }
}
