//! A TCP socket as the data path sees it.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use chain::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};

/// A socket for this kind of address, with keepalive: a peer whose machine is gone sends nothing, not even an end, and
/// would hold its place for ever. The kernel decides how soon it is noticed (net.ipv4.tcp_keepalive_time). What is
/// accepted on such a socket inherits it.
pub(crate) fn socket_for(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_keepalive(true)?;
    Ok(socket)
}

/// A connected TCP socket with TCP_NODELAY. `poll_read` is used rather than `readable` and `try_read`: the latter
/// pays one more system call a message, because only the former notes that a short read has drained the socket.
pub struct Tcp(TcpStream);

impl Tcp {
    /// Takes over a connected socket.
    ///
    /// # Errors
    /// When the socket is already gone.
    pub fn new(socket: TcpStream) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        Ok(Self(socket))
    }
}

impl Stream for Tcp {
    fn poll_readable(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_read_ready(task)
    }

    fn poll_read(&mut self, task: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(into);
        ready!(Pin::new(&mut self.0).poll_read(task, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    fn poll_write(&mut self, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(task, bytes)
    }

    fn poll_write_vectored(
        &mut self,
        task: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(task, slices)
    }

    fn poll_shutdown(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(task)
    }
}
