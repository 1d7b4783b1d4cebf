//! Draws processor time by size as SVG: a chart per quantity that grows, a curve per process.

use std::path::Path;

use plotters::{coord::Shift, prelude::*};

/// Width and height of a chart, in pixels.
const SIZE: (u32, u32) = (400, 300);
/// Factor by which the x axis extends beyond the smallest and the largest size.
const X_MARGIN: f64 = 1.4;
/// Factor by which the y axis extends above the highest point, for the legend.
const Y_MARGIN: f64 = 1.5;

/// A chart.
pub struct Chart {
    /// Name of the quantity that grows.
    pub name: &'static str,
    pub curves: Vec<Curve>,
}

/// Processor time of a process.
pub struct Curve {
    pub process: &'static str,
    /// Size, and microseconds of processor time per event.
    pub points: Vec<(f64, f64)>,
}

/// Draws the charts side by side on a white background.
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
    let points = || chart.curves.iter().flat_map(|curve| &curve.points);
    let least = points().map(|point| point.0).fold(f64::INFINITY, f64::min);
    let most = points().map(|point| point.0).fold(0.0, f64::max);
    let highest = points().map(|point| point.1).fold(0.0, f64::max);
    let mut plane = ChartBuilder::on(area)
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(50)
        .build_cartesian_2d((least / X_MARGIN..most * X_MARGIN).log_scale(), 0.0..highest * Y_MARGIN)?;
    plane
        .configure_mesh()
        .max_light_lines(1)
        .x_label_formatter(&|size| format!("10^{:.0}", size.log10()))
        .x_desc(chart.name)
        .y_desc("CPU us per event")
        .draw()?;
    for Curve { process, points } in &chart.curves {
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

/// Colour of a process, the same in every chart. Gateway and worker are blue.
fn color(process: &str) -> RGBColor {
    match process {
        "mongod" => RGBColor(0, 140, 90),
        "nats-server" => RGBColor(210, 90, 0),
        _ => RGBColor(30, 90, 200),
    }
}
