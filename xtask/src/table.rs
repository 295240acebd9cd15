//! A table on a terminal: columns as wide as what is in them.

/// The lines of a table. Columns from `numbers_from` on are aligned to the right.
pub(crate) fn lines(rows: &[Vec<String>], numbers_from: usize) -> Vec<String> {
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let cell = |column: usize, text: &String| match column < numbers_from {
        true => format!("{text:<w$}", w = width(column)),
        false => format!("{text:>w$}", w = width(column)),
    };
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().enumerate().map(|(i, c)| cell(i, c)).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_lines_up_on_the_left_and_numbers_on_the_right() {
        let rows = [["A", "B"], ["long", "x"], ["b", "12"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(lines(&rows, 2), ["A     B", "long  x", "b     12"]);
        assert_eq!(lines(&rows, 1), ["A      B", "long   x", "b     12"]);
    }
}
