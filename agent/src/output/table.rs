//! psql's aligned table: headings centred, numbers to the right, a count of rows.

use std::fmt::Write;

/// A table that is being filled.
#[derive(Debug)]
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(headings: &[&'static str]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new() }
    }

    /// One row; a cell for each heading.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().collect();
        debug_assert_eq!(cells.len(), self.headings.len());
        self.rows.push(cells);
    }

    pub(crate) fn render(&self) -> String {
        let widths: Vec<usize> = (0..self.headings.len())
            .map(|column| {
                let cells = self.rows.iter().map(|row| width(&row[column]));
                cells.chain([width(self.headings[column])]).max().unwrap_or(0)
            })
            .collect();
        let mut text = String::new();
        let headings: Vec<String> = (self.headings.iter().zip(&widths))
            .map(|(heading, width)| format!(" {heading:^width$} "))
            .collect();
        let rule: Vec<String> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}\n{}", headings.join("|").trim_end(), rule.join("+"));
        for row in &self.rows {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| aligned(cell, *width)).collect();
            let _ = writeln!(text, "{}", cells.join("|").trim_end());
        }
        let plural = if self.rows.len() == 1 { "" } else { "s" };
        let _ = writeln!(text, "({} row{plural})", self.rows.len());
        text
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

fn aligned(cell: &str, width: usize) -> String {
    let number = !cell.is_empty() && cell.chars().all(|c| c.is_ascii_digit() || c == '.');
    if number { format!(" {cell:>width$} ") } else { format!(" {cell:<width$} ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_like_psql() {
        let mut table = Table::new(&["link", "entries"]);
        table.row(["hq-branch".into(), "12".into()]);
        let expected =
            "   link    | entries\n-----------+---------\n hq-branch |      12\n(1 row)\n";
        assert_eq!(table.render(), expected);
    }
}
