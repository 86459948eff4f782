//! Who a client is to its server, and how a session of that client is begun again on another connection.

use sha2::{Digest, Sha256};
use wire::Head;
use wire::cql::{opcode, session};
use zeroize::Zeroizing;

/// What clients must have in common to share a connection. Two clients with the same key would be given the same
/// answers by the server. Protocol v5, compression and TLS will add to it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Of protocol version, STARTUP options and the accepted AUTH_RESPONSE. A digest, so that no secret is kept for
    /// as long as a pool lives.
    session: [u8; 32],
    /// The keyspace in use, as the server named it.
    pub(super) keyspace: Option<String>,
}

/// The stream id of replayed handshakes: none that a request could have, so that nothing of a handshake can be taken
/// for a request's reply.
const REPLAY_ID: i16 = i16::MAX;

/// The handshake of a client while it goes on.
#[derive(Default)]
pub(super) struct Recorder {
    startup: Option<Vec<u8>>,
    auth_response: Option<Zeroizing<Vec<u8>>>,
    /// Something was sent that the handshake of another connection would not repeat.
    pub(super) has_more: bool,
}

impl Recorder {
    /// Keeps what begins a session. `rest`: bytes of the frame that are still to come, and will not be seen here.
    pub(super) fn record(&mut self, head: &Head, frame: &[u8], rest: u64) {
        match head.opcode {
            _ if rest > 0 => self.has_more = true,
            opcode::OPTIONS => {}
            opcode::STARTUP if self.startup.is_none() => {
                self.startup = Some(frame.to_vec()); // copy: once a client
            }
            opcode::AUTH_RESPONSE if self.auth_response.is_none() => {
                self.auth_response = Some(Zeroizing::new(frame.to_vec())); // copy: once a client
            }
            _ => self.has_more = true,
        }
    }

    /// What the server has accepted; `None` if such a session cannot be begun again by sending the same bytes, or its
    /// requests cannot be read.
    pub(super) fn accepted(self, version: u8) -> Option<Identity> {
        let startup = self.startup.filter(|_| !self.has_more)?;
        let wire::Framed::Frame(head) = wire::Protocol::Cql.frame(
            &startup,
            wire::Side::Request,
            wire::limits::FRAME_BYTES_MAX_BEFORE_HANDSHAKE,
        ) else {
            return None;
        };
        let options = session::startup_options(&head, &startup)?;
        let mut digest = Sha256::new();
        digest.update([version]);
        for part in options.iter().flat_map(|(key, value)| [key, value]) {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part.as_bytes());
        }
        // What is known to end the options cannot be taken for one of them.
        digest.update(u64::MAX.to_be_bytes());
        let token = self.auth_response.as_ref().and_then(|frame| frame.get(9..)).unwrap_or_default();
        digest.update(token);
        let session = digest.finalize().into();
        Some(Identity { version, startup, auth_response: self.auth_response, session })
    }
}

/// A session that the server has accepted. What is kept of its secret is overwritten when its client is gone; the buffers it
/// passes through on its way to the server are not, each time it does.
pub(super) struct Identity {
    pub(super) version: u8,
    startup: Vec<u8>,
    auth_response: Option<Zeroizing<Vec<u8>>>,
    session: [u8; 32],
}

impl Identity {
    pub(super) fn key(&self, keyspace: Option<&str>) -> Key {
        Key { session: self.session, keyspace: keyspace.map(str::to_owned) }
    }

    /// The frames that begin this session, in order; each is sent when the one before was answered well.
    pub(super) fn replay(&self, keyspace: Option<&str>) -> Replay {
        let steps = [
            Some(Zeroizing::new(self.startup.clone())),
            self.auth_response.clone(),
            keyspace.map(|keyspace| Zeroizing::new(session::use_keyspace(self.version, 0, keyspace))),
        ];
        let steps = steps.into_iter().flatten().map(|mut frame| {
            session::set_id(&mut frame, REPLAY_ID);
            frame
        });
        let mut steps: Vec<_> = steps.collect();
        steps.reverse();
        Replay { steps, chooses_keyspace: false }
    }
}

/// A session on its way to being begun on one connection.
pub(super) struct Replay {
    /// What is still to be sent, the last first.
    steps: Vec<Zeroizing<Vec<u8>>>,
    /// The last step was sent, and it is a USE.
    chooses_keyspace: bool,
}

/// What comes next.
pub(super) enum Next {
    /// This is sent.
    Send(Zeroizing<Vec<u8>>),
    /// The session is as it was.
    Done,
    /// It is, but for its keyspace, which the server does not know any more.
    NoKeyspace,
    /// The server does not accept it any more.
    Refused,
}

impl Replay {
    /// The frame that comes first.
    pub(super) fn first(&mut self) -> Next {
        self.steps.pop().map_or(Next::Refused, Next::Send)
    }

    /// What follows upon a reply.
    pub(super) fn answered(&mut self, reply: &Head, frame: &[u8]) -> Next {
        let is_in_order = match reply.opcode {
            // The server asks for what was sent to it before, or it does not ask though it did then.
            opcode::AUTHENTICATE => {
                self.steps.last().is_some_and(|next| next.get(4) == Some(&opcode::AUTH_RESPONSE))
            }
            opcode::READY | opcode::AUTH_SUCCESS => {
                self.steps.last().is_none_or(|next| next.get(4) == Some(&opcode::QUERY))
            }
            // A connection that was in the keyspace when it was dropped would go on as well.
            opcode::ERROR if self.chooses_keyspace && is_invalid(reply, frame) => return Next::NoKeyspace,
            opcode::RESULT => matches!(session::said(reply, frame), session::Said::Keyspace(_)),
            _ => false,
        };
        match self.steps.pop().filter(|_| is_in_order) {
            Some(frame) => {
                self.chooses_keyspace = frame.get(4) == Some(&opcode::QUERY);
                Next::Send(frame)
            }
            None if is_in_order => Next::Done,
            None => Next::Refused,
        }
    }
}

/// A server says that a statement is invalid when it does not know the keyspace (section 9, code 0x2200).
fn is_invalid(reply: &Head, frame: &[u8]) -> bool {
    let code = wire::cql::body(wire::Side::Response, reply, frame).and_then(|mut body| body.i32());
    code == Ok(0x2200)
}
