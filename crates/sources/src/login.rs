//! Who a client says it is, and when that is known to be true: the server has accepted it.

use std::rc::Rc;

use chain::{Chunk, Identity, Message};
use wire::{Head, Protocol};

/// The longest name of a user that is kept, bytes: of a longer one nothing is known. Cassandra's roles have some dozen.
const USER_BYTES_MAX: usize = 256;

/// What a client has claimed in its handshake so far.
#[derive(Default)]
pub(crate) struct Login {
    claim: Claim,
}

#[derive(Default)]
enum Claim {
    #[default]
    Nobody,
    /// One login is on its way, for this user.
    User(Rc<str>),
    /// Several are, or one that names nobody: which of them the server accepts cannot be told.
    Unclear,
}

impl Login {
    /// Looks at requests for logins.
    pub(crate) fn note(&mut self, protocol: Protocol, chunk: &Chunk, requests: &[Message]) {
        for request in requests.iter().filter(|request| protocol.is_login(request.head())) {
            let frame = chunk.bytes().get(request.range()).unwrap_or_default();
            let user = protocol.login_user(request.head(), frame);
            let user = user.filter(|user| !user.is_empty() && user.len() <= USER_BYTES_MAX);
            self.claim = match (&self.claim, user) {
                (Claim::Nobody, Some(user)) => Claim::User(user.into()),
                _ => Claim::Unclear,
            };
        }
    }

    /// A reply is given to the client: one that accepts its login settles who it is. `request`: what it answers. Only the
    /// answer to a login says anything about it: an error may as well be that to a request beside it.
    pub(crate) fn answered(&mut self, protocol: Protocol, request: &Head, reply: &Head, identity: &Identity) {
        if !protocol.is_login(request) {
            return;
        }
        if protocol.accepts_login(reply) {
            if let Claim::User(user) = std::mem::take(&mut self.claim) {
                identity.set_user(user);
            }
        } else if protocol.is_error(reply) && matches!(self.claim, Claim::User(_)) {
            self.claim = Claim::Nobody;
        }
    }
}

#[cfg(test)]
mod tests {
    use chain::{Identity, Message, Pool};
    use wire::{Framed, Head, Protocol, Side};

    use super::Login;

    const ERROR: [u8; 9] = [0x84, 0, 0, 0, 0x00, 0, 0, 0, 0];
    const QUERY: [u8; 9] = [4, 0, 0, 1, 0x07, 0, 0, 0, 0];
    const QUERY_REFUSED: [u8; 9] = [0x84, 0, 0, 1, 0x00, 0, 0, 0, 0];
    const READY: [u8; 9] = [0x84, 0, 0, 0, 0x02, 0, 0, 0, 0];
    const AUTH_SUCCESS: [u8; 9] = [0x84, 0, 0, 0, 0x10, 0, 0, 0, 0];

    fn head(frame: &[u8], side: Side) -> Head {
        let Framed::Frame(head) = Protocol::Cql.frame(frame, side, u32::MAX) else { panic!("no frame") };
        head
    }

    /// An AUTH_RESPONSE with this token.
    fn token(token: &[u8]) -> Vec<u8> {
        let length = |more: usize| u32::try_from(token.len() + more).unwrap().to_be_bytes();
        [&[4, 0, 0, 0, 0x0F], &length(4)[..], &length(0), token].concat()
    }

    /// Who a client is that sends and gets these frames in turn. A reply answers the oldest request with its stream id.
    fn user(frames: &[&[u8]]) -> Option<String> {
        let (mut login, identity, pool) = (Login::default(), Identity::default(), Pool::new());
        let mut asked = Vec::new();
        for frame in frames {
            if frame[0] == 4 {
                let chunk = pool.own(Vec::from(*frame));
                let request = Message::new(head(frame, Side::Request), 0, frame.len());
                asked.push(*request.head());
                login.note(Protocol::Cql, &chunk, &[request]);
            } else {
                let reply = head(frame, Side::Response);
                let at = asked.iter().position(|request| request.id == reply.id).expect("a request");
                login.answered(Protocol::Cql, &asked.remove(at), &reply, &identity);
            }
        }
        identity.user().map(|user| user.to_string())
    }

    #[test]
    fn a_user_is_who_the_server_has_let_in() {
        let [bob, eve] = [token(b"\0bob\0secret"), token(b"\0eve\0guess")];
        assert_eq!(user(&[&bob, &AUTH_SUCCESS]), Some("bob".to_owned()));
        assert_eq!(user(&[&bob]), None, "the server has not answered");
        assert_eq!(user(&[&bob, &READY]), None, "the server did not ask");
        assert_eq!(user(&[&bob, &ERROR]), None);
        assert_eq!(user(&[&eve, &ERROR, &bob, &AUTH_SUCCESS]), Some("bob".to_owned()));
        assert_eq!(user(&[&bob, &eve, &AUTH_SUCCESS]), None, "one of them, but which?");
        assert_eq!(user(&[&bob, &eve, &ERROR, &AUTH_SUCCESS]), None);
    }

    #[test]
    fn what_else_is_refused_says_nothing_about_a_login() {
        let [bob, eve] = [token(b"\0bob\0guess"), token(b"\0eve\0secret")];
        assert_eq!(user(&[&eve, &QUERY, &QUERY_REFUSED, &AUTH_SUCCESS]), Some("eve".to_owned()));
        assert_eq!(user(&[&eve, &QUERY, &QUERY_REFUSED, &bob, &AUTH_SUCCESS]), None, "it was eve's");
        assert_eq!(user(&[&QUERY, &eve, &QUERY_REFUSED, &bob, &AUTH_SUCCESS, &ERROR]), None);
    }

    #[test]
    fn a_token_that_names_nobody_makes_nobody() {
        for token in [token(b""), token(b"\0\0x"), token(b"no zero"), token(&[0; 3]), token(&[0, 0xff, 0, 1])]
        {
            assert_eq!(user(&[&token, &AUTH_SUCCESS]), None);
        }
        let long = [b"\0".as_slice(), &[b'x'; 300], b"\0p"].concat();
        assert_eq!(user(&[&token(&long), &AUTH_SUCCESS]), None);
        assert_eq!(user(&[&token(b"other\0bob\0p"), &AUTH_SUCCESS]), Some("bob".to_owned()));
    }
}
