//! The README's table of what the proxy costs, made from the grid's results.

use std::fs;

use testkit::workspace;

use crate::judge::median;
use crate::results::{Figures, Measured, Metric};
use crate::run::LOADS;
use crate::saved;
use crate::server::Kind;

/// The table stands between these lines.
const BEGIN: &str = "<!-- made by `cargo xtask bench readme` -->\n";
const END: &str = "<!-- until here -->\n";

/// Writes the table anew.
pub(crate) fn command() -> Result<(), String> {
    let folder = workspace().join("docs/benchmarks");
    let grid = saved::read(&folder, &LOADS)?.ok_or("no results: `cargo xtask bench` makes them, in hours")?;
    let file = workspace().join("README.md");
    let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let text = with_table(&text, &table(&grid.commit, &grid.loads))?;
    fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))
}

fn with_table(text: &str, table: &str) -> Result<String, String> {
    let parts = text.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = parts.ok_or("the README has no place for the table")?;
    Ok(format!("{before}{BEGIN}{table}{END}{after}"))
}

/// Closed loops and the open one on the server that costs least: there CPU can be compared.
fn table(commit: &str, loads: &[Measured]) -> String {
    let mut table = format!(
        "| at {commit}: clients x in flight | HAProxy | ours | ours, shared | upstream | requests/s: ours / HAProxy | \
         ours, shared / HAProxy |\n|---|--:|--:|--:|--:|--:|--:|\n"
    );
    for load in loads.iter().filter(|load| load.load.server == Kind::Cheap) {
        let Some(haproxy) = load.baseline() else { continue };
        let us =
            load.median(&haproxy, Figures::proxy_us).map_or_else(String::new, |us| format!("{us:.2} us"));
        let ratio = |arm: &str, metric: Metric| match load.ratios(arm, &haproxy, metric) {
            ratios if ratios.is_empty() => "-".to_owned(),
            ratios => format!("{:.2}", median(&ratios)),
        };
        let cpu = ["ours", "ours-shared", "upstream"].map(|arm| ratio(arm, Figures::proxy_us));
        let rate = ["ours", "ours-shared"].map(|arm| match load.load.rate {
            None => ratio(arm, Figures::throughput),
            Some(_) => "-".to_owned(),
        });
        table += &format!("| {} | {us} | {} | {} |\n", load.load.name, cpu.join(" | "), rate.join(" | "));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::{BEGIN, END, table, with_table};
    use crate::results::tests::{LOAD, measured};

    #[test]
    fn the_table_takes_the_place_of_the_one_before() {
        let loads = [measured(LOAD, 3, &[("haproxy-1", 10_000), ("ours", 9000), ("ours-shared", 5500)])];
        let made = table("abc", &loads);
        assert!(made.ends_with("| 64x1 | 10.00 us | 0.90 | 0.55 | - | 1.00 | 1.00 |\n"), "{made}");
        let text = format!("before\n{BEGIN}old\n{END}after\n");
        assert_eq!(with_table(&text, "new\n").unwrap(), format!("before\n{BEGIN}new\n{END}after\n"));
        assert!(with_table("no place", "new").is_err());
    }
}
