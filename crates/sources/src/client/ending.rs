//! How a client's connection ends: what is due is awaited, what can be answered is, and our side is shut.

use std::task::Poll;
use std::time::Duration;

use chain::{Cx, Fault, Filled, Outlet, Piece, Progress, Stream};
use wire::{ErrorKind, Malformed, Side};

use super::{Client, MADE_REPLY_BYTES_MAX, State, Turn};
use crate::end::End;
use crate::patience::ending_max;

/// How long a client may take to read the errors it is sent before its connection is closed.
const CLOSING_MAX: Duration = Duration::from_secs(5);

/// How long bytes of a client are discarded after its connection was shut.
const LINGER_MAX: Duration = Duration::from_secs(1);

impl<S: Stream> Client<S> {
    #[inline(never)]
    pub(super) fn ending(&mut self, cx: &mut Cx<'_, '_>) -> Result<Turn, Fault> {
        if self.has_uncut && !self.is_over_mark() {
            // Requests that were read before the end came are requests like any other.
            if let Some(malformed) = self.cut_requests(cx)? {
                self.refuse(cx, malformed);
                return Ok(Turn::Moved);
            }
        }
        let is_coming = |client: &Self| client.may_finish() && client.chain.is_torn();
        if !self.is_done_told && !self.has_uncut && !is_coming(self) {
            (self.is_done_told, self.quiet.replies) = (true, false);
            self.chain.client_done(cx)?;
        }
        let requests = self.finish_request(cx)?;
        if let Turn::Ended(_) = requests {
            return Ok(requests);
        }
        match (requests, self.take_replies(cx)?) {
            (Turn::Idle, Progress::Idle) => {}
            _ => return Ok(Turn::Moved),
        }
        // A request whose rest will never come needs no reply.
        let is_answered = !self.is_owed() && !self.has_uncut && !is_coming(self);
        let State::Ending { end, deadline } = &mut self.state else { return Ok(Turn::Moved) };
        let is_over = *deadline <= cx.now;
        if !is_over && (!is_answered || !self.outlet.is_empty()) {
            return Ok(Turn::Idle);
        }
        match std::mem::replace(end, End::ClientLeft) {
            End::Refused(malformed) => self.close_refused(cx, malformed, is_over),
            _ if is_over => return Ok(Turn::Ended(End::TimedOut)),
            // The client may be sending: what is under way must not make the kernel destroy its last replies.
            End::Drained => self.linger(cx, End::Drained),
            end => return Ok(Turn::Ended(end)),
        }
        Ok(Turn::Moved)
    }

    /// A client that is drained while it sends a large request may finish it, unless that was refused.
    fn may_finish(&self) -> bool {
        let is_drained = matches!(self.state, State::Ending { end: End::Drained, .. });
        is_drained && self.request_rest > 0 && !self.drops_rest
    }

    fn finish_request(&mut self, cx: &mut Cx<'_, '_>) -> Result<Turn, Fault> {
        if !self.may_finish() || self.is_over_mark() {
            return Ok(Turn::Idle);
        }
        match self.inlet.poll_fill(cx, &mut self.stream) {
            Poll::Pending => return Ok(Turn::Idle),
            Poll::Ready(Ok(Filled::Bytes(_))) => {}
            Poll::Ready(Ok(Filled::End)) => {
                if let State::Ending { end, .. } = &mut self.state {
                    *end = End::ClientLeft;
                }
            }
            Poll::Ready(Err(error)) => return Ok(Turn::Ended(End::ClientFailed(error))),
        }
        self.quiet.replies = false;
        self.pass_tail(cx)?;
        Ok(Turn::Moved)
    }

    /// Reads no more. What is wrong with the client's bytes it is told behind the replies that are due: it may have the
    /// stream id of one of them.
    #[cold]
    pub(super) fn refuse(&mut self, cx: &Cx<'_, '_>, malformed: Malformed) {
        let mut deadline = cx.now.after(ending_max(self.request_rest > 0));
        if let State::Ending { deadline: own, .. } = &self.state {
            deadline = deadline.min(*own);
        }
        self.state = State::Ending { end: End::Refused(malformed), deadline };
    }

    /// Tells the client what was wrong with its bytes, and closes: at once if it has been waited for long enough.
    fn close_refused(&mut self, cx: &Cx<'_, '_>, malformed: Malformed, is_over: bool) {
        self.push_made(self.chain.part().protocol().refusal(&malformed));
        let deadline = if is_over { cx.now } else { cx.now.after(CLOSING_MAX) };
        self.state = State::Closing { end: End::Refused(malformed), deadline, refusal: None };
    }

