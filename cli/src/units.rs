//! Numbers for people.

use bigarray::ndarray::Order;

/// So many bytes, in the largest unit of which there is at least one.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    match bytes.checked_ilog2().map_or(0, |log| log as usize / 10) {
        0 => format!("{bytes} B"),
        power => format!("{:.1} {}", bytes as f64 / (1_u64 << (10 * power)) as f64, UNITS[power - 1]),
    }
}

/// A shape as NumPy writes it.
pub(crate) fn shape(shape: &[usize]) -> String {
    match shape {
        [one] => format!("({one},)"),
        all => format!("({})", all.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// An order as NumPy writes it.
pub(crate) fn order(order: Order) -> &'static str {
    if order.is_row_major() { "C" } else { "F" }
}

/// Lines whose columns stand below each other; the last column is not filled up.
pub(crate) fn table(rows: &[Vec<String>], right: &[bool]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[column] - cell.chars().count());
            let is_right = right.get(column).copied().unwrap_or(false);
            line.push_str(if column > 0 { "  " } else { "" });
            line.push_str(&if is_right { format!("{pad}{cell}") } else { format!("{cell}{pad}") });
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_the_largest_unit() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
    }

    #[test]
    fn columns_stand_below_each_other() {
        let rows = [vec!["a".into(), "1".into(), "x".into()], vec!["bcd".into(), "20".into()]];
        assert_eq!(table(&rows, &[false, true]), "a     1  x\nbcd  20\n");
    }
}
