//! Reports: what a bench found, as a table for people and as JSON for programs.

use std::fs;
use std::thread;

use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use serde::Serialize;

/// What a bench found.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    bench: &'static str,
    /// What was done, in a sentence or two.
    method: String,
    machine: String,
    rows: Vec<Row>,
    notes: Vec<String>,
}

/// What was found of one contestant or of one round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    name: String,
    figures: Vec<Figure>,
}

#[derive(Debug, Clone, Serialize)]
struct Figure {
    name: &'static str,
    unit: &'static str,
    #[serde(flatten)]
    spread: Spread,
    #[serde(skip)]
    digits: usize,
}

/// The middle and the ends of several measurements.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    median: f64,
    low: f64,
    high: f64,
    rounds: usize,
}

impl Spread {
    /// Of at least one value; `None` of none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (*sorted.first()?, *sorted.last()?);
        let (left, right) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Some(Self { median: f64::midpoint(left, right), low, high, rounds: sorted.len() })
    }

    pub(crate) const fn median(self) -> f64 {
        self.median
    }
}

impl Row {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), figures: Vec::new() }
    }

    /// Adds a figure, shown with so many digits behind the point; nothing where there are no values.
    #[must_use]
    pub(crate) fn figure(
        mut self,
        name: &'static str,
        unit: &'static str,
        digits: usize,
        values: impl IntoIterator<Item = f64>,
    ) -> Self {
        let spread = Spread::of(values);
        self.figures.extend(spread.map(|spread| Figure { name, unit, spread, digits }));
        self
    }
}

impl Report {
    pub(crate) fn new(bench: &'static str, method: impl Into<String>) -> Self {
        Self { bench, method: method.into(), machine: machine(), rows: Vec::new(), notes: Vec::new() }
    }

    pub(crate) fn row(&mut self, row: Row) {
        self.rows.push(row);
    }

    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// As JSON, on one line.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a report is plain data")
    }

    /// As a table with a heading, which Markdown understands.
    pub(crate) fn to_table(&self) -> String {
        let mut columns: Vec<(&str, &str)> = Vec::new();
        for figure in self.rows.iter().flat_map(|row| &row.figures) {
            if !columns.contains(&(figure.name, figure.unit)) {
                columns.push((figure.name, figure.unit));
            }
        }
        let mut table = Table::new();
        table.load_style(ASCII_MARKDOWN);
        let heads = columns
            .iter()
            .map(|(name, unit)| if unit.is_empty() { (*name).to_owned() } else { format!("{name}, {unit}") });
        table.set_header(std::iter::once(self.bench.to_owned()).chain(heads));
        for row in &self.rows {
            let cells = columns.iter().map(|column| {
                let figure = row.figures.iter().find(|figure| (figure.name, figure.unit) == *column);
                figure.map_or_else(String::new, Figure::cell)
            });
            table.add_row(std::iter::once(row.name.clone()).chain(cells));
        }
        let notes: String = self.notes.iter().map(|note| format!("\n{note}")).collect();
        format!("{}\nMachine: {}\n\n{table}{notes}", self.method, self.machine)
    }
}

impl Figure {
    fn cell(&self) -> String {
        let Spread { median, low, high, rounds } = self.spread;
        let digits = self.digits;
        if rounds == 1 {
            return format!("{median:.digits$}");
        }
        format!("{median:.digits$} ({low:.digits$} to {high:.digits$})")
    }
}

fn machine() -> String {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores of {}, Linux {}", model.unwrap_or("an unnamed processor"), kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied()).map(|s| (s.low, s.median, s.high));
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some((1.0, 2.0, 3.0)));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 8.0]), Some((1.0, 3.0, 8.0)));
    }

    #[test]
    fn a_table_has_every_figure_in_its_column() {
        let mut report = Report::new("x", "done so");
        report.row(Row::new("a").figure("speed", "MB/s", 0, [1.0, 2.0, 3.0]));
        report.row(Row::new("b").figure("time", "s", 1, [0.25]));
        let table = report.to_table();
        let squeezed: String = table.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(squeezed.contains("| x | speed, MB/s | time, s |"), "{table}");
        assert!(squeezed.contains("| a | 2 (1 to 3) | |"), "{table}");
        assert!(squeezed.contains("| b | | 0.2 |"), "{table}");
    }
}
