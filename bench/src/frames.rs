//! The frames of load and echo servers. Each request carries a token, and its reply must bring that token back.
//!
//! Both are valid CQL (native protocol v4): a proxy that parses statements or rows understands them.

/// Bytes of a header.
pub(crate) const HEADER_BYTES: usize = 9;

/// A body may not be longer; what is, was not sent by this program.
pub(crate) const BODY_BYTES_MAX: usize = 1 << 20;

/// What tells a request from all others of a run: 16 hex digits.
pub(crate) type Token = [u8; 16];

const REQUEST_VERSION: u8 = 0x04;
const REPLY_VERSION: u8 = 0x84;

/// Opcodes (section 2.4 of the protocol).
pub(crate) mod opcode {
    pub(crate) const STARTUP: u8 = 0x01;
    pub(crate) const READY: u8 = 0x02;
    pub(crate) const OPTIONS: u8 = 0x05;
    pub(crate) const SUPPORTED: u8 = 0x06;
    pub(crate) const QUERY: u8 = 0x07;
    pub(crate) const RESULT: u8 = 0x08;
    pub(crate) const REGISTER: u8 = 0x0B;
}

/// The statement, in its parts: the token stands between the first two, the size of the wanted reply after the second.
const BEFORE_TOKEN: &[u8] = b"SELECT v FROM t WHERE k = '";
const BEFORE_SIZE: &[u8] = b"' AND n = ";
const SIZE_DIGITS: usize = 8;

/// Where token and size stand in a request's body, after the length of the statement.
const TOKEN_AT: usize = 4 + BEFORE_TOKEN.len();
const SIZE_AT: usize = TOKEN_AT + size_of::<Token>() + BEFORE_SIZE.len();

/// Consistency ONE, and no flags: the end of a QUERY.
const QUERY_END: [u8; 3] = [0, 1, 0];

/// Rows of one row of one column, without metadata; the length of the value follows.
const ROWS: [u8; 16] = [0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 1];

/// Where the token stands in a reply's body.
const REPLY_TOKEN_AT: usize = ROWS.len() + 4;

/// The smallest frames that hold what they must.
pub(crate) const REQUEST_BYTES_MIN: usize = HEADER_BYTES + SIZE_AT + SIZE_DIGITS + QUERY_END.len();
pub(crate) const REPLY_BYTES_MIN: usize = HEADER_BYTES + REPLY_TOKEN_AT + size_of::<Token>();

/// What a header says.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) id: i16,
    pub(crate) opcode: u8,
    pub(crate) body_bytes: usize,
}

impl Header {
    /// The header at the start of these bytes, if it is whole.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let [_, _, high, low, opcode, l0, l1, l2, l3] = *bytes.first_chunk::<HEADER_BYTES>()?;
        let body_bytes = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        Some(Self { id: i16::from_be_bytes([high, low]), opcode, body_bytes })
    }
}

fn header(version: u8, id: i16, opcode: u8, body_bytes: usize) -> [u8; HEADER_BYTES] {
    let [high, low] = id.to_be_bytes();
    let [l0, l1, l2, l3] = (body_bytes as u32).to_be_bytes();
    [version, 0, high, low, opcode, l0, l1, l2, l3]
}

/// The frame that begins a session.
pub(crate) fn startup() -> Vec<u8> {
    let mut body = vec![0, 1];
    for text in ["CQL_VERSION", "3.0.0"] {
        body.extend_from_slice(&(text.len() as u16).to_be_bytes());
        body.extend_from_slice(text.as_bytes());
    }
    [&header(REQUEST_VERSION, 0, opcode::STARTUP, body.len()), &*body].concat()
}

/// The request of a load, made once and filled in for each sending.
pub(crate) struct Request {
    frame: Vec<u8>,
}

impl Request {
    /// A frame of `bytes` that asks for one of `reply_bytes`.
    pub(crate) fn new(bytes: usize, reply_bytes: usize) -> Self {
        let bytes = bytes.max(REQUEST_BYTES_MIN);
        let body_bytes = bytes - HEADER_BYTES;
        let statement_bytes = body_bytes - 4 - QUERY_END.len();
        let mut frame = header(REQUEST_VERSION, 0, opcode::QUERY, body_bytes).to_vec();
        frame.extend_from_slice(&(statement_bytes as u32).to_be_bytes());
        frame.extend_from_slice(BEFORE_TOKEN);
        frame.extend_from_slice(&[b'0'; size_of::<Token>()]);
        frame.extend_from_slice(BEFORE_SIZE);
        frame.extend_from_slice(format!("{reply_bytes:0SIZE_DIGITS$}").as_bytes());
        frame.resize(bytes - QUERY_END.len(), b' ');
        frame.extend_from_slice(&QUERY_END);
        Self { frame }
    }

