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

/// The loads that `grid.json` in a folder has all blocks of. What another commit measured is no part of this run.
pub(crate) fn read(
    folder: &Path,
    commit: &str,
    known: &[Load],
    blocks: usize,
) -> Result<Vec<Measured>, String> {
    let file = folder.join("grid.json");
    let problem = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let text = match fs::read_to_string(&file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.map_err(|error| problem(&error))?,
    };
    let saved: Saved = serde_json::from_str(&text).map_err(|error| problem(&error))?;
    if saved.commit != commit {
        return Err(problem(&format!("it is of {}, and this is {commit}", saved.commit)));
    }
    let found = saved.loads.into_iter().filter(|saved| saved.blocks.len() >= blocks);
    let found = found.filter_map(|saved| {
        let load = known.iter().find(|load| load.name == saved.load.name)?;
        Some(Measured { load: Load { rate: saved.load.rate, ..*load }, blocks: saved.blocks })
    });
    Ok(found.collect())
}

#[cfg(test)]
mod tests {
    use super::read;
    use crate::results::tests::{LOAD, measured};

    #[test]
    fn what_is_complete_and_of_this_commit_is_read_back() {
        let folder = testkit::Scratch::new("saved").unwrap();
        assert!(read(folder.path(), "abc", &[LOAD], 3).unwrap().is_empty());
        let found = measured(LOAD, 3, &[("direct", 0), ("ours", 8000)]);
        let text = serde_json::json!({"commit": "abc", "loads": [found]}).to_string();
        folder.write("grid.json", &text).unwrap();
        let again = read(folder.path(), "abc", &[LOAD], 3).unwrap();
        assert_eq!(again[0].median("ours", |figures| figures.proxy_us()), Some(8.0));
        assert!(read(folder.path(), "abc", &[LOAD], 4).unwrap().is_empty());
        assert!(read(folder.path(), "abd", &[LOAD], 3).unwrap_err().contains("it is of abc"));
    }
}
