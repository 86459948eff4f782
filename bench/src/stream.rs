//! One connection's bytes: whole frames in, one write out.

use std::io::{self, ErrorKind, Read, Write};

use mio::net::TcpStream;

use crate::frames::{BODY_BYTES_MAX, HEADER_BYTES, Header};

/// What one read found.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// All there was; epoll will tell of more.
    All,
    /// As much as there was room for: there may be more.
    Some,
    /// The end of the connection.
    End,
}

/// A socket, and what of its bytes is still under way.
pub(crate) struct Stream {
    pub(crate) socket: TcpStream,
    /// The beginning of a frame whose end has not come yet.
    partial: Vec<u8>,
    /// What is to be sent.
    pub(crate) out: Vec<u8>,
    sent: usize,
}

impl Stream {
    pub(crate) fn new(socket: TcpStream) -> Self {
        Self { socket, partial: Vec::new(), out: Vec::new(), sent: 0 }
    }

    /// One read, and `each` for every whole frame; what `each` puts into the vector is sent by [`Stream::flush`].
    pub(crate) fn read(
        &mut self,
        scratch: &mut [u8],
        mut each: impl FnMut(Header, &[u8], &mut Vec<u8>),
    ) -> io::Result<Found> {
        let begun = self.partial.len();
        scratch
            .get_mut(..begun)
            .ok_or_else(|| io::Error::other("a frame larger than the buffer"))?
            .copy_from_slice(&self.partial);
        let found = match self.socket.read(&mut scratch[begun..]) {
            Ok(0) => return Ok(Found::End),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(Found::All);
            }
            Err(error) => return Err(error),
        };
        let is_full = begun + found == scratch.len();
        let mut rest = &scratch[..begun + found];
        while let Some(header) = Header::read(rest) {
            if header.body_bytes > BODY_BYTES_MAX {
                return Err(io::Error::other(format!("a body of {} bytes", header.body_bytes)));
            }
            let Some((frame, after)) = rest.split_at_checked(HEADER_BYTES + header.body_bytes) else { break };
            each(header, &frame[HEADER_BYTES..], &mut self.out);
            rest = after;
        }
        self.partial.clear();
        self.partial.extend_from_slice(rest);
        Ok(if is_full { Found::Some } else { Found::All })
    }

    /// One write of what is to be sent, if anything is; what the socket does not take waits until it does.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while self.sent < self.out.len() {
            match self.socket.write(&self.out[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(())
    }
}
