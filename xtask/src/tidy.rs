//! The rules of the house that no compiler checks: who imports whom, sizes, names, reasons, the map.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::workspace;

/// Lines of a file. What is longer holds two things.
const FILE_LINES_MAX: usize = 600;

/// Which rooms a room may depend on. Rooms that are not here may depend on all.
const MAY_IMPORT: [(&str, &[&str]); 8] = [
    ("wire", &[]),
    ("config", &[]),
    ("observe", &[]),
    ("chain", &["wire", "observe"]),
    ("net", &["chain"]),
    ("sources", &["chain", "wire", "observe"]),
    ("transforms", &["chain", "wire", "config", "observe"]),
    ("sinks", &["chain", "wire", "config", "observe"]),
];

/// Rooms that may not know of a runtime, a socket or a thread.
const PURE: [&str; 6] = ["wire", "config", "chain", "sources", "transforms", "sinks"];

/// Names that say nothing of what is inside.
const EMPTY_NAMES: [&str; 6] = ["util", "utils", "helper", "common", "misc", "manager"];

/// Rooms whose copies are counted: there, bytes are copied by `Pool::copy` only.
const DATA_PATH: [&str; 4] = ["chain", "net", "sources", "sinks"];

/// Ways to copy bytes that nobody would count.
const COPIES: [&str; 5] =
    [".copy_from_slice(", ".extend_from_slice(", ".to_vec()", ".copy_within(", ".clone_from_slice("];

/// The line that stands between the map's rooms and their folders.
const MAP: &str = "ARCHITECTURE.md";

pub(crate) fn run() -> Result<(), String> {
    let mut found = Vec::new();
    let files = tracked_files();
    for file in &files {
        let shown = file.to_string_lossy().into_owned();
        let Ok(text) = fs::read_to_string(workspace().join(file)) else { continue };
        check_paths(&shown, &text, &mut found);
        if shown.ends_with(".rs") {
            check_source(&shown, &text, &mut found);
        }
        if shown.ends_with("Cargo.toml") {
            check_manifest(&shown, &text, &mut found);
        }
    }
    check_map(&mut found);
    if found.is_empty() {
        println!("{} files are tidy", files.len());
        return Ok(());
    }
    Err(found.join("\n"))
}

/// What git tracks, and what it would.
fn tracked_files() -> Vec<PathBuf> {
    let list = Command::new("git")
        .current_dir(workspace())
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .output();
    let text = list.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().map(PathBuf::from).filter(|file| !file.starts_with("fuzz/corpus")).collect()
}

/// A path of one machine works on that machine only.
fn check_paths(file: &str, text: &str, found: &mut Vec<String>) {
    let roots = ["/work", "/root", "/home"].map(|root| format!("{root}/"));
    for (number, line) in text.lines().enumerate() {
        if roots.iter().any(|root| line.contains(&**root)) && !file.ends_with("LICENSE") {
            found.push(format!("{file}:{}: a path of one machine", number + 1));
        }
    }
}

fn check_source(file: &str, text: &str, found: &mut Vec<String>) {
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        found.push(format!("{file}: {lines} lines, at most {FILE_LINES_MAX}"));
    }
    let stem =
        Path::new(file).file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    if EMPTY_NAMES.contains(&&*stem) {
        found.push(format!("{file}: the name says nothing of what is inside"));
    }
    if !text.starts_with("//!") {
        found.push(format!("{file}:1: no line that says what this is"));
    }
    let room = room_of(file);
    let counts_copies =
        DATA_PATH.contains(&room) && !file.ends_with("chunk.rs") && !file.ends_with("tests.rs");
    let marks = [["TO", "DO"].concat(), ["FIX", "ME"].concat()];
    for (number, line) in text.lines().enumerate() {
        let place = format!("{file}:{}", number + 1);
        if counts_copies && COPIES.iter().any(|copy| line.contains(copy)) && !line.contains("// copy:") {
            found.push(format!("{place}: a copy that is not counted; use Pool::copy, or say `// copy: why`"));
        }
        if marks.iter().any(|mark| line.contains(&**mark) && !line.contains('#')) {
            found.push(format!("{place}: a mark without the number of an issue"));
        }
        if line.contains(&["cfg(", "feature"].concat()) {
            found.push(format!("{place}: everything is always compiled"));
        }
    }
}

