//! The committed figures.

use std::fs;

use testkit::workspace;

/// A line each: instructions, allocations, system calls, and what was counted, with `|` between them.
pub(super) const RATCHET: &str = "xtask/instructions.txt";

const HEAD: &str = "\
# User-space instructions, allocations and system calls for a request and its reply (or for what the name says).
# `cargo xtask instructions --update` writes this, and docs/benchmarks/transforms.md; a commit that raises a figure says why.
";

/// What was counted of a case.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Figures {
    pub(super) instructions: f64,
    pub(super) allocations: f64,
    pub(super) calls: f64,
}

impl Figures {
    /// By how much these are more, for each of `parts`.
    pub(super) fn beyond(self, other: Self, parts: f64) -> Self {
        Self {
            instructions: (self.instructions - other.instructions) / parts,
            allocations: (self.allocations - other.allocations) / parts,
            calls: (self.calls - other.calls) / parts,
        }
    }
}

/// Names, and what was counted.
pub(super) type Named = Vec<(String, Figures)>;

/// The figures of this name.
pub(super) fn find(figures: &Named, name: &str) -> Option<Figures> {
    figures.iter().find(|(known, _)| known == name).map(|(_, figures)| *figures)
}

pub(super) fn read() -> Named {
    parse(&fs::read_to_string(workspace().join(RATCHET)).unwrap_or_default())
}

fn parse(text: &str) -> Named {
    let line = |line: &str| {
        let mut cells = line.splitn(4, '|').map(str::trim);
        let mut number = || cells.next()?.parse().ok();
        let figures = Figures { instructions: number()?, allocations: number()?, calls: number()? };
        Some((cells.next()?.to_owned(), figures))
    };
    text.lines().filter_map(line).collect()
}

/// Writes them, and says what a reader of the file will find: rounded figures.
pub(super) fn write(figures: &Named) -> Result<Named, String> {
    let line = |(name, Figures { instructions, allocations, calls }): &(String, Figures)| {
        // No minus in front of a zero.
        let (allocations, calls) = (allocations.max(0.0), calls.max(0.0));
        format!("{instructions:>8.1} | {allocations:>6.2} | {calls:>4.2} | {name}\n")
    };
    let lines: String = figures.iter().map(line).collect();
    let text = format!("{HEAD}{lines}");
    fs::write(workspace().join(RATCHET), &text).map_err(|error| format!("{RATCHET}: {error}"))?;
    Ok(parse(&text))
}
