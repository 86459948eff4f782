//! RequestLog: a line of JSON for each request that has had its end.
//!
//! Toward server and toward client: everything passes unchanged.
//! Wants decoded: the first chunk of a request, for its text; of a reply, for the code of an error. All of a PREPARE and its
//! reply, to know what is executed.
//! Must hold: nothing of a literal is logged unless somebody asked for it, and no disk makes a client wait: what cannot
//! be written is dropped and counted.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chain::{
    Batch, Builder, Cx, Fault, Identity, Item, Known, Link, Need, REQUESTS_KEPT, Tick, Transform, Why,
    WorkerCx, WorkerPart,
};
use config::Fields;
use observe::{LineTarget, OwnFamily, OwnMetrics, Queue, could_open_lines, json_string};
use wire::cql::query::{About, Stated, StatementKind};
use wire::{ConnectionState, Protocol};

/// Bytes of a statement that a line shows.
const STATEMENT_BYTES_MAX: usize = 1024;

/// Bytes that are read of a prepared statement to show it. A short EXECUTE stands for a text of any length.
const PREPARED_BYTES_MAX: usize = 4 * STATEMENT_BYTES_MAX;

/// Bytes of statements that are kept of one client until their replies come; beyond that lines are without them.
const PENDING_BYTES_MAX: usize = 1024 * 1024;

/// The tag of a request that is not logged, and changes the keyspace in use.
const CHANGES_UNSEEN: u32 = u32::MAX;

/// Room that a line begins with.
const LINE_BYTES_USUAL: usize = 256;

/// Files are set aside at this length unless told otherwise, MiB.
const FILE_MIB_DEFAULT: u64 = 64;

/// Files that are kept besides the current one unless told otherwise.
const FILES_KEPT_DEFAULT: u64 = 5;

/// What takes the lines: the fields of a JSON object, without braces.
type Lines = Arc<dyn Queue<String>>;

/// Opens what takes lines.
pub type OpenLines = fn(&LineTarget) -> Result<Lines, String>;

/// The options.
#[derive(Clone)]
pub struct RequestLog {
    slow: Duration,
    sample_percent: u64,
    redacts: bool,
    log: Arc<Log>,
}

struct Log {
    target: LineTarget,
    open: OpenLines,
    lines: OnceLock<Lines>,
}

impl RequestLog {
    /// Reads the options.
    pub fn parse(fields: &mut Fields<'_>, open: OpenLines) -> Option<Self> {
        let path = fields.optional_string("path").map(PathBuf::from);
        let slow = fields.optional_u64("slow_threshold_millis", 0..=u64::from(u32::MAX));
        let sample_percent = fields.optional_u64("sample_percent", 1..=100).unwrap_or(100);
        let redacts = fields.optional_bool("redact").unwrap_or(true);
        let file_mib = fields.optional_u64("max_file_mebibytes", 1..=1024 * 1024).unwrap_or(FILE_MIB_DEFAULT);
        let files_kept = fields.optional_u64("files_kept", 0..=1000).unwrap_or(FILES_KEPT_DEFAULT);
        let files_kept = u32::try_from(files_kept).unwrap_or_default();
        let target = LineTarget { path, file_bytes_max: file_mib * 1024 * 1024, files_kept };
        let log = Arc::new(Log { target, open, lines: OnceLock::new() });
        Some(Self { slow: Duration::from_millis(slow.unwrap_or(0)), sample_percent, redacts, log })
    }
}

impl Builder for RequestLog {
    fn worker(&self, _worker: &WorkerCx) -> Box<dyn WorkerPart> {
        Box::new(LogPart { options: self.clone(), sampled: Rc::default() })
    }

    fn start(&self) -> Result<(), String> {
        let lines = (self.log.open)(&self.log.target).map_err(|problem| format!("RequestLog: {problem}"))?;
        drop(self.log.lines.set(lines));
        Ok(())
    }

    fn could_start(&self) -> Result<(), String> {
        could_open_lines(&self.log.target)
    }

    fn own_metrics(&self) -> Vec<Arc<dyn OwnMetrics>> {
        vec![Arc::clone(&self.log) as Arc<dyn OwnMetrics>]
    }

    /// An EXECUTE says an id, and a name without a keyspace is one of that in use.
    fn enriches(&self) -> bool {
        true
    }
}

impl OwnMetrics for Log {
    fn families(&self) -> Vec<OwnFamily> {
        let dropped = self.lines.get().map_or(0, |lines| lines.dropped());
        vec![OwnFamily {
            name: "shotover_request_log_dropped_count",
            help: "Lines that RequestLog did not write",
            series: vec![(vec![("path", self.target.shown())], dropped)],
        }]
    }
}

