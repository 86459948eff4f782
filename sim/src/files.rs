//! What transforms of a simulated chain write: into a folder that is removed, and one line or file for each message.

use std::fs;
use std::path::{Path, PathBuf};

use crate::mixed::{Book, Event, Outcome, Part, log_files};

/// Where DebugLogToFile keeps messages, below the folder of the process.
const MESSAGES: &str = "message-log";

/// A folder of this process, in which it is until the end.
pub struct Scratch {
    folder: PathBuf,
    before: PathBuf,
}

impl Scratch {
    /// Makes the folder, and goes there.
    pub fn enter() -> std::io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("sim-{}", std::process::id()));
        let before = std::env::current_dir()?;
        fs::create_dir_all(&folder)?;
        std::env::set_current_dir(&folder)?;
        Ok(Self { folder, before })
    }

    /// Removes what the last run has left.
    pub fn empty(&self) -> Result<(), String> {
        let emptied = fs::read_dir(&self.folder).and_then(|mut entries| {
            entries.try_for_each(|entry| {
                let path = entry?.path();
                if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
            })
        });
        emptied.map_err(|problem| problem.to_string())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A folder that cannot be removed is in nobody's way.
        std::env::set_current_dir(&self.before)
            .and_then(|()| fs::remove_dir_all(&self.folder))
            .unwrap_or_default();
    }
}

/// Compares what was written with what came to an end, in a run without faults.
pub fn check(chain: &[Part], book: &Book) -> Result<(), String> {
    let is_failing = chain.contains(&Part::Fail);
    for (file, above) in log_files(chain) {
        let text = fs::read_to_string(&file).map_err(|problem| format!("{file}: {problem}"))?;
        let (lines, passed) = (text.lines().count() as u64, passed(above, book));
        // Requests of a client that is closed may not have come so far.
        if lines == 0 || (!is_failing && lines != passed) {
            return Err(format!("{lines} lines in {file} for {passed} requests"));
        }
    }
    let Some(at) = chain.iter().position(|part| *part == Part::ToFile) else { return Ok(()) };
    let (requests, responses) = (messages("requests")?, messages("responses")?);
    let passed = passed(chain.get(..at).unwrap_or_default(), book);
    let events = book.events.get(&Event::Heard).copied().unwrap_or_default();
    let is_kept = requests == passed && responses >= passed + events;
    if requests == 0 || (!is_failing && !is_kept) {
        return Err(format!("{requests} requests and {responses} replies kept of {passed}, {events} events"));
    }
    Ok(())
}

/// Requests that were not answered above.
fn passed(above: &[Part], book: &Book) -> u64 {
    let filters = above.iter().any(|part| matches!(part, Part::Filter(_)));
    let throttles = above.iter().any(|part| matches!(part, Part::Throttle { .. }));
    book.ended(|outcome| match outcome {
        Outcome::Filtered => !filters,
        Outcome::Throttled => !throttles,
        _ => true,
    })
}

/// Files of one side, of all clients.
fn messages(side: &str) -> Result<u64, String> {
    let count = |folder: &Path| fs::read_dir(folder).map(|files| files.count() as u64);
    let clients = fs::read_dir(MESSAGES).map_err(|problem| format!("{MESSAGES}: {problem}"))?;
    // Of a client that got no reply there is no folder.
    Ok(clients.flatten().filter_map(|client| count(&client.path().join(side)).ok()).sum())
}
