//! Results as a table for people and as JSON.

use std::fmt;

use serde::Serialize;

use super::measure::{Series, Summary};

/// One column of figures.
#[derive(Debug, Serialize)]
struct Column {
    name: &'static str,
    #[serde(skip)]
    decimals: usize,
}

/// One case, a figure for each column.
#[derive(Debug, Serialize)]
pub struct Row {
    pub case: String,
    pub figures: Vec<Series>,
}

/// A table.
#[derive(Debug, Serialize)]
pub struct Table {
    title: String,
    columns: Vec<Column>,
    rows: Vec<Row>,
}

impl Table {
    /// With these columns, each by its name and the decimals shown.
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

/// Something that is to hold, in figures.
#[derive(Debug)]
pub struct Bar {
    pub met: bool,
    pub text: String,
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", if self.met { "ok    " } else { "MISSED" }, self.text)
    }
}