/// What the clients of one worker share.
struct LogPart {
    options: RequestLog,
    /// Hundredths of a request that are due to be logged.
    sampled: Rc<Cell<u64>>,
}

impl WorkerPart for LogPart {
    fn client(&self) -> Link {
        Link::Transform(Box::new(Logger {
            lines: self.options.log.lines.get().map(Arc::clone),
            options: self.options.clone(),
            sampled: Rc::clone(&self.sampled),
            pending: Vec::new(),
            free: Vec::new(),
            pending_bytes: 0,
            changes: 0,
            identity: Rc::default(),
        }))
    }
}

/// What a line shows of a statement.
enum Text {
    None,
    /// As it is shown.
    Shown(Box<str>),
    /// That of a prepared one. It is cut and redacted when a line is written: most are not where only slow ones are.
    Prepared(Known),
}

/// A request whose end is due.
struct Pending {
    asked_at: Tick,
    kind: &'static str,
    /// An id names its statement.
    is_prepared: bool,
    statement: Text,
    table: Option<Box<str>>,
    /// It changes the keyspace in use, or nobody can tell.
    changes_keyspace: bool,
}

impl Pending {
    fn bytes(&self) -> usize {
        let statement = if let Text::Shown(text) = &self.statement { text.len() } else { 0 };
        statement + self.table.as_ref().map_or(0, |table| table.len())
    }
}

/// True for a `USE`, also a prepared one, and for what may be one.
fn changes_keyspace(protocol: Protocol, request: &Item<'_>) -> bool {
    match request.connection_state() {
        ConnectionState::Keyspace => true,
        ConnectionState::Unknown if protocol.executes(request.head().opcode) => {
            request.prepared().is_none_or(|known| known.changes_keyspace())
        }
        ConnectionState::Unknown => true,
        _ => false,
    }
}

/// The table of a statement, with its keyspace if that is written.
fn table_of(stated: &Stated<'_>) -> Option<Box<str>> {
    let table = match stated.about {
        About::Table { keyspace: Some(keyspace), table } => format!("{keyspace}.{table}"),
        About::Table { keyspace: None, table } => table.to_owned(),
        _ => return None,
    };
    (table.len() <= STATEMENT_BYTES_MAX).then(|| table.into_boxed_str())
}

/// The part of one client.
struct Logger {
    lines: Option<Lines>,
    options: RequestLog,
    sampled: Rc<Cell<u64>>,
    /// A request's tag is its place here, counted from 1: 0 is that of requests that are not logged.
    pending: Vec<Option<Pending>>,
    free: Vec<u32>,
    pending_bytes: usize,
    /// Requests in flight that change the keyspace in use: until they have had their end, nobody can tell which it is.
    changes: u32,
    identity: Rc<Identity>,
}

impl Logger {
    /// True for as many requests of a hundred as are asked for.
    fn is_sampled(&self) -> bool {
        let due = self.sampled.get() + self.options.sample_percent;
        self.sampled.set(due % 100);
        due >= 100
    }

    fn begin(&mut self, protocol: Protocol, request: &mut Item<'_>, now: Tick) {
        let pending = self.look(protocol, request, now);
        self.changes += u32::from(pending.changes_keyspace);
        self.pending_bytes += pending.bytes();
        let index = self.free.pop().unwrap_or_else(|| {
            self.pending.push(None);
            u32::try_from(self.pending.len() - 1).unwrap_or(u32::MAX - 1)
        });
        if let Some(place) = self.pending.get_mut(index as usize) {
            *place = Some(pending);
            request.set_tag(index + 1);
        }
    }

    /// What a line will say of a request.
    fn look(&self, protocol: Protocol, request: &mut Item<'_>, asked_at: Tick) -> Pending {
        let is_shown = self.pending_bytes < PENDING_BYTES_MAX;
        let table = |stated: Option<Stated<'_>>| stated.filter(|_| is_shown).as_ref().and_then(table_of);
        let is_executed = protocol.executes(request.head().opcode);
        if let Some(known) = request.first_prepared() {
            let kind = if is_executed { known.name } else { request.statements().name() };
            let (table, changes_keyspace) = (table(known.first_stated()), kind == StatementKind::Use.name());
            let statement = Text::Prepared(known);
            return Pending { asked_at, kind, is_prepared: true, statement, table, changes_keyspace };
        }
        let text = protocol.statement_text(request.head(), request.bytes()).filter(|_| is_shown);
        let text = text.map(|(text, is_whole)| self.shown(protocol, text, is_whole));
        let statement = text.map_or(Text::None, |text| Text::Shown(text.into()));
        let statements = request.statements();
        let statements = if self.changes > 0 { statements.without_keyspace() } else { statements };
        let (kind, first) = (statements.name(), statements.each().next());
        let is_prepared = is_executed || first.is_some_and(|stated| stated.is_prepared);
        let table = table(first);
        // What was understood need not be read again.
        let changes_keyspace = match first.map(|stated| stated.kind) {
            None | Some(StatementKind::Unrecognized) => changes_keyspace(protocol, request),
            Some(_) => kind == StatementKind::Use.name(),
        };
        Pending { asked_at, kind, is_prepared, statement, table, changes_keyspace }
    }

