//! What is left to do when this process is killed: a shell that waits for its end.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A shell that runs a command if this process ends without dropping the guard. It reads a pipe whose other end only
/// this process has, so it cannot miss the end; and it has a process group of its own, so that Ctrl-C does not reach it.
pub(crate) struct Guard(Option<Child>);

impl Guard {
    /// Kills a process.
    pub(crate) fn of_process(id: u32) -> Self {
        Self::start("kill -KILL \"$0\"", id.to_string().as_ref())
    }

    /// Removes a folder, once whoever writes into it has been killed.
    fn of_folder(folder: &Path) -> Self {
        Self::start("sleep 1; rm -rf -- \"$0\"", folder.as_ref())
    }

    fn start(last_will: &str, argument: &OsStr) -> Self {
        let script = format!("read -r line && exit; {last_will}");
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).arg(argument).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().ok())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(mut shell) = self.0.take() else { return };
        if let Some(mut pipe) = shell.stdin.take() {
            drop(pipe.write_all(b"done\n"));
        }
        drop(shell.wait());
    }
}

/// A folder under `target` that goes with its handle, or with this process.
pub struct Scratch {
    path: PathBuf,
    _guard: Guard,
}

impl Scratch {
    /// A new, empty folder.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn new(name: &str) -> std::io::Result<Self> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let unique = format!("{name}-{}-{number}", std::process::id());
        let path = crate::workspace().join("target").join("scratch").join(unique);
        std::fs::create_dir_all(&path)?;
        Ok(Self { _guard: Guard::of_folder(&path), path })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file in it, and says where that is.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, name: &str, text: &str) -> std::io::Result<PathBuf> {
        let file = self.path.join(name);
        std::fs::write(&file, text)?;
        Ok(file)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.path));
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::Scratch;
    use crate::process::Child;

    const TIME_MAX: Duration = Duration::from_secs(20);

    /// What the other test runs as a process of its own, and kills.
    #[test]
    #[ignore = "is run by the test below"]
    fn holder() {
        let folder = Scratch::new("holder").unwrap();
        let child = Child::start(Command::new("sleep").arg("1000"));
        println!("holds: {} {}", child.id(), folder.path().display());
        std::thread::sleep(TIME_MAX);
    }

    #[test]
    fn nothing_stays_of_a_process_that_is_killed() {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut holder =
            Child::start(command.args(["guard::tests::holder", "--exact", "--ignored", "--nocapture"]));
        holder.wait_for_line("holds: ", TIME_MAX).unwrap();
        let lines = holder.lines();
        let said = lines.iter().find_map(|line| Some(line.split_once("holds: ")?.1)).unwrap();
        let (process, folder) = said.split_once(' ').unwrap();
        let process = format!("/proc/{process}/stat");
        let is_there = |path: &str| match std::fs::read_to_string(path) {
            Ok(stat) => !stat.contains(") Z "),
            Err(_) => std::fs::exists(path).unwrap() && path != process,
        };
        assert!(is_there(&process) && is_there(folder));
        holder.signal("KILL");
        let deadline = std::time::Instant::now() + TIME_MAX;
        while is_there(&process) || is_there(folder) {
            assert!(std::time::Instant::now() < deadline, "{said}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
