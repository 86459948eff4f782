//! What is checked out: results name the commit that they are of.

use std::process::Command;

use crate::fetch::workspace;

/// What the long commands write into the checkout is no change of what they measure.
const RESULTS: [&str; 2] = [":!docs/benchmarks", ":!docs/results"];

/// What `git` says in the checkout; nothing where there is none.
#[must_use]
pub fn git(arguments: &[&str]) -> String {
    let output = Command::new("git").current_dir(workspace()).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// The commit, and whether files differ from it that are no results.
#[must_use]
pub fn commit() -> String {
    let hash = git(&["rev-parse", "--short", "HEAD"]);
    let changes =
        git(&[&["status", "--porcelain", "--untracked-files=no", "--", "."], &RESULTS[..]].concat());
    if changes.is_empty() { hash } else { format!("{hash}-changed") }
}
