//! Files that transforms write: on threads of their own, behind queues that are bounded. Who finds a queue full goes on,
//! and what was dropped is counted: no disk may make a client wait.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::time::Duration;

use tracing::{error, info};

/// Jobs that wait for a writer.
const JOBS_MAX: usize = 16 * 1024;

/// Bytes that wait for a writer. A disk that stalls for a second at 64 MB/s loses nothing.
const JOB_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long the end of the process waits for what is still to be written.
const ENDING_MAX: Duration = Duration::from_secs(2);

/// Takes jobs of one kind, and never blocks.
pub trait Queue<J>: Send + Sync {
    /// Queues a job, or drops it.
    fn push(&self, job: J);
    /// Jobs that were dropped, or failed.
    fn dropped(&self) -> u64;
}

/// A message to be kept as a file.
pub struct MessageFile {
    /// Its path.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A thread that writes what is queued.
pub(crate) struct Writer<J> {
    /// `None` once the writer ends.
    queue: Option<SyncSender<J>>,
    waiting_bytes: Arc<AtomicUsize>,
    dropped: Arc<AtomicU64>,
    ended: std::sync::Mutex<Receiver<()>>,
}

/// Something that is written.
pub(crate) trait Job: Send + 'static {
    fn bytes(&self) -> usize;
}

/// Writes jobs. `flush` is called when nothing waits.
pub(crate) trait Output<J>: Send + 'static {
    fn write(&mut self, job: J) -> io::Result<()>;
    fn flush(&mut self) -> io::Result<()>;
}

