//! Measurements at several sizes: as a table, as a chart, and against a target.

use anyhow::Context as _;

use super::{
    super::{
        context::Bench,
        measure::Series,
        table::{Row, Table, Target},
    },
    plot::{Chart, Curve},
};

/// Target for the cost of an event at the largest size, relative to the smallest.
const MAX_RATIO: f64 = 1.5;

/// Measurements at several sizes.
pub struct Growth {
    pub title: String,
    /// Name of the quantity that grows.
    pub name: &'static str,
    /// Names and decimals of the columns. The target applies to the processor time in the second and third
    /// column.
    pub columns: [(&'static str, usize); 4],
    /// The figures of each size.
    pub sizes: Vec<(u32, [Series; 4])>,
}

/// Name of a case.
pub fn case(size: u32, of: &str) -> String {
    format!("{size} {of}")
}

impl Growth {
    /// The processor time of each process by size.
    pub fn chart(&self) -> Chart {
        let curve = |(n, (name, _)): (usize, &(&'static str, usize))| {
            let points =
                self.sizes.iter().map(|(size, figures)| (f64::from(*size), figures[n].summary().median));
            Some(Curve { process: process(name)?, points: points.collect() })
        };
        Chart { name: self.name, curves: self.columns.iter().enumerate().filter_map(curve).collect() }
    }

    /// Compares the largest size with the smallest. `None` if there is only one size.
    pub fn target(&self) -> Option<Target> {
        let [(smallest, before), .., (largest, after)] = &self.sizes[..] else { return None };
        let [before, after] =
            [before, after].map(|figures| figures[1].summary().median + figures[2].summary().median);
        let [a, b] = [self.columns[1], self.columns[2]].map(|(name, _)| process(name).unwrap_or(name));
        let text = format!(
            "with {} {a} and {b} use {after:.1} us per event, with {smallest} {before:.1} us (target: {MAX_RATIO} times that)",
            case(*largest, self.name)
        );
        Some(Target { met: after <= before * MAX_RATIO, text })
    }

    /// The table of all sizes.
    pub fn table(self) -> Table {
        let row = |(size, figures): (u32, [Series; 4])| Row {
            case: case(size, self.name),
            figures: figures.into(),
        };
        Table::new(self.title, &self.columns, self.sizes.into_iter().map(row).collect())
    }
}

/// The process whose processor time is in the column. `None`: the column shows something else.
fn process(column: &'static str) -> Option<&'static str> {
    column.strip_suffix(" CPU us")
}

/// Measures one size as often as the command line says.
pub async fn rounds(
    bench: &Bench,
    case: &str,
    mut one: impl AsyncFnMut() -> anyhow::Result<[f64; 4]>,
) -> anyhow::Result<[Series; 4]> {
    let mut figures = <[Series; 4]>::default();
    for round in 1..=bench.rounds {
        bench.progress.step(&format!("growth: {case}, round {round} of {}", bench.rounds));
        let measured = one().await.with_context(|| case.to_owned())?;
        for (series, figure) in figures.iter_mut().zip(measured) {
            series.push(figure);
        }
    }
    Ok(figures)
}
