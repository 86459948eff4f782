//! Logs that are JSON lines: what opens them, sets files aside that become too long, and says when a line was made.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::warn;

use crate::writer::{Job, Output, Queue, Writer};

/// How long a rotation that failed waits until it is gone on with: what it lacks, such as a free descriptor, is often there
/// again soon, and no line is to cost several calls of the system meanwhile.
const ROTATION_RETRY: Duration = Duration::from_secs(1);

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineTarget {
    /// The file; stdout if there is none.
    pub path: Option<PathBuf>,
    /// A file that would become longer is set aside, bytes.
    pub file_bytes_max: u64,
    /// Files that were set aside and are kept: `path.1` is the youngest.
    pub files_kept: u32,
}

impl LineTarget {
    /// Its path, for people.
    #[must_use]
    pub fn shown(&self) -> String {
        self.path.as_ref().map_or_else(|| "stdout".to_owned(), |path| path.display().to_string())
    }
}

/// A line, and when it was made.
type Line = (SystemTime, String);

impl Job for Line {
    fn bytes(&self) -> usize {
        self.1.len()
    }
}

/// JSON lines. A job is the fields of an object, without braces; a field `time` is put in front of them.
struct Lines(Writer<Line>);

impl Queue<String> for Lines {
    fn push(&self, fields: String) {
        self.0.push((SystemTime::now(), fields));
    }
    fn dropped(&self) -> u64 {
        self.0.dropped()
    }
}

/// One more way into a log that is open. Lines that were dropped are counted by who opened it.
struct Joined(Arc<Lines>);

impl Queue<String> for Joined {
    fn push(&self, fields: String) {
        self.0.push(fields);
    }
    fn dropped(&self) -> u64 {
        0
    }
}

/// The logs that are open. Two writers of one file would set it aside under each other.
static OPEN: Mutex<Vec<(LineTarget, Weak<Lines>)>> = Mutex::new(Vec::new());

/// Opens the target of JSON lines, and starts the thread that writes them. One that is open already gets these lines too,
/// and keeps its limits.
///
/// # Errors
/// Why it cannot be opened.
pub fn open_lines(target: &LineTarget) -> Result<Arc<dyn Queue<String>>, String> {
    let named = |problem: io::Error| format!("{}: {problem}", target.shown());
    let path = target.path.as_deref().map(std::path::absolute).transpose().map_err(named)?;
    let target = LineTarget { path, ..target.clone() };
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    open.retain(|(_, lines)| lines.strong_count() > 0);
    let same = open.iter().find(|(known, _)| known.path == target.path);
    if let Some((lines, known)) = same.and_then(|(known, lines)| Some((lines.upgrade()?, known))) {
        if *known != target {
            warn!("{}: a log that is open already keeps the limits of its files", target.shown());
        }
        return Ok(Arc::new(Joined(lines)));
    }
    let output = LineOutput::open(&target, open_target).map_err(named)?;
    let writer = Writer::start(output).map_err(|problem| format!("the thread of a log: {problem}"))?;
    let lines = Arc::new(Lines(writer));
    open.push((target, Arc::downgrade(&lines)));
    Ok(lines)
}

/// Opens what lines go to.
type OpenTarget = fn(&LineTarget) -> io::Result<Target>;

/// Where lines are written, and how long it is if it can be set aside.
type Target = (io::BufWriter<Box<dyn Write + Send>>, Option<u64>);

struct LineOutput {
    target: LineTarget,
    open: OpenTarget,
    file: io::BufWriter<Box<dyn Write + Send>>,
    /// `None` for what is never set aside.
    file_bytes: Option<u64>,
    unfinished: Option<Unfinished>,
}

/// A rotation that failed.
struct Unfinished {
    /// The file has been set aside: another one is to be begun, and none set aside again.
    is_set_aside: bool,
    /// The time of the line that needed it.
    failed_at: SystemTime,
    problem: (io::ErrorKind, String),
}

impl Unfinished {
    /// Whether lines are written meanwhile: to a file that was not set aside they are.
    fn may_write(&self) -> io::Result<()> {
        let (kind, problem) = &self.problem;
        if self.is_set_aside { Err(io::Error::new(*kind, problem.clone())) } else { Ok(()) }
    }
}

