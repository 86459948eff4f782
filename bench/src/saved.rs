//! What an earlier run of the grid has measured, so that one that was stopped can go on.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::results::{Block, Described, Load, Measured};

#[derive(Deserialize)]
struct Saved {
    commit: String,
    arms: Vec<Described>,
    loads: Vec<SavedLoad>,
}

#[derive(Deserialize)]
struct SavedLoad {
    command: String,
    load: Name,
    blocks: Vec<Block>,
}

#[derive(Deserialize)]
struct Name {
    name: String,
    rate: Option<u32>,
}

/// What `grid.json` in a folder says.
pub(crate) struct Grid {
    pub(crate) commit: String,
    pub(crate) arms: Vec<Described>,
    /// Its loads, as far as they are known.
    pub(crate) loads: Vec<Measured>,
}

/// Reads `grid.json` in a folder; `None` where there is no such file.
pub(crate) fn read(folder: &Path, known: &[Load]) -> Result<Option<Grid>, String> {
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
        let load = Load { rate: saved.load.rate, ..*load };
        Some(Measured { command: saved.command, load, blocks: saved.blocks })
    });
    Ok(Some(Grid { commit: saved.commit, arms: saved.arms, loads: found.collect() }))
}

/// The arms that a run of this commit has measured already, and the loads of which it has as many blocks.
pub(crate) fn measured(
    folder: &Path,
    commit: &str,
    known: &[Load],
    blocks: usize,
) -> Result<(Vec<Described>, Vec<Measured>), String> {
    let Some(mut grid) = read(folder, known)? else { return Ok(Default::default()) };
    if grid.commit != commit {
        let of = grid.commit;
        return Err(format!("the results in {} are of {of}, and this is {commit}", folder.display()));
    }
    grid.loads.retain(|load| load.blocks.len() >= blocks);
    grid.arms.retain(|arm| grid.loads.iter().any(|load| load.has(&arm.arm)));
    Ok((grid.arms, grid.loads))
}

#[cfg(test)]
mod tests {
    use crate::results::Described;
    use crate::results::tests::{LOAD, measured};

    #[test]
    fn what_is_complete_and_of_this_commit_is_read_back() {
        let folder = testkit::Scratch::new("saved").unwrap();
        assert!(super::measured(folder.path(), "abc", &[LOAD], 3).unwrap().1.is_empty());
        let found = measured(LOAD, 3, &[("direct", 0), ("ours", 8000)]);
        let arms = ["direct", "ours", "envoy"]
            .map(|arm| Described { arm: arm.to_owned(), version: "a version".to_owned() });
        let text = serde_json::json!({"commit": "abc", "arms": arms, "loads": [found]}).to_string();
        folder.write("grid.json", &text).unwrap();
        let (known, again) = super::measured(folder.path(), "abc", &[LOAD], 3).unwrap();
        assert_eq!(known, arms[..2]);
        assert_eq!(again[0].command, "bench");
        assert_eq!(again[0].median("ours", |figures| figures.proxy_us()), Some(8.0));
        assert!(super::measured(folder.path(), "abc", &[LOAD], 4).unwrap().1.is_empty());
        assert!(super::measured(folder.path(), "abd", &[LOAD], 3).unwrap_err().contains("are of abc"));
    }
}