impl<J: Job> Writer<J> {
    pub(crate) fn start(mut output: impl Output<J>) -> io::Result<Self> {
        let (queue, jobs) = sync_channel::<J>(JOBS_MAX);
        let (tell_end, ended) = channel();
        let (waiting_bytes, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
        let (waiting, lost) = (Arc::clone(&waiting_bytes), Arc::clone(&dropped));
        let body = move || {
            let mut is_failing = false;
            while let Ok(first) = jobs.recv() {
                let mut next = Some(first);
                while let Some(job) = next {
                    waiting.fetch_sub(job.bytes(), Ordering::Relaxed);
                    note(output.write(job), &mut is_failing, &lost);
                    next = jobs.try_recv().ok();
                }
                // That there was nothing left to flush does not say that lines can be written again.
                if let Err(problem) = output.flush() {
                    note(Err(problem), &mut is_failing, &lost);
                }
            }
            // Nobody may be waiting for it.
            tell_end.send(()).unwrap_or_default();
        };
        std::thread::Builder::new().name("shotover-writer".to_owned()).spawn(body)?;
        Ok(Self { queue: Some(queue), waiting_bytes, dropped, ended: std::sync::Mutex::new(ended) })
    }

    pub(crate) fn push(&self, job: J) {
        let bytes = job.bytes();
        let waiting = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let sent = match &self.queue {
            Some(queue) if waiting.saturating_add(bytes) <= JOB_BYTES_MAX => queue.try_send(job),
            _ => Err(TrySendError::Full(job)),
        };
        if sent.is_err() {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Jobs that were dropped, or failed.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Counts what could not be written, and says so once until something can be written again.
fn note(written: io::Result<()>, is_failing: &mut bool, lost: &AtomicU64) {
    match written {
        Ok(()) => *is_failing = false,
        Err(problem) => {
            lost.fetch_add(1, Ordering::Relaxed);
            if !std::mem::replace(is_failing, true) {
                error!("a file of a transform cannot be written: {problem}");
            }
        }
    }
}

impl<J> Drop for Writer<J> {
    /// What is queued is written before the process ends, unless that takes too long.
    fn drop(&mut self) {
        self.queue = None;
        if let Ok(ended) = self.ended.get_mut() {
            ended.recv_timeout(ENDING_MAX).unwrap_or_default();
        }
    }
}

impl Job for MessageFile {
    fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// Messages, each in a file of its own.
struct MessageFiles(Writer<MessageFile>);

impl Queue<MessageFile> for MessageFiles {
    fn push(&self, job: MessageFile) {
        self.0.push(job);
    }
    fn dropped(&self) -> u64 {
        self.0.dropped()
    }
}

/// Removes the folder with all that earlier runs left in it, and starts the thread that writes files into it.
///
/// # Errors
/// Why that is not possible.
pub fn open_message_files(folder: &Path) -> Result<Arc<dyn Queue<MessageFile>>, String> {
    match std::fs::remove_dir_all(folder) {
        Err(problem) if problem.kind() != io::ErrorKind::NotFound => {
            return Err(format!("{}: {problem}", folder.display()));
        }
        _ => {}
    }
    let writer =
        Writer::start(FileOutput).map_err(|problem| format!("the thread of a message log: {problem}"))?;
    Ok(Arc::new(MessageFiles(writer)))
}

struct FileOutput;

impl Output<MessageFile> for FileOutput {
    fn write(&mut self, MessageFile { path, bytes }: MessageFile) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, bytes)?;
        info!(target: crate::target::LOG_TO_FILE, "Logged message to {path:?}");
        Ok(())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::Ordering;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::{JOB_BYTES_MAX, JOBS_MAX, Job, MessageFile, Output, Writer, open_message_files};

    /// A job of so many bytes.
    struct Weight(usize);

    impl Job for Weight {
        fn bytes(&self) -> usize {
            self.0
        }
    }

    /// A disk that stalls until `stalled` has no other end. Tells of every job that it was given.
    struct Disk {
        given: Sender<()>,
        stalled: Receiver<()>,
    }

    impl Output<Weight> for Disk {
        fn write(&mut self, _job: Weight) -> io::Result<()> {
            self.given.send(()).unwrap();
            self.stalled.recv().unwrap_or_default();
            Ok(())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Pushes jobs of these weights while the disk stalls with one already. Returns what was dropped, what waited in jobs
    /// and in bytes.
    fn while_stalled(weights: impl Iterator<Item = usize>) -> (u64, usize, usize) {
        let (given, is_given) = channel();
        let (stall, stalled) = channel();
        let writer = Writer::start(Disk { given, stalled }).unwrap();
        writer.push(Weight(1));
        is_given.recv().unwrap();
        // If one of these waited for the disk, the test would never end.
        weights.for_each(|weight| writer.push(Weight(weight)));
        let (dropped, bytes) = (writer.dropped(), writer.waiting_bytes.load(Ordering::Relaxed));
        drop(stall);
        drop(writer);
        (dropped, is_given.iter().count(), bytes)
    }

    #[test]
    fn what_a_stalled_disk_has_no_room_for_is_dropped_and_counted() {
        let small = std::iter::repeat_n(1, JOBS_MAX + 5);
        assert_eq!(while_stalled(small), (5, JOBS_MAX, JOBS_MAX));
        // What was dropped takes no room from what comes later.
        let large = [JOB_BYTES_MAX - 1, 2, usize::MAX / 2, 1, 1, 0];
        assert_eq!(while_stalled(large.into_iter()), (3, 3, JOB_BYTES_MAX));
    }

    #[test]
    fn what_earlier_runs_left_goes_and_what_cannot_be_written_is_counted() {
        let folder = std::env::temp_dir().join(format!("shotover-messages-{}", std::process::id()));
        let log = folder.join("message-log");
        std::fs::create_dir_all(log.join("7")).unwrap();
        let files = open_message_files(&log).unwrap();
        assert!(!log.exists());
        files.push(MessageFile { path: log.join("1/requests/message1.bin"), bytes: vec![4, 2] });
        // A folder where a file should be.
        files.push(MessageFile { path: log.join("1/requests"), bytes: vec![] });
        let has_failed = (0..400).any(|_| {
            std::thread::yield_now();
            files.dropped() == 1
        });
        drop(files);
        assert_eq!(std::fs::read(log.join("1/requests/message1.bin")).unwrap(), [4, 2]);
        assert!(has_failed || log.exists());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
