//! The one place where "which protocol?" is asked. Everything else of a protocol is in its own folder.

use std::sync::Arc;

use crate::cql;
use crate::cql::metadata::{Metadata, PreparedMetadata};
use crate::error::Malformed;

/// A protocol that is spoken here.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Cassandra's native protocol, v3 and v4.
    Cql,
}

/// Which way a frame travels.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Side {
    /// Toward the server.
    Request,
    /// Toward the client.
    Response,
}

/// What the header of a frame says.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes of the whole frame, header included.
    pub frame_bytes: u32,
    /// The stream id.
    pub id: i32,
    /// The opcode.
    pub opcode: u8,
    /// The flags.
    pub flags: u8,
    /// The protocol version, without the direction bit.
    pub version: u8,
}

/// The three answers of a decoder.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Framed {
    /// The header is complete and lawful. The body may not be all here: compare `frame_bytes`.
    Frame(Head),
    /// More bytes are needed.
    NotYet,
    /// Not a frame; nothing that follows can be trusted.
    Malformed(Malformed),
}

/// The errors that are made here.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Something went wrong on this side; drivers try another host.
    Server,
    /// The request is refused.
    Invalid,
    /// The bytes break the protocol.
    Protocol,
    /// Too much is asked at once.
    Overloaded,
    /// A write that may have run: 0 of 1 replicas answered.
    WriteTimeout,
    /// A read that may have run: 0 of 1 replicas answered.
    ReadTimeout,
}

/// What a request does, in the words of topologies.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum QueryType {
    /// Changes nothing.
    Read,
    /// Changes rows.
    Write,
    /// Both, or not to be told apart.
    ReadWrite,
    /// Changes the schema, rights, or the keyspace in use.
    SchemaChange,
    /// Publishes or subscribes.
    PubSubMessage,
}

/// What a request changes in its connection, so that the connection cannot be shared or replaced unasked.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// Nothing.
    None,
    /// Who is logged in, and with which options.
    Handshake,
    /// What events the server sends.
    Subscription,
    /// The keyspace of unqualified names.
    Keyspace,
    /// It cannot be told from the request alone.
    Unknown,
}

/// What an outline is of ([`Protocol::outline`]).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Outlined {
    /// What the request is, in the words of its protocol: one of a few names.
    pub name: &'static str,
    /// False when there is nothing to see: the request is compressed, or malformed.
    pub is_readable: bool,
    /// True when all of its statements are there, whole.
    pub is_told: bool,
}

/// A statement of a request, as it stands there ([`Protocol::each_source`]).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Source<'f> {
    /// Its text as far as it is here, and whether that is all of it.
    Text(&'f str, bool),
    /// Of one that was prepared, the id.
    Prepared(&'f [u8]),
}

/// What all of a request's statements have in common ([`Protocol::each_source`]).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Sourced {
    /// False when there is nothing to see: the request is compressed, or malformed.
    pub is_readable: bool,
    /// True when all of them are there, whole.
    pub is_told: bool,
    /// The request has a keyspace of its own, by which not every server goes: nobody can tell that of the names that are
    /// written without one.
    pub has_keyspace: bool,
}

impl Protocol {
    /// Reads a header. Judges version, opcode and length as soon as each is there; never waits for a body.
    /// `frame_bytes_max` is the longest body that is taken.
    #[inline]
    #[must_use]
    pub fn frame(self, bytes: &[u8], side: Side, frame_bytes_max: u32) -> Framed {
        match self {
            Self::Cql => cql::frame(bytes, side, frame_bytes_max),
        }
    }

    /// The frame that tells a client what was wrong with its bytes.
    #[must_use]
    pub fn refusal(self, malformed: &Malformed) -> Vec<u8> {
        match self {
            Self::Cql => cql::refusal(malformed),
        }
    }

    /// An error that answers `request`.
    #[must_use]
    pub fn error_reply(self, request: &Head, kind: ErrorKind, text: &str) -> Vec<u8> {
        match self {
            Self::Cql => cql::error_reply(request, kind, text),
        }
    }

