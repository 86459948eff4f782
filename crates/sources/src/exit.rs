//! Where replies leave the chain of a client: its socket.

use std::ops::Range;

use chain::{Batch, Chunk, Cx, Exit, Fault, Message, Outlet, Stream};
use observe::SourceMetrics;
use wire::Protocol;

use crate::login::Login;

/// The way out to one client, borrowed from its loop for one poll of its chain.
pub(crate) struct ClientExit<'c, S> {
    pub(crate) protocol: Protocol,
    /// Somebody below accepts handshakes.
    pub(crate) reaches_servers: bool,
    pub(crate) stream: &'c mut S,
    pub(crate) outlet: &'c mut Outlet,
    pub(crate) progress: &'c mut ReplyProgress,
}

/// What the loop remembers of the replies that went out.
#[derive(Default)]
pub(crate) struct ReplyProgress {
    /// The server has accepted this client's handshake; where there is no server, the client was answered.
    pub(crate) is_established: bool,
    /// Bytes of a large reply that are still to come: nothing else may be written between them.
    pub(crate) rest: u64,
    /// The client's socket failed.
    pub(crate) gone: Option<std::io::Error>,
    login: Login,
}

impl ReplyProgress {
    /// Looks at requests on their way to the server for who their client says it is, and counts the sessions they begin.
    /// Looks no further once the session has begun.
    pub(crate) fn note_handshake(
        &mut self,
        protocol: Protocol,
        chunk: &Chunk,
        requests: &[Message],
        metrics: Option<&SourceMetrics>,
    ) {
        if self.is_established {
            return;
        }
        self.login.note(protocol, chunk, requests);
        let Some(metrics) = metrics else { return };
        for head in requests.iter().map(Message::head).filter(|head| protocol.is_startup(head)) {
            metrics.count_session(head.version);
        }
    }
}

impl<S> ClientExit<'_, S> {
    fn gone(&mut self, error: std::io::Error) -> Fault {
        let fault = Fault::new("the client's connection failed").caused_by(&error);
        self.progress.gone = Some(error);
        fault
    }
}

impl<S: Stream> Exit for ClientExit<'_, S> {
    fn is_ready(&self) -> bool {
        self.outlet.is_empty()
    }

    fn deliver(&mut self, cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        let Self { protocol, reaches_servers, stream, outlet, progress } = self;
        let sent = batch.outgoing(
            |message, ledger| {
                progress.rest = message.rest();
                if !progress.is_established {
                    if let Some(request) = ledger.get(message.ticket()) {
                        let identity = ledger.identity();
                        progress.login.answered(*protocol, &request.head, message.head(), identity);
                    }
                    progress.is_established = !*reaches_servers || protocol.establishes(message.head());
                }
            },
            |outgoing| outlet.send_outgoing(cx, *stream, outgoing),
        );
        sent.map_err(|error| self.gone(error))
    }

    fn looks(&self) -> bool {
        !self.progress.is_established || self.progress.rest > 0
    }

    fn deliver_bytes(
        &mut self,
        cx: &mut Cx<'_, '_>,
        chunk: &Chunk,
        range: Range<usize>,
    ) -> Result<(), Fault> {
        self.progress.rest = self.progress.rest.saturating_sub(range.len() as u64);
        self.outlet.send(cx, self.stream, chunk, range).map_err(|error| self.gone(error))
    }
}
