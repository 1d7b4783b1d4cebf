//! Results as a table and as JSON.

use std::fmt;

use serde::Serialize;

use super::measure::{Series, Summary};

/// A column of figures.
#[derive(Debug, Serialize)]
struct Column {
    name: &'static str,
    #[serde(skip)]
    decimals: usize,
}

/// A case, with a figure for each column.
#[derive(Debug, Serialize)]
pub struct Row {
    pub case: String,
    pub figures: Vec<Series>,
}

/// The results of a benchmark.
#[derive(Debug, Serialize)]
pub struct Table {
    title: String,
    columns: Vec<Column>,
    rows: Vec<Row>,
}

impl Table {
    /// A table with these columns, each given by its name and its number of decimals.
    pub fn new(title: impl Into<String>, columns: &[(&'static str, usize)], rows: Vec<Row>) -> Self {
        let columns = columns.iter().map(|&(name, decimals)| Column { name, decimals }).collect();
        Self { title: title.into(), columns, rows }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.title)?;
        let cell = |figure: &Series, decimals: usize| {
            let Summary { median, least, most } = figure.summary();
            let text = |value: f64| format!("{value:.decimals$}");
            if median.is_nan() {
                String::new()
            } else {
                format!("{} ({}-{})", text(median), text(least), text(most))
            }
        };
        let rows: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| {
                row.figures.iter().zip(&self.columns).map(|(figure, c)| cell(figure, c.decimals)).collect()
            })
            .collect();
        let first = self.rows.iter().map(|row| row.case.len()).max().unwrap_or_default();
        let width = |n: usize| {
            let cells = rows.iter().map(|cells| cells[n].len());
            cells.max().unwrap_or_default().max(self.columns[n].name.len())
        };
        write!(f, "{:first$}", "")?;
        for (n, column) in self.columns.iter().enumerate() {
            write!(f, "  {:>1$}", column.name, width(n))?;
        }
        for (row, cells) in self.rows.iter().zip(&rows) {
            write!(f, "\n{:first$}", row.case)?;
            for (n, cell) in cells.iter().enumerate() {
                write!(f, "  {cell:>0$}", width(n))?;
            }
        }
        writeln!(f)
    }
}

/// A target, and whether the results meet it.
#[derive(Debug)]
pub struct Target {
    pub met: bool,
    pub text: String,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", if self.met { "ok    " } else { "MISSED" }, self.text)
    }
}