    /// The error that has a driver prepare a statement again, as an answer to the request that runs it.
    #[must_use]
    pub fn unprepared_reply(self, request: &Head, id: &[u8], text: &str) -> Vec<u8> {
        match self {
            Self::Cql => cql::unprepared_reply(request, id, text),
        }
    }

    /// True for a frame that answers no request.
    #[inline]
    #[must_use]
    pub fn is_unsolicited(self, reply: &Head) -> bool {
        match self {
            Self::Cql => reply.id == -1 && reply.opcode == cql::opcode::EVENT,
        }
    }

    /// True for the reply with which the server accepts a client's handshake.
    #[inline]
    #[must_use]
    pub fn establishes(self, reply: &Head) -> bool {
        match self {
            Self::Cql => matches!(reply.opcode, cql::opcode::READY | cql::opcode::AUTH_SUCCESS),
        }
    }

    /// True for an error.
    #[inline]
    #[must_use]
    pub fn is_error(self, reply: &Head) -> bool {
        match self {
            Self::Cql => reply.opcode == cql::opcode::ERROR,
        }
    }

    /// True for the request that begins a client's session.
    #[inline]
    #[must_use]
    pub fn is_startup(self, request: &Head) -> bool {
        match self {
            Self::Cql => request.opcode == cql::opcode::STARTUP,
        }
    }

    /// Puts another id into a frame.
    pub fn set_id(self, frame: &mut [u8], id: i32) {
        match self {
            Self::Cql => {
                // The 16 bits that an id has on the wire.
                let [low, high, ..] = id.to_le_bytes();
                cql::session::set_id(frame, i16::from_le_bytes([low, high]));
            }
        }
    }

    /// True if two whole replies say the same, whatever their ids.
    #[must_use]
    pub fn is_same_reply(self, one: (&Head, &[u8]), other: (&Head, &[u8])) -> bool {
        match self {
            Self::Cql => cql::is_same_reply(one, other),
        }
    }

    /// Where two whole replies that do not say the same differ first, for people; `None` where what they are does. It shows
    /// data.
    #[must_use]
    pub fn first_difference(self, one: (&Head, &[u8]), other: (&Head, &[u8])) -> Option<String> {
        match self {
            Self::Cql => cql::first_difference(one, other),
        }
    }

    /// What a request does; `None` when the bytes at hand do not show it. Linear, allocates nothing.
    #[must_use]
    pub fn query_type(self, request: &Head, frame: &[u8]) -> Option<QueryType> {
        match self {
            Self::Cql => cql::query_type(request, frame),
        }
    }

    /// What a request changes in its connection.
    #[must_use]
    pub fn connection_state(self, request: &Head, frame: &[u8]) -> ConnectionState {
        match self {
            Self::Cql => cql::connection_state(request, frame),
        }
    }

