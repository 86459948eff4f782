//! What an earlier run of the grid has measured, so that one that was stopped can go on.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::results::{Block, Load, Measured};

#[derive(Deserialize)]
struct Saved {
    commit: String,
    loads: Vec<SavedLoad>,
}

#[derive(Deserialize)]
struct SavedLoad {
    load: Name,
    blocks: Vec<Block>,
}

#[derive(Deserialize)]
struct Name {
    name: String,
    rate: Option<u32>,
}

/// The commit that was measured for `grid.json` in a folder, and its loads among those that are known; `None` where
/// there is no such file.
pub(crate) fn read(folder: &Path, known: &[Load]) -> Result<Option<(String, Vec<Measured>)>, String> {
    let file = folder.join("grid.json");
    let problem = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let text = match fs::read_to_string(&file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|error| problem(&error))?,
    };
    let saved: Saved = serde_json::from_str(&text).map_err(|error| problem(&error))?;
    let mut loads = saved.loads;
    // In the order of the grid, in whatever order they were measured.
    let found = known.iter().filter_map(|load| {
        let place = loads.iter().position(|saved| saved.load.name == load.name)?;
        let saved = loads.swap_remove(place);
        Some(Measured { load: Load { rate: saved.load.rate, ..*load }, blocks: saved.blocks })
    });
    Ok(Some((saved.commit, found.collect())))
}

/// The loads that a run of this commit has measured already, in as many blocks.
pub(crate) fn measured(
    folder: &Path,
    commit: &str,
    known: &[Load],
    blocks: usize,
) -> Result<Vec<Measured>, String> {
    let Some((saved, mut found)) = read(folder, known)? else { return Ok(Vec::new()) };
    if saved != commit {
        return Err(format!("the results in {} are of {saved}, and this is {commit}", folder.display()));
    }
    found.retain(|load| load.blocks.len() >= blocks);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use crate::results::tests::{LOAD, measured};

    #[test]
    fn what_is_complete_and_of_this_commit_is_read_back() {
        let folder = testkit::Scratch::new("saved").unwrap();
        assert!(super::measured(folder.path(), "abc", &[LOAD], 3).unwrap().is_empty());
        let found = measured(LOAD, 3, &[("direct", 0), ("ours", 8000)]);
        let text = serde_json::json!({"commit": "abc", "loads": [found]}).to_string();
        folder.write("grid.json", &text).unwrap();
        let again = super::measured(folder.path(), "abc", &[LOAD], 3).unwrap();
        assert_eq!(again[0].median("ours", |figures| figures.proxy_us()), Some(8.0));
        assert!(super::measured(folder.path(), "abc", &[LOAD], 4).unwrap().is_empty());
        assert!(super::measured(folder.path(), "abd", &[LOAD], 3).unwrap_err().contains("are of abc"));
    }
}