    /// Answers what is known not to have run, and closes.
    #[cold]
    pub(super) fn fail(&mut self, cx: &Cx<'_, '_>, fault: Fault) -> Turn {
        if let Some(error) = self.replies.gone.take() {
            return Turn::Ended(End::ClientFailed(error));
        }
        let was_busy = self.chain.in_flight() > 0 || self.replies.rest > 0;
        let fault =
            fault.within("Failed to send and/or receive messages, the connection will now be closed.");
        let text = format!(
            "Internal shotover (or custom transform) bug (chain: {}): {fault}",
            self.chain.part().name()
        );
        for reply in self.chain.error_replies(ErrorKind::Server, &text, fault.nothing_sent) {
            self.push_made(reply);
        }
        let refusal = fault.nothing_sent.then_some(text);
        let deadline = cx.now.after(CLOSING_MAX);
        self.has_uncut = !self.inlet.is_empty();
        self.state = State::Closing { end: End::Failed { fault, was_busy }, deadline, refusal };
        Turn::Moved
    }

    /// Queues a reply made here, unless it would tear a large reply that is half out.
    fn push_made(&mut self, frame: Vec<u8>) {
        if self.replies.rest == 0 {
            self.outlet.push(Piece::whole(self.chain.part().pool().own(frame)));
        }
    }

    #[inline(never)]
    pub(super) fn closing(&mut self, cx: &mut Cx<'_, '_>) -> Turn {
        let State::Closing { deadline, refusal, .. } = &mut self.state else { return Turn::Moved };
        let is_over = *deadline <= cx.now;
        if let Some(text) = refusal.take() {
            let more = self.refuse_arrived(cx, &text);
            if let State::Closing { refusal, .. } = &mut self.state {
                *refusal = more.then_some(text);
            }
            if more {
                return Turn::Moved;
            }
        }
        match self.flush(cx) {
            Ok(false) if !is_over => return Turn::Idle,
            Ok(_) => {}
            Err(_) => self.outlet = Outlet::default(),
        }
        if let State::Closing { end, .. } = std::mem::replace(&mut self.state, State::Done) {
            self.linger(cx, end);
        }
        Turn::Moved
    }

    /// Answers requests that arrived though they can no longer be served. True while more may be there.
    fn refuse_arrived(&mut self, cx: &mut Cx<'_, '_>, text: &str) -> bool {
        if !self.has_uncut {
            match self.inlet.poll_fill(cx, &mut self.stream) {
                Poll::Ready(Ok(Filled::Bytes(_))) => {}
                _ => return false,
            }
        }
        self.has_uncut = false;
        let protocol = self.chain.part().protocol();
        while !self.inlet.is_empty() && self.outlet.memory() <= MADE_REPLY_BYTES_MAX {
            if self.request_rest == 0 {
                match protocol.frame(self.inlet.bytes(), Side::Request, self.rules.frame_bytes_max) {
                    wire::Framed::Frame(head) => {
                        self.push_made(protocol.error_reply(&head, ErrorKind::Server, text));
                        self.request_rest = u64::from(head.frame_bytes);
                    }
                    wire::Framed::NotYet => return true,
                    wire::Framed::Malformed(_) => return false,
                }
            }
            let here = self.inlet.bytes().len().min(usize::try_from(self.request_rest).unwrap_or(usize::MAX));
            self.request_rest -= here as u64;
            self.inlet.consume(here);
        }
        self.inlet.is_empty()
    }

    /// Shuts our sending side, and discards what is still under way. What the chain has left to do need not wait for it.
    fn linger(&mut self, cx: &mut Cx<'_, '_>, end: End) {
        self.chain.close(cx);
        self.state = match self.stream.poll_shutdown(cx.task) {
            Poll::Ready(Err(_)) => State::Lingering { end, deadline: cx.now },
            _ => State::Lingering { end, deadline: cx.now.after(LINGER_MAX) },
        };
    }

    #[inline(never)]
    pub(super) fn lingering(&mut self, cx: &mut Cx<'_, '_>) -> Turn {
        let unread = self.inlet.bytes().len();
        self.inlet.consume(unread);
        let filled = self.inlet.poll_fill(cx, &mut self.stream);
        let State::Lingering { end, deadline } = &mut self.state else { return Turn::Moved };
        match filled {
            Poll::Ready(Ok(Filled::Bytes(_))) if *deadline > cx.now => Turn::Moved,
            Poll::Pending if *deadline > cx.now => Turn::Idle,
            _ => Turn::Ended(std::mem::replace(end, End::ClientLeft)),
        }
    }
}