    /// The protocol's name as metrics have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cql => "cassandra",
        }
    }

    /// True for a request that carries a login.
    #[inline]
    #[must_use]
    pub fn is_login(self, request: &Head) -> bool {
        match self {
            Self::Cql => request.opcode == cql::opcode::AUTH_RESPONSE,
        }
    }

    /// Whom a login names, where its token can be read (SASL PLAIN). The rest of it is a secret.
    #[must_use]
    pub fn login_user(self, request: &Head, frame: &[u8]) -> Option<String> {
        match self {
            Self::Cql => cql::login_user(request, frame),
        }
    }

    /// True for the reply with which the server accepts a login.
    #[inline]
    #[must_use]
    pub fn accepts_login(self, reply: &Head) -> bool {
        match self {
            Self::Cql => reply.opcode == cql::opcode::AUTH_SUCCESS,
        }
    }

    /// True for a request that has the server run or prepare statements, rather than one that keeps up its connection.
    #[inline]
    #[must_use]
    pub fn runs_statements(self, request: &Head) -> bool {
        match self {
            Self::Cql => cql::runs_statements(request),
        }
    }

    /// True for a request whose reply its client needs before it can go on to work: such a one is best not delayed.
    #[inline]
    #[must_use]
    pub fn prepares_work(self, request: &Head) -> bool {
        match self {
            Self::Cql => matches!(request.opcode, cql::opcode::OPTIONS | cql::opcode::PREPARE),
        }
    }

    /// How many statements a request has the server run: of a batch the number that it names, else 1.
    #[inline]
    #[must_use]
    pub fn statements(self, request: &Head, frame: &[u8]) -> u32 {
        match self {
            Self::Cql => cql::statements(request, frame),
        }
    }

    /// Every name that [`Protocol::each_statement`] gives.
    #[must_use]
    pub fn statement_names(self) -> &'static [&'static str] {
        match self {
            Self::Cql => &cql::query::NAMES,
        }
    }

    /// Each statement of a request whose text is in it, as one of a few names. False when the bytes cannot be read.
    pub fn each_statement(self, request: &Head, frame: &[u8], each: impl FnMut(&'static str)) -> bool {
        match self {
            Self::Cql => cql::each_statement(request, frame, each),
        }
    }

    /// Adds the statements of a request, as far as it is here; `prepared` adds the one that an id stands for. Linear.
    #[must_use]
    pub fn outline(
        self,
        request: &Head,
        frame: &[u8],
        into: &mut cql::query::Outline,
        prepared: impl FnMut(&[u8], &mut cql::query::Outline),
    ) -> Outlined {
        match self {
            Self::Cql => cql::outline(request, frame, into, prepared),
        }
    }

    /// Each statement of a request, as far as it is here.
    #[inline]
    pub fn each_source<'f>(self, request: &Head, frame: &'f [u8], each: impl FnMut(Source<'f>)) -> Sourced {
        match self {
            Self::Cql => cql::each_source(request, frame, each),
        }
    }

    /// A whole text, taken apart.
    #[must_use]
    pub fn parsed(self, text: Arc<str>) -> cql::query::ParsedText {
        match self {
            Self::Cql => cql::query::ParsedText::new(text),
        }
    }

    /// What a whole text does, what it is as one of a few names, and what its statements are about.
    #[must_use]
    pub fn outline_of_text(self, text: &str) -> (QueryType, &'static str, cql::query::Outline) {
        match self {
            Self::Cql => {
                let mut outline = cql::query::Outline::default();
                let kind = outline.push(text);
                let first = cql::first_statement(text.as_bytes(), true);
                let query_type = first.map_or(QueryType::Read, cql::Statement::query_type);
                (query_type, kind.name(), outline)
            }
        }
    }

    /// The text of a request, as far as it is here, and whether that is all of it.
    #[must_use]
    pub fn statement_text<'f>(self, request: &Head, frame: &'f [u8]) -> Option<(&'f [u8], bool)> {
        match self {
            Self::Cql => cql::statement_text(request, frame),
        }
    }

    /// A text without its literals and comments, at most so many bytes of it. `is_whole`: it does not go on elsewhere.
    #[must_use]
    pub fn redacted(self, text: &[u8], is_whole: bool, bytes_max: usize) -> String {
        match self {
            Self::Cql => cql::redacted(text, is_whole, bytes_max),
        }
    }

    /// The code of an error reply.
    #[must_use]
    pub fn error_code(self, reply: &Head, frame: &[u8]) -> Option<i32> {
        match self {
            Self::Cql => cql::error_code(reply, frame),
        }
    }

    /// Reads all of a whole message, and says what is wrong with it.
    ///
    /// # Errors
    /// What is wrong, or that it is compressed.
    pub fn check(self, side: Side, head: &Head, frame: &[u8]) -> Result<(), Malformed> {
        match self {
            Self::Cql => cql::check(side, head, frame),
        }
    }

    /// A whole message, taken apart and written again; `None` for one that can only be passed on as it is.
    #[must_use]
    pub fn encode_again(self, side: Side, head: &Head, frame: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Cql => cql::edit::encode_again(side, head, frame),
        }
    }

    /// A message in one line, for people. Secrets of a login are not shown, nor what a request binds; the values of rows are,
    /// up to some KiB. Control characters are escaped.
    #[must_use]
    pub fn describe(self, side: Side, head: &Head, frame: &[u8]) -> String {
        match self {
            Self::Cql => cql::describe(side, head, frame),
        }
    }

    /// True for a request that prepares a statement.
    #[must_use]
    pub fn prepares(self, opcode: u8) -> bool {
        match self {
            Self::Cql => opcode == cql::opcode::PREPARE,
        }
    }

    /// True for a request that runs one prepared statement.
    #[inline]
    #[must_use]
    pub fn executes(self, opcode: u8) -> bool {
        match self {
            Self::Cql => opcode == cql::opcode::EXECUTE,
        }
    }

    /// The statement that a request prepares; `None` if it is not all there, or compressed.
    #[must_use]
    pub fn prepared_text<'f>(self, request: &Head, frame: &'f [u8]) -> Option<&'f str> {
        match self {
            Self::Cql => cql::body(Side::Request, request, frame).and_then(cql::request::prepare).ok(),
        }
    }

    /// The id of the statement that a request runs.
    #[must_use]
    pub fn prepared_id<'f>(self, request: &Head, frame: &'f [u8]) -> Option<&'f [u8]> {
        match self {
            Self::Cql => {
                cql::body(Side::Request, request, frame).and_then(|mut body| body.short_bytes()).ok()
            }
        }
    }

    /// The id that a batch begins with, if it begins with one. `None` for others.
    #[must_use]
    pub fn first_batched_id<'f>(self, request: &Head, frame: &'f [u8]) -> Option<&'f [u8]> {
        match self {
            Self::Cql => cql::first_batched_id(request, frame),
        }
    }

    /// What a reply says of its connection or its statement.
    #[must_use]
    pub fn said<'f>(self, reply: &Head, frame: &'f [u8]) -> cql::session::Said<'f> {
        match self {
            Self::Cql => cql::session::said(reply, frame),
        }
    }

    /// What the reply to a PREPARE says of the statement.
    #[must_use]
    pub fn prepared_metadata(self, reply: &Head, frame: &[u8]) -> Option<PreparedMetadata> {
        match self {
            Self::Cql => match cql::body(Side::Response, reply, frame).and_then(cql::response::result) {
                Ok(cql::response::Outcome::Prepared(prepared)) => prepared.metadata(reply.version).ok(),
                _ => None,
            },
        }
    }

    /// Hands over the values that a request binds, each with the place of its statement in the request and its name.
    /// `binds`: what the statement of an id is known to bind; other values have no type. False if they are not all there.
    pub fn bound_values<K: AsRef<Metadata>>(
        self,
        request: &Head,
        frame: &[u8],
        binds: impl FnMut(&[u8]) -> Option<K>,
        each: impl FnMut(usize, Option<&str>, cql::value::Value<'_>),
    ) -> bool {
        match self {
            Self::Cql => cql::bound_values(request, frame, binds, each).is_ok(),
        }
    }

    /// The rows of a reply. `known`: the columns of its statement, for one that leaves them out.
    #[must_use]
    pub fn rows<'f>(
        self,
        reply: &Head,
        frame: &'f [u8],
        known: Option<&Arc<Metadata>>,
    ) -> Option<cql::response::Page<'f>> {
        match self {
            Self::Cql if reply.opcode != cql::opcode::RESULT => None,
            Self::Cql => match cql::body(Side::Response, reply, frame).and_then(cql::response::result) {
                Ok(cql::response::Outcome::Rows(rows)) => rows.page(known).ok(),
                _ => None,
            },
        }
    }
}
