//! Columns of text.

/// `rows` under `head`, each column as wide as its widest cell, two spaces between them.
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(width);
    for row in rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = width(cell).max(*widest);
        }
    }
    let mut text = line(head, widths);
    for row in rows {
        text.push_str(&line(row.each_ref().map(String::as_str), widths));
    }
    text
}

fn line<const N: usize>(cells: [&str; N], widths: [usize; N]) -> String {
    let mut line = String::new();
    for (cell, widest) in cells.iter().zip(widths) {
        line.push_str(cell);
        line.push_str(&" ".repeat(widest - width(cell) + 2));
    }
    format!("{}\n", line.trim_end())
}

fn width(cell: &str) -> usize {
    cell.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            ["bücher".to_owned(), "x".to_owned()],
            ["a".to_owned(), String::new()],
        ];
        let expected = "A       LONG\nbücher  x\na\n";
        assert_eq!(table(["A", "LONG"], &rows), expected);
    }
}
