//! Whether the files that transforms write could be opened, found out without making or changing any.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::lines::LineTarget;

/// Looks whether [`crate::open_lines`] would certainly fail. Nothing is made or written.
///
/// # Errors
/// Why it would.
pub fn could_open_lines(target: &LineTarget) -> Result<(), String> {
    let Some(path) = &target.path else { return Ok(()) };
    could_append(path).map_err(|problem| format!("{}: {problem}", path.display()))
}

fn could_append(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path) {
        Ok(known) if known.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(known) if known.is_file() => File::options().append(true).open(path).map(drop),
        // Who opens a pipe or a device may wait for others, or be noticed by them.
        Ok(_) => Ok(()),
        Err(problem) if problem.kind() == io::ErrorKind::NotFound => match path.parent() {
            None => Err(problem),
            Some(folder) if folder.as_os_str().is_empty() => Ok(()),
            Some(folder) => std::fs::metadata(folder).map(drop),
        },
        Err(problem) => Err(problem),
    }
}

/// Looks whether [`crate::open_message_files`] would certainly fail. Nothing is removed or made.
///
/// # Errors
/// Why it would.
pub fn could_open_message_files(folder: &Path) -> Result<(), String> {
    match std::fs::symlink_metadata(folder) {
        // A link is removed, whatever it leads to.
        Ok(known) if known.is_dir() || known.is_symlink() => Ok(()),
        Ok(_) => Err(format!("{}: {}", folder.display(), io::Error::from(io::ErrorKind::NotADirectory))),
        Err(problem) if problem.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(problem) => Err(format!("{}: {problem}", folder.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{could_open_lines, could_open_message_files};
    use crate::{LineTarget, open_lines, open_message_files};

    #[test]
    fn what_could_not_be_opened_is_known_before_and_nothing_is_made_to_find_out() {
        let folder = std::env::temp_dir().join(format!("shotover-could-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("message-log")).unwrap();
        std::fs::write(folder.join("log"), "kept").unwrap();
        for name in ["log", "new", "no/log", "log/log", "message-log", ""] {
            let path = if name.is_empty() { PathBuf::new() } else { folder.join(name) };
            let target = LineTarget { path: Some(path.clone()), file_bytes_max: 9, files_kept: 1 };
            let could = could_open_lines(&target);
            assert_eq!(could.is_ok(), ["log", "new"].contains(&name), "{name}: {could:?}");
            let is_there = path.exists();
            assert_eq!(is_there, ["log", "message-log"].contains(&name), "{name}: nothing is made");
            assert_eq!(open_lines(&target).is_ok(), could.is_ok(), "{name}");
        }
        assert_eq!(std::fs::read(folder.join("log")).unwrap(), b"kept");
        for name in ["message-log", "new-log", "log", "log/log"] {
            let could = could_open_message_files(&folder.join(name));
            assert_eq!(could.is_ok(), name.ends_with("-log"), "{name}: {could:?}");
            assert!(name != "message-log" || folder.join(name).exists(), "nothing is removed");
            assert_eq!(open_message_files(&folder.join(name)).is_ok(), could.is_ok(), "{name}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
