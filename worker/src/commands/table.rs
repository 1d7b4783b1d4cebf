//! Tables of fixed column widths, for output line by line. Pure.

/// Spaces between two columns.
const GAP: &str = "  ";

/// A column: its title and its width in characters. The last column of a table needs no width.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    title: &'static str,
    width: usize,
    is_number: bool,
}

impl Column {
    /// A column of texts, aligned to the left.
    pub const fn text(title: &'static str, width: usize) -> Self {
        Self { title, width, is_number: false }
    }

    /// A column of numbers, aligned to the right.
    pub const fn number(title: &'static str, width: usize) -> Self {
        Self { title, width, is_number: true }
    }

    fn cell(self, text: &str) -> String {
        let width = self.width;
        if self.is_number { format!("{text:>width$}") } else { format!("{text:<width$}") }
    }
}

/// The text without control characters, which a terminal would execute. A sender may have written it.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The line with the titles of the columns.
pub fn header<const N: usize>(columns: &[Column; N]) -> String {
    row(columns, columns.map(|column| column.title))
}

/// One line with a cell for each column.
pub fn row<const N: usize>(columns: &[Column; N], cells: [&str; N]) -> String {
    let cells: Vec<_> = columns.iter().zip(cells).map(|(column, cell)| column.cell(cell)).collect();
    cells.join(GAP).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_aligned_to_the_left_and_numbers_to_the_right() {
        let columns = [Column::text("NAME", 6), Column::number("SIZE", 5), Column::text("DETAIL", 0)];
        assert_eq!(header(&columns), "NAME     SIZE  DETAIL");
        assert_eq!(row(&columns, ["a", "12", "b"]), "a          12  b");
        assert_eq!(row(&columns, ["a", "12", ""]), "a          12");
    }
}
