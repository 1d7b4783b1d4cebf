//! Processor time by size, as SVG: a chart for each thing that grows, a line for each process.

use std::path::Path;

use plotters::{coord::Shift, prelude::*};

/// Width of one chart and height, in pixels.
const SIZE: (u32, u32) = (400, 300);
/// Room beside the outermost sizes, as a factor.
const BESIDE: f64 = 1.4;
/// Room above the highest point, for the legend, as a factor.
const ABOVE: f64 = 1.5;

/// One chart.
pub struct Chart {
    /// What there is more and more of.
    pub of: &'static str,
    pub lines: Vec<Line>,
}

/// What one process used.
pub struct Line {
    pub process: &'static str,
    /// Size, and microseconds of processor time per event.
    pub points: Vec<(f64, f64)>,
}

/// Draws the charts side by side. White behind, so that they can be read on any page.
pub fn write(file: &Path, charts: &[Chart]) -> anyhow::Result<()> {
    let columns = charts.len().max(1);
    let width = SIZE.0 * u32::try_from(columns)?;
    let whole = SVGBackend::new(file, (width, SIZE.1)).into_drawing_area();
    whole.fill(&WHITE)?;
    for (area, chart) in whole.split_evenly((1, columns)).iter().zip(charts) {
        draw(area, chart)?;
    }
    Ok(whole.present()?)
}

fn draw(area: &DrawingArea<SVGBackend<'_>, Shift>, chart: &Chart) -> anyhow::Result<()> {
    let points = || chart.lines.iter().flat_map(|line| &line.points);
    let least = points().map(|point| point.0).fold(f64::INFINITY, f64::min);
    let most = points().map(|point| point.0).fold(0.0, f64::max);
    let highest = points().map(|point| point.1).fold(0.0, f64::max);
    let mut plane = ChartBuilder::on(area)
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(50)
        .build_cartesian_2d((least / BESIDE..most * BESIDE).log_scale(), 0.0..highest * ABOVE)?;
    plane
        .configure_mesh()
        .max_light_lines(1)
        .x_label_formatter(&|size| format!("10^{:.0}", size.log10()))
        .x_desc(chart.of)
        .y_desc("CPU us per event")
        .draw()?;
    for Line { process, points } in &chart.lines {
        let style = color(process).filled().stroke_width(2);
        plane
            .draw_series(LineSeries::new(points.iter().copied(), style).point_size(3))?
            .label(*process)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
    }
    plane
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE)
        .border_style(BLACK.mix(0.2))
        .draw()?;
    Ok(())
}

/// The same process has the same in every chart; ours are blue.
fn color(process: &str) -> RGBColor {
    match process {
        "mongod" => RGBColor(0, 140, 90),
        "nats-server" => RGBColor(210, 90, 0),
        _ => RGBColor(30, 90, 200),
    }
}