/// `crates/wire/src/lib.rs` is of the room `wire`.
fn room_of(file: &str) -> &str {
    let mut parts = file.split('/');
    match (parts.next(), parts.next()) {
        (Some("crates"), Some(room)) => room,
        (Some(room), _) => room,
        _ => "",
    }
}

fn check_manifest(file: &str, text: &str, found: &mut Vec<String>) {
    let room = room_of(file);
    let allowed = MAY_IMPORT.iter().find(|(name, _)| *name == room).map(|(_, allowed)| *allowed);
    let mut in_dependencies = false;
    let mut before = "";
    for (number, line) in text.lines().enumerate() {
        let place = format!("{file}:{}", number + 1);
        if line.starts_with('[') {
            in_dependencies = line.ends_with("dependencies]") && line != "[workspace.dependencies]";
        } else if let Some((name, rest)) =
            line.split_once(['.', ' ']).filter(|_| in_dependencies && !line.starts_with('#'))
        {
            let is_ours = rest.starts_with("workspace") || rest.contains("path =");
            if is_ours && allowed.is_some_and(|allowed| !allowed.contains(&name)) {
                found.push(format!("{place}: {room} may not know {name}"));
            }
            if !is_ours && !before.starts_with("# why:") {
                found.push(format!("{place}: no `# why:` above {name}"));
            }
            if name == "tokio" && PURE.contains(&room) {
                found.push(format!("{place}: {room} may not know a runtime"));
            }
        }
        before = line;
    }
}

/// The map's table and the folders name the same rooms, and each room's first line is its line in the map.
fn check_map(found: &mut Vec<String>) {
    let root = workspace();
    let Ok(map) = fs::read_to_string(root.join(MAP)) else {
        found.push(format!("{MAP} is missing"));
        return;
    };
    let mut mapped: Vec<(&str, &str)> = Vec::new();
    for line in map.lines() {
        let mut cells = line.split('|').map(str::trim).skip(1);
        if let (Some(room), Some(what)) = (cells.next(), cells.next())
            && let Some(room) = room.strip_prefix('`').and_then(|room| room.strip_suffix('`'))
        {
            mapped.push((room, what));
        }
    }
    let mut rooms: Vec<String> = Vec::new();
    let folders = |below: &str| fs::read_dir(root.join(below)).into_iter().flatten().flatten();
    rooms.extend(folders("crates").map(|entry| entry.file_name().to_string_lossy().into_owned()));
    for room in ["e2e", "sim", "fuzz", "xtask", "docs", "examples", "bench"] {
        if root.join(room).is_dir() {
            rooms.push(room.to_owned());
        }
    }
    for room in &rooms {
        match mapped.iter().find(|(name, _)| name == room) {
            None => found.push(format!("{MAP}: the room `{room}` is not on the map")),
            Some((_, what)) => check_first_line(room, what, found),
        }
    }
    for (room, _) in mapped.iter().filter(|(name, _)| !rooms.iter().any(|room| room == name)) {
        found.push(format!("{MAP}: there is no room `{room}`"));
    }
}

fn check_first_line(room: &str, what: &str, found: &mut Vec<String>) {
    let root = workspace();
    let doors = [
        format!("crates/{room}/src/lib.rs"),
        format!("crates/{room}/src/main.rs"),
        format!("{room}/src/lib.rs"),
        format!("{room}/src/main.rs"),
    ];
    let Some(door) = doors.iter().find(|door| root.join(door).exists()) else { return };
    let text = fs::read_to_string(root.join(door)).unwrap_or_default();
    let first =
        text.lines().next().unwrap_or_default().trim_start_matches("//!").trim().trim_end_matches('.');
    if first != what.trim_end_matches('.') {
        found.push(format!("{door}:1: the first line is {first:?}, on the map it is {what:?}"));
    }
}