    fn shown(&self, protocol: Protocol, text: &[u8], is_whole: bool) -> String {
        if self.options.redacts {
            return protocol.redacted(text, is_whole, STATEMENT_BYTES_MAX);
        }
        String::from_utf8_lossy(text.get(..STATEMENT_BYTES_MAX).unwrap_or(text)).into_owned()
    }

    fn take(&mut self, tag: u32) -> Option<Pending> {
        let index = tag.checked_sub(1)?;
        let pending = self.pending.get_mut(index as usize)?.take()?;
        self.pending_bytes = self.pending_bytes.saturating_sub(pending.bytes());
        self.changes = self.changes.saturating_sub(u32::from(pending.changes_keyspace));
        self.free.push(index);
        if self.pending.len() > REQUESTS_KEPT && self.free.len() == self.pending.len() {
            // What a burst has left behind: nothing is pending.
            (self.pending, self.free) = (Vec::new(), Vec::new());
        }
        Some(pending)
    }

    fn end(&self, protocol: Protocol, pending: &Pending, now: Tick, outcome: &str) {
        let latency = now.micros_since(pending.asked_at);
        let Some(lines) =
            self.lines.as_ref().filter(|_| u128::from(latency) >= self.options.slow.as_micros())
        else {
            return;
        };
        let text = |text: Option<&str>| text.map_or_else(|| "null".to_owned(), json_string);
        let statement = match &pending.statement {
            Text::None => None,
            Text::Shown(text) => Some(Cow::Borrowed(&**text)),
            Text::Prepared(known) => {
                let whole = known.text.as_bytes();
                let text = whole.get(..PREPARED_BYTES_MAX).unwrap_or(whole);
                Some(Cow::Owned(self.shown(protocol, text, text.len() == whole.len())))
            }
        };
        let client = self.identity.address().map(|address| address.to_string());
        let user = self.identity.user();
        let mut fields = String::with_capacity(LINE_BYTES_USUAL);
        // Writing to a string cannot fail.
        write!(
            fields,
            "\"client\":{},\"user\":{},\"kind\":{},\"table\":{},\"prepared\":{},\"statement\":{},\"latency_micros\":{latency},\"outcome\":{}",
            text(client.as_deref()),
            text(user.as_deref()),
            json_string(pending.kind),
            text(pending.table.as_deref()),
            pending.is_prepared,
            text(statement.as_deref()),
            json_string(outcome),
        )
        .unwrap_or_default();
        lines.push(fields);
    }
}

impl Transform for Logger {
    fn request_need(&self, _opcode: u8) -> Need {
        Need::Head
    }

    fn reply_need(&self, _request_opcode: u8) -> Need {
        Need::Head
    }

    fn requests(&mut self, cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        if self.pending.is_empty() {
            self.identity = Rc::clone(batch.identity());
        }
        let protocol = batch.protocol();
        batch.each(|request| {
            if self.is_sampled() {
                self.begin(protocol, request, cx.now);
            } else if changes_keyspace(protocol, request) {
                self.changes += 1;
                request.set_tag(CHANGES_UNSEEN);
            }
        });
        Ok(())
    }

    fn responses(&mut self, cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        let protocol = batch.protocol();
        batch.each(|reply| {
            if reply.tag() == CHANGES_UNSEEN {
                self.changes = self.changes.saturating_sub(1);
                return;
            }
            let Some(pending) = self.take(reply.tag()) else { return };
            if !protocol.is_error(reply.head()) {
                self.end(protocol, &pending, cx.now, "ok");
                return;
            }
            match protocol.error_code(reply.head(), reply.bytes()) {
                Some(code) => self.end(protocol, &pending, cx.now, &format!("error 0x{code:04x}")),
                None => self.end(protocol, &pending, cx.now, "error"),
            }
        });
        Ok(())
    }

    fn woken(&mut self, cx: &mut Cx<'_, '_>, why: Why, batch: &mut Batch<'_>) -> Result<(), Fault> {
        let protocol = batch.protocol();
        if why == Why::Closing {
            for pending in std::mem::take(&mut self.pending).into_iter().flatten() {
                self.end(protocol, &pending, cx.now, "closed");
            }
        }
        Ok(())
    }
}