    /// Puts it behind what is to be sent.
    pub(crate) fn put(&mut self, id: i16, token: &Token, out: &mut Vec<u8>) {
        self.frame[2..4].copy_from_slice(&id.to_be_bytes());
        let at = HEADER_BYTES + TOKEN_AT;
        self.frame[at..at + token.len()].copy_from_slice(token);
        out.extend_from_slice(&self.frame);
    }
}

/// What a server answers to any request.
pub(crate) fn answer(asked: Header, body: &[u8], out: &mut Vec<u8>) {
    let (opcode, empty): (u8, &[u8]) = match asked.opcode {
        opcode::STARTUP | opcode::REGISTER => (opcode::READY, &[]),
        opcode::OPTIONS => (opcode::SUPPORTED, &[0, 0]),
        _ => return answer_with_rows(asked.id, body, out),
    };
    out.extend_from_slice(&header(REPLY_VERSION, asked.id, opcode, empty.len()));
    out.extend_from_slice(empty);
}

fn answer_with_rows(id: i16, body: &[u8], out: &mut Vec<u8>) {
    let token = body.get(TOKEN_AT..TOKEN_AT + size_of::<Token>()).unwrap_or(&[b'?'; size_of::<Token>()]);
    let digits = body.get(SIZE_AT..SIZE_AT + SIZE_DIGITS).unwrap_or_default();
    let wanted = digits.iter().fold(0, |size, digit| size * 10 + usize::from(digit.wrapping_sub(b'0') % 10));
    let frame_bytes = wanted.clamp(REPLY_BYTES_MIN, BODY_BYTES_MAX);
    let value_bytes = frame_bytes - HEADER_BYTES - REPLY_TOKEN_AT;
    let end = out.len() + frame_bytes;
    out.extend_from_slice(&header(REPLY_VERSION, id, opcode::RESULT, frame_bytes - HEADER_BYTES));
    out.extend_from_slice(&ROWS);
    out.extend_from_slice(&(value_bytes as u32).to_be_bytes());
    out.extend_from_slice(token);
    out.resize(end, b'.');
}

/// The token that a reply brings back, if the reply is what was asked for.
pub(crate) fn token_of(reply: Header, body: &[u8], reply_bytes: usize) -> Option<Token> {
    let is_as_asked =
        reply.opcode == opcode::RESULT && HEADER_BYTES + body.len() == reply_bytes.max(REPLY_BYTES_MIN);
    body.get(REPLY_TOKEN_AT..).filter(|_| is_as_asked)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::{HEADER_BYTES, Header, REPLY_BYTES_MIN, Request, answer, startup, token_of};

    fn ask(request_bytes: usize, reply_bytes: usize) -> (Vec<u8>, Vec<u8>) {
        let (mut request, mut reply) = (Vec::new(), Vec::new());
        Request::new(request_bytes, reply_bytes).put(-7, b"0123456789abcdef", &mut request);
        let header = Header::read(&request).unwrap();
        assert_eq!(HEADER_BYTES + header.body_bytes, request.len());
        answer(header, &request[HEADER_BYTES..], &mut reply);
        (request, reply)
    }

    #[test]
    fn a_reply_has_the_size_asked_for_and_brings_the_token_back() {
        for (request_bytes, reply_bytes) in [(100, 100), (100, 10_000), (0, 0), (5000, 77)] {
            let (request, reply) = ask(request_bytes, reply_bytes);
            assert!(request.len() >= request_bytes);
            assert_eq!(reply.len(), reply_bytes.max(REPLY_BYTES_MIN));
            let header = Header::read(&reply).unwrap();
            assert_eq!(header.id, -7);
            let token = token_of(header, &reply[HEADER_BYTES..], reply_bytes);
            assert_eq!(token.as_ref(), Some(b"0123456789abcdef"));
            assert_eq!(token_of(header, &reply[HEADER_BYTES..], reply_bytes.max(REPLY_BYTES_MIN) + 1), None);
        }
        assert_eq!(ask(100, 100).0.len(), 100);
    }

    #[test]
    fn a_session_can_begin() {
        let (frame, mut reply) = (startup(), Vec::new());
        answer(Header::read(&frame).unwrap(), &frame[HEADER_BYTES..], &mut reply);
        assert_eq!(reply, [0x84, 0, 0, 0, 0x02, 0, 0, 0, 0]);
    }
}