impl LineOutput {
    fn open(target: &LineTarget, open: OpenTarget) -> io::Result<Self> {
        let (file, file_bytes) = open(target)?;
        Ok(Self { target: target.clone(), open, file, file_bytes, unfinished: None })
    }

    /// Sets the file aside and begins another one for a line of this time, or goes on with that where it failed. A file
    /// that cannot be set aside grows on.
    fn rotate(&mut self, time: SystemTime) -> io::Result<()> {
        let mut is_set_aside = false;
        if let Some(unfinished) = &self.unfinished {
            // The system's time may be set back, and workers' lines come in any order.
            let since = time.duration_since(unfinished.failed_at).unwrap_or_else(|ahead| ahead.duration());
            if since < ROTATION_RETRY {
                return unfinished.may_write();
            }
            is_set_aside = unfinished.is_set_aside;
        }
        let problem = self.go_on(&mut is_set_aside).err();
        if let Some(problem) = problem.as_ref().filter(|_| !is_set_aside && self.unfinished.is_none()) {
            warn!("a log cannot be set aside, and grows on: {}: {problem}", self.target.shown());
        }
        self.unfinished = problem.map(|problem| Unfinished {
            is_set_aside,
            failed_at: time,
            problem: (problem.kind(), problem.to_string()),
        });
        self.unfinished.as_ref().map_or(Ok(()), Unfinished::may_write)
    }

    fn go_on(&mut self, is_set_aside: &mut bool) -> io::Result<()> {
        if !*is_set_aside {
            self.file.flush()?;
            if let Some(path) = &self.target.path {
                set_aside(path, self.target.files_kept)?;
            }
            *is_set_aside = true;
        }
        (self.file, self.file_bytes) = (self.open)(&self.target)?;
        Ok(())
    }

    /// True if the file would become too long, or is one that was set aside.
    fn must_rotate(&self, more_bytes: u64) -> bool {
        let is_full = |bytes: u64| bytes > 0 && bytes.saturating_add(more_bytes) > self.target.file_bytes_max;
        self.unfinished.as_ref().is_some_and(|unfinished| unfinished.is_set_aside)
            || self.file_bytes.is_some_and(is_full)
    }
}

/// Moves a file and those that were set aside before it by one number, up to the first that is free: if that failed half
/// way the last time, what was moved then stays where it is.
fn set_aside(path: &Path, files_kept: u32) -> io::Result<()> {
    if files_kept == 0 {
        return unless_gone(std::fs::remove_file(path));
    }
    let is_free = |number: &u32| std::fs::symlink_metadata(numbered(path, *number)).is_err();
    let free = (1..files_kept).find(is_free).unwrap_or(files_kept);
    for number in (1..free).rev() {
        unless_gone(std::fs::rename(numbered(path, number), numbered(path, number + 1)))?;
    }
    unless_gone(std::fs::rename(path, numbered(path, 1)))
}

