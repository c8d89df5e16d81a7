//! A book as JSON: every sample, so that somebody else can reckon again.

use serde_json::{Value, json};

use super::book::{Better, Book, Cell};

pub(crate) fn render(book: &Book) -> Value {
    json!({
        "measurement": book.name,
        "about": book.about,
        "baseline": book.baseline,
        "axis": book.axis,
        "notes": book.notes,
        "results": book.cells.iter().map(|cell| result(book, cell)).collect::<Vec<_>>(),
    })
}

fn result(book: &Book, cell: &Cell) -> Value {
    let spread = cell.spread();
    let ratio = book
        .ratio(cell)
        .map(|ratio| json!({ "median": ratio.median, "min": ratio.min, "max": ratio.max }));
    let samples =
        cell.samples.iter().map(|(round, value)| json!({ "round": round, "value": value }));
    json!({
        "case": cell.case,
        "system": cell.system,
        "metric": cell.metric.name,
        "unit": cell.metric.unit,
        "better": if cell.metric.better == Better::More { "more" } else { "less" },
        "median": spread.median,
        "min": spread.min,
        "max": spread.max,
        "ratio": ratio,
        "samples": samples.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Metric;

    #[test]
    fn a_result_holds_its_samples() {
        let mut book = Book::new("apply", "", "native", None);
        book.add("bulk", "native", Metric::more("rows", "1/s"), 2.0);
        book.round = 1;
        book.add("bulk", "native", Metric::more("rows", "1/s"), 4.0);
        let json = render(&book);
        let result = &json["results"][0];
        assert_eq!(result["median"], 3.0);
        assert_eq!(result["ratio"], Value::Null);
        assert_eq!(result["samples"][1], json!({ "round": 1, "value": 4.0 }));
    }
}
