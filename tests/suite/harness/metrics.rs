//! Reads values from a metrics page.

/// The value of the first line that begins with `series`.
pub fn value(page: &str, series: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}