/// What is not there need not be set aside: others may remove files of a log too.
fn unless_gone(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(problem) if problem.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

fn open_target(target: &LineTarget) -> io::Result<Target> {
    let (file, bytes): (Box<dyn Write + Send>, Option<u64>) = match &target.path {
        None => (Box::new(io::stdout()), None),
        Some(path) => {
            let file = File::options().create(true).append(true).open(path)?;
            // Pipes, devices and links, such as `/dev/stdout`, are not ours to rename.
            let found = std::fs::symlink_metadata(path)?;
            (Box::new(file), found.is_file().then_some(found.len()))
        }
    };
    Ok((io::BufWriter::new(file), bytes))
}

impl Output<Line> for LineOutput {
    fn write(&mut self, (time, fields): Line) -> io::Result<()> {
        let line = format!("{{\"time\":\"{}\",{fields}}}\n", utc(time));
        let bytes = line.len() as u64;
        if self.must_rotate(bytes) {
            self.rotate(time)?;
        }
        self.file.write_all(line.as_bytes())?;
        self.file_bytes = self.file_bytes.map(|before| before + bytes);
        Ok(())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A time as RFC 3339 has it, in UTC.
fn utc(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Days are counted in eras of 400 years that begin on a 1 March, so that leap days are last.
    let from_march = days + 719_468;
    let (era, day_of_era) = (from_march / 146_097, from_march % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let micros = since.subsec_micros();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// A text as a JSON string, quotes included. All control characters are escaped, also those that JSON would allow: people
/// read these lines in terminals.
#[must_use]
pub fn json_string(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    // Nearly always there is nothing to write in another way.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
        json.push_str(text);
        json.push('"');
        return json;
    }
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            control if control.is_control() => {
                // Writing to a string cannot fail. All control characters are below 2^16.
                write!(json, "\\u{:04x}", u32::from(control)).unwrap_or_default();
            }
            other => json.push(other),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::Read;
    use std::time::{Duration, UNIX_EPOCH};

    use super::{
        LineOutput, LineTarget, Output, Target, json_string, numbered, open_lines, open_target, set_aside,
        utc,
    };

    fn folder(name: &str) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("shotover-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn times_are_as_rfc_3339_has_them() {
        let at = |seconds, micros: u32| utc(UNIX_EPOCH + Duration::new(seconds, micros * 1000));
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(at(951_782_399, 999_999), "2000-02-28T23:59:59.999999Z");
        assert_eq!(at(951_782_400, 1), "2000-02-29T00:00:00.000001Z");
        assert_eq!(at(4_107_542_399, 0), "2100-02-28T23:59:59.000000Z");
        assert_eq!(at(4_107_542_400, 0), "2100-03-01T00:00:00.000000Z");
        assert_eq!(at(1_795_747_484, 0), "2026-11-27T02:44:44.000000Z");
    }

    #[test]
    fn a_string_cannot_end_a_json_string() {
        assert_eq!(json_string("a\"b\\c\n\u{7f}é"), "\"a\\\"b\\\\c\\u000a\\u007fé\"");
    }

    #[test]
    fn lines_are_written_and_files_set_aside() {
        let folder = folder("lines");
        let path = folder.join("log");
        let target = LineTarget { path: Some(path.clone()), file_bytes_max: 200, files_kept: 2 };
        let lines = open_lines(&target).unwrap();
        for number in 0..20 {
            lines.push(format!("\"number\":{number}"));
        }
        assert_eq!(lines.dropped(), 0);
        drop(lines);
        let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
        let last = read(&path);
        assert!(last.starts_with("{\"time\":\"") && last.ends_with("Z\",\"number\":19}\n"), "{last}");
        let kept = [&path, &folder.join("log.1"), &folder.join("log.2")].map(|path| read(path));
        assert!(kept.iter().all(|text| text.len() <= 200 && text.ends_with("}\n")), "{kept:?}");
        assert!(!folder.join("log.3").exists());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn two_logs_of_one_path_are_one() {
        let folder = folder("twice");
        let path = folder.join("log");
        let target = LineTarget { path: Some(path.clone()), file_bytes_max: 60, files_kept: 2 };
        let spelled = LineTarget { path: Some(folder.join("./log")), ..target };
        let both = [open_lines(&target).unwrap(), open_lines(&spelled).unwrap()];
        both.iter().for_each(|lines| lines.push("\"number\":1".to_owned()));
        drop(both);
        for path in [&path, &numbered(&path, 1)] {
            assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 1);
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_log_that_somebody_removed_is_begun_anew() {
        for files_kept in [0, 1] {
            let folder = folder(&format!("removed-{files_kept}"));
            let path = folder.join("log");
            let target = LineTarget { path: Some(path.clone()), file_bytes_max: 60, files_kept };
            let mut lines = LineOutput::open(&target, open_target).unwrap();
            lines.write((UNIX_EPOCH, "\"number\":1".to_owned())).unwrap();
            std::fs::remove_file(&path).unwrap();
            lines.write((UNIX_EPOCH, "\"number\":2".to_owned())).unwrap();
            lines.flush().unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.ends_with("\"number\":2}\n"), "{files_kept}: {text}");
            std::fs::remove_dir_all(&folder).unwrap();
        }
    }

    thread_local! {
        /// No file can be opened.
        static IS_FULL: Cell<bool> = const { Cell::new(false) };
        /// How often that was tried.
        static TRIED: Cell<u32> = const { Cell::new(0) };
    }

    fn open_unless_full(target: &LineTarget) -> std::io::Result<Target> {
        TRIED.set(TRIED.get() + 1);
        if IS_FULL.get() { Err(std::io::Error::other("too many open files")) } else { open_target(target) }
    }

    #[test]
    fn a_log_that_cannot_be_begun_anew_keeps_what_was_set_aside() {
        let folder = folder("full");
        let path = folder.join("log");
        let target = LineTarget { path: Some(path.clone()), file_bytes_max: 60, files_kept: 2 };
        let mut lines = LineOutput::open(&target, open_unless_full).unwrap();
        let write = |lines: &mut LineOutput, second: u64, number: u32| {
            let time = UNIX_EPOCH + Duration::from_secs(second);
            let written = lines.write((time, format!("\"number\":{number}")));
            lines.flush().unwrap();
            written.map_err(|problem| problem.to_string())
        };
        for number in 1..=3 {
            assert_eq!(write(&mut lines, 7, number), Ok(()));
        }
        IS_FULL.set(true);
        for number in 4..=9 {
            assert_eq!(write(&mut lines, 7, number), Err("too many open files".to_owned()));
        }
        assert_eq!(TRIED.get(), 1 + 3, "it is not tried again at once");
        assert!(write(&mut lines, 8, 10).is_err());
        assert_eq!(TRIED.get(), 5, "a second later it is");
        IS_FULL.set(false);
        assert!(write(&mut lines, 8, 11).is_err());
        // Also where the system's time was set back.
        assert_eq!(write(&mut lines, 1, 12), Ok(()));
        let number = |path: &std::path::Path| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.rsplit(':').next().unwrap().to_owned()
        };
        let numbers = [&path, &numbered(&path, 1), &numbered(&path, 2)].map(|path| number(path));
        assert_eq!(numbers, ["12}\n", "3}\n", "2}\n"]);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_log_that_cannot_be_set_aside_grows_on() {
        let folder = folder("grows");
        let path = folder.join("log");
        let target = LineTarget { path: Some(path.clone()), file_bytes_max: 60, files_kept: 1 };
        std::fs::create_dir(numbered(&path, 1)).unwrap();
        let mut lines = LineOutput::open(&target, open_target).unwrap();
        let mut write = |second: u64| {
            lines.write((UNIX_EPOCH + Duration::from_secs(second), "\"number\":1".to_owned())).unwrap();
            lines.flush().unwrap();
        };
        [7, 7, 8, 8].into_iter().for_each(&mut write);
        let count = |path: &std::path::Path| std::fs::read_to_string(path).unwrap().lines().count();
        assert_eq!(count(&path), 4);
        std::fs::remove_dir(numbered(&path, 1)).unwrap();
        write(9);
        assert_eq!((count(&path), count(&numbered(&path, 1))), (1, 4));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn pipes_and_links_are_not_set_aside() {
        let folder = folder("pipe");
        let (pipe, link) = (folder.join("pipe"), folder.join("link"));
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        std::os::unix::fs::symlink(folder.join("file"), &link).unwrap();
        let mut reader = std::fs::File::options().read(true).write(true).open(&pipe).unwrap();
        for path in [&pipe, &link] {
            let target = LineTarget { path: Some(path.clone()), file_bytes_max: 60, files_kept: 2 };
            let lines = open_lines(&target).unwrap();
            (0..3).for_each(|number| lines.push(format!("\"number\":{number}")));
            drop(lines);
            assert!(!numbered(path, 1).exists());
        }
        let mut read = [0; 1024];
        let count = reader.read(&mut read).unwrap();
        let texts = [&read[..count], &std::fs::read(folder.join("file")).unwrap()];
        assert_eq!(texts.map(|text| text.iter().filter(|byte| **byte == b'\n').count()), [3, 3]);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_was_set_aside_before_a_rotation_failed_stays_where_it_is() {
        let folder = folder("half");
        let path = folder.join("log");
        for (name, text) in [("log", "0"), ("log.2", "1"), ("log.3", "2")] {
            std::fs::write(folder.join(name), text).unwrap();
        }
        set_aside(&path, 3).unwrap();
        let texts = [1, 2, 3].map(|number| std::fs::read_to_string(numbered(&path, number)).unwrap());
        assert_eq!(texts, ["0", "1", "2"]);
        assert!(!path.exists());
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_log_that_cannot_be_opened_is_told_of() {
        let path = Some(std::path::PathBuf::from("/nowhere/at/all"));
        let problem = open_lines(&LineTarget { path, file_bytes_max: 1, files_kept: 1 }).err().unwrap();
        assert!(problem.starts_with("/nowhere/at/all: "), "{problem}");
    }
}
