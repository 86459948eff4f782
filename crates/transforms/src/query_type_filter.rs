//! QueryTypeFilter: answers requests of unwanted kinds itself and lets the rest pass.
//!
//! Toward server: only requests of wanted kinds, or that are about wanted keyspaces and tables (`name_filter`). Toward
//! client: the others get an error, `Message was filtered out by shotover`.
//! Wants decoded: the first chunk of a request, for the first word of its statement; all of it for what it is about.
//! What keeps up a connection (handshake, heartbeat, asking for events) is of no kind, and passes: without it nobody
//! could send anything else.
//! Must hold: a request whose kind cannot be known (compressed, or a comment longer than a chunk in front of the
//! statement) does not pass: a filter that can be talked around is none.

use std::sync::Arc;

use chain::{Batch, Builder, Cx, Fault, Item, Link, Need, Transform, WorkerCx, WorkerPart};
use config::{Fields, Node};
use wire::{ErrorKind, Protocol, QueryType};

use crate::name_filter::{NameFilter, NameRules};

/// What is said of a request that does not pass.
pub(crate) const FILTERED: &str = "Message was filtered out by shotover";

/// What is said of a request that runs what nobody prepared through this process.
const NOT_KNOWN: &str = "Message was filtered out by shotover: the statement that it runs is not known";

/// The id of the statement that an EXECUTE runs, if nobody can tell what it does. That is no read to be refused: after a
/// restart of this process its driver has to be told to prepare it again, or it would be refused for ever.
pub(crate) fn unknown_execute(protocol: Protocol, request: &Item<'_>) -> Option<Box<[u8]>> {
    let is_unknown = protocol.executes(request.head().opcode) && request.prepared().is_none();
    protocol.prepared_id(request.head(), request.bytes()).filter(|_| is_unknown).map(Into::into)
}

/// Has the driver prepare the statement of this id again, and send its request once more.
pub(crate) fn answer_unprepared(protocol: Protocol, request: &mut Item<'_>, id: &[u8]) {
    request.answer(protocol.unprepared_reply(request.head(), id, NOT_KNOWN));
}

const KINDS: [(&str, QueryType); 5] = [
    ("Read", QueryType::Read),
    ("Write", QueryType::Write),
    ("ReadWrite", QueryType::ReadWrite),
    ("SchemaChange", QueryType::SchemaChange),
    ("PubSubMessage", QueryType::PubSubMessage),
];

/// Which kinds pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryTypeFilter {
    /// Only these.
    AllowList(Vec<QueryType>),
    /// All but these.
    DenyList(Vec<QueryType>),
    /// Those that are about certain keyspaces and tables.
    Named(Arc<NameRules>),
}

impl QueryTypeFilter {
    /// Reads the options.
    pub fn parse(fields: &mut Fields<'_>) -> Option<Self> {
        let allowed = fields.optional_list("AllowList").map(|kinds| read_kinds(fields, &kinds));
        let denied = fields.optional_list("DenyList").map(|kinds| read_kinds(fields, &kinds));
        let names = NameRules::parse(fields);
        let kinds = match (allowed, denied) {
            (Some(kinds), None) => Some(Self::AllowList(kinds)),
            (None, Some(kinds)) => Some(Self::DenyList(kinds)),
            (None, None) if names.is_some() => None,
            (Some(_), Some(_)) if names.is_some() => {
                fields.fail("QueryTypeFilter takes at most one of `AllowList` and `DenyList`");
                return None;
            }
            _ => {
                fields.fail("QueryTypeFilter needs exactly one of `AllowList` and `DenyList`");
                return None;
            }
        };
        match names {
            Some(names) => Some(Self::Named(Arc::new(names.with_kinds(kinds)))),
            None => kinds,
        }
    }

    pub(crate) fn lets_pass(&self, kind: QueryType) -> bool {
        match self {
            Self::AllowList(kinds) => kinds.contains(&kind),
            Self::DenyList(kinds) => !kinds.contains(&kind),
            Self::Named(_) => true,
        }
    }
}

fn read_kinds(fields: &mut Fields<'_>, nodes: &[Node]) -> Vec<QueryType> {
    let words = KINDS.map(|(word, _)| word);
    let read = nodes.iter().filter_map(|node| {
        let word = fields.word(node, &words)?;
        KINDS.iter().find(|(known, _)| *known == word).map(|(_, kind)| *kind)
    });
    read.collect()
}

impl Builder for QueryTypeFilter {
    fn worker(&self, _worker: &WorkerCx) -> Box<dyn WorkerPart> {
        Box::new(self.clone())
    }

    /// Where reads pass, so does every EXECUTE: a statement of an unwanted kind cannot be prepared through this chain, so
    /// that none is known that it could be. Only where they do not is it worth its price to know what an EXECUTE runs.
    fn enriches(&self) -> bool {
        matches!(self, Self::Named(_)) || !self.lets_pass(QueryType::Read)
    }
}

impl WorkerPart for QueryTypeFilter {
    fn client(&self) -> Link {
        match self {
            Self::Named(rules) => Link::Transform(Box::new(NameFilter::new(rules))),
            kinds => Link::Transform(Box::new(kinds.clone())),
        }
    }
}

impl Transform for QueryTypeFilter {
    fn request_need(&self, _opcode: u8) -> Need {
        Need::Head
    }

    fn requests(&mut self, _cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        let protocol = batch.protocol();
        batch.each(|request| {
            if !protocol.runs_statements(request.head())
                || request.query_type().is_some_and(|kind| self.lets_pass(kind))
            {
                return;
            }
            match unknown_execute(protocol, request) {
                Some(id) => answer_unprepared(protocol, request, &id),
                None => request.answer_error(ErrorKind::Invalid, FILTERED),
            }
        });
        Ok(())
    }
}
