//! A TCP socket as the data path sees it.

use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use chain::Stream;
use mio::Token;
use mio::net::TcpStream;
use rustix::io::{Errno, writev};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::{SockRef, TcpKeepalive};

use crate::reactor::{Handle, READABLE, SocketState, WRITABLE};

/// How long a peer may be silent before it is asked whether it is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);

/// How long it may take to answer that before it is asked again.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// How often it is asked before it counts as gone.
const KEEPALIVE_RETRIES: u32 = 6;

/// Makes the kernel notice a peer whose machine is gone: it sends nothing, not even an end, and would hold its place
/// for ever. What is accepted on such a socket inherits it.
///
/// `TCP_USER_TIMEOUT` is not set: it would also cut off a peer that lives and takes no bytes for a while, which a
/// server without a proxy before it would not.
pub(crate) fn keep_alive(socket: &impl AsFd) -> io::Result<()> {
    let socket = SockRef::from(socket);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    socket.set_tcp_keepalive(&keepalive)
}

/// A connected TCP socket with TCP_NODELAY, registered with its worker. A short read says that the socket is drained:
/// the read that would find nothing is not made.
pub struct Tcp {
    socket: TcpStream,
    token: Token,
    state: Rc<SocketState>,
    reactor: Handle,
}

impl Tcp {
    /// Takes over a connected, non-blocking socket that was accepted.
    ///
    /// # Errors
    /// When the socket is already gone.
    pub fn accepted(socket: std::net::TcpStream, reactor: &Handle) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        Self::register(TcpStream::from_std(socket), reactor)
    }

    /// Begins to connect; [`Self::poll_connected`] says when it is.
    pub(crate) fn connect(address: SocketAddr, reactor: &Handle) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        keep_alive(&socket)?;
        socket.set_nodelay(true)?;
        Self::register(socket, reactor)
    }

    fn register(mut socket: TcpStream, reactor: &Handle) -> io::Result<Self> {
        let (token, state) = reactor.register(&mut socket)?;
        Ok(Self { socket, token, state, reactor: reactor.clone() })
    }

    pub(crate) fn poll_connected(&self, task: &Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.state.poll(WRITABLE, task));
            if let Some(error) = self.socket.take_error()? {
                return Poll::Ready(Err(error));
            }
            match self.socket.peer_addr() {
                Err(error) if error.kind() == io::ErrorKind::NotConnected => self.state.clear(WRITABLE),
                other => return Poll::Ready(other.map(drop)),
            }
        }
    }

    /// Writes by `write`, which takes some of `wanted` bytes.
    fn poll_to_write(
        &self,
        task: &Context<'_>,
        wanted: usize,
        write: impl Fn(&TcpStream) -> Result<usize, Errno>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.state.poll(WRITABLE, task));
            match write(&self.socket) {
                Ok(count) => {
                    if count > 0 && count < wanted {
                        self.state.clear(WRITABLE);
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(Errno::AGAIN) => self.state.clear(WRITABLE),
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        self.reactor.deregister(&mut self.socket, self.token);
    }
}

impl Stream for Tcp {
    #[inline]
    fn poll_readable(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.state.poll(READABLE, task).map(Ok)
    }

    fn poll_read(&mut self, task: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.state.poll(READABLE, task));
            match recv(&self.socket, &mut *into, RecvFlags::empty()) {
                Ok((count, _)) => {
                    if count > 0 && count < into.len() {
                        self.state.clear_drained();
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(Errno::AGAIN) => self.state.clear(READABLE),
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    fn poll_write(&mut self, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_to_write(task, bytes.len(), |socket| send(socket, bytes, SendFlags::NOSIGNAL))
    }

    fn poll_write_vectored(
        &mut self,
        task: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wanted = slices.iter().map(|slice| slice.len()).sum();
        self.poll_to_write(task, wanted, |socket| writev(socket, slices))
    }

    fn is_closed(&self) -> bool {
        self.state.is_read_closed()
    }

    fn poll_shutdown(&mut self, _task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.socket.shutdown(Shutdown::Write) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
    }
}
