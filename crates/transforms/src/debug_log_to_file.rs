//! DebugLogToFile: keeps every message in a file of its own.
//!
//! Toward server and toward client: everything passes unchanged.
//! Wants decoded: whole messages. Must hold: the disk makes nobody wait; what it cannot take is dropped and counted.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use chain::{Batch, Builder, Cx, Fault, Link, Need, Transform, WorkerCx, WorkerPart};
use config::Fields;
use observe::{MessageFile, OwnFamily, OwnMetrics, Queue, could_open_message_files};

/// Where messages are kept, below the folder the process was started in.
const FOLDER: &str = "message-log";

/// What takes the files.
type Files = Arc<dyn Queue<MessageFile>>;

/// Empties the folder, and gives what takes files.
pub type OpenFiles = fn(&Path) -> Result<Files, String>;

/// The entry of a topology; it has no options.
#[derive(Clone)]
pub struct DebugLogToFile(Arc<Log>);

struct Log {
    open: OpenFiles,
    files: OnceLock<Files>,
    connections: AtomicU64,
}

impl DebugLogToFile {
    /// Reads the options, of which there are none.
    pub fn parse(_fields: &mut Fields<'_>, open: OpenFiles) -> Option<Self> {
        Some(Self(Arc::new(Log { open, files: OnceLock::new(), connections: AtomicU64::new(0) })))
    }
}

impl Builder for DebugLogToFile {
    fn worker(&self, _worker: &WorkerCx) -> Box<dyn WorkerPart> {
        Box::new(self.clone())
    }

    fn start(&self) -> Result<(), String> {
        let files = (self.0.open)(Path::new(FOLDER))?;
        drop(self.0.files.set(files));
        Ok(())
    }

    fn could_start(&self) -> Result<(), String> {
        could_open_message_files(Path::new(FOLDER))
    }

    fn own_metrics(&self) -> Vec<Arc<dyn OwnMetrics>> {
        vec![Arc::clone(&self.0) as Arc<dyn OwnMetrics>]
    }
}

impl OwnMetrics for Log {
    fn families(&self) -> Vec<OwnFamily> {
        let dropped = self.files.get().map_or(0, |files| files.dropped());
        vec![OwnFamily {
            name: "shotover_message_log_dropped_count",
            help: "Messages that DebugLogToFile did not keep",
            series: vec![(Vec::new(), dropped)],
        }]
    }
}

impl WorkerPart for DebugLogToFile {
    fn client(&self) -> Link {
        let connection = self.0.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let side =
            |name: &str| Kept { folder: [FOLDER, &connection.to_string(), name].iter().collect(), count: 0 };
        Link::Transform(Box::new(Keeper {
            files: self.0.files.get().map(Arc::clone),
            requests: side("requests"),
            responses: side("responses"),
        }))
    }
}

/// One direction of one client.
struct Kept {
    folder: PathBuf,
    count: u64,
}

impl Kept {
    fn keep(&mut self, files: &Files, batch: &mut Batch<'_>) {
        batch.each(|message| {
            self.count += 1;
            let path = self.folder.join(format!("message{}.bin", self.count));
            files.push(MessageFile { path, bytes: message.bytes().to_vec() });
        });
    }
}

/// The part of one client.
struct Keeper {
    files: Option<Files>,
    requests: Kept,
    responses: Kept,
}

impl Transform for Keeper {
    fn request_need(&self, _opcode: u8) -> Need {
        Need::Whole
    }

    fn reply_need(&self, _request_opcode: u8) -> Need {
        Need::Whole
    }

    fn requests(&mut self, _cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        if let Some(files) = &self.files {
            self.requests.keep(files, batch);
        }
        Ok(())
    }

    fn responses(&mut self, _cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        if let Some(files) = &self.files {
            self.responses.keep(files, batch);
        }
        Ok(())
    }
}
