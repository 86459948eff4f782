//! What is handed in from outside: byte streams, connectors and the time.
//!
//! Nothing here opens a socket or reads a clock. `net` implements these traits over epoll,
//! the simulator over queues in memory, so the same code runs under both.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// A byte stream that is polled. `Pending` means: nothing moved, and the task is woken when it may.
pub trait Stream {
    /// `Ready` when a read may find something: asked before memory is taken to read into. Who cannot tell says yes.
    ///
    /// # Errors
    /// When the stream is gone.
    fn poll_readable(&mut self, _task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    /// Reads into `into` (never empty). `Ready(0)` is the end of the stream.
    fn poll_read(&mut self, task: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>>;
    /// Writes a prefix of `bytes` and says how long it was.
    fn poll_write(&mut self, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;
    /// As `poll_write`, gathering from several places. Who cannot gather writes the first.
    fn poll_write_vectored(
        &mut self,
        task: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write(task, slices.first().map_or(&[], |slice| slice))
    }
    /// True when the other side sends no more, or is gone: known before what it has sent is read. Nobody is woken by that
    /// who has not found the stream unreadable. Who cannot tell says no.
    fn is_closed(&self) -> bool {
        false
    }
    /// Ends our sending side; the other side may go on sending.
    fn poll_shutdown(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>>;
}

impl<S: Stream + ?Sized> Stream for Box<S> {
    fn poll_readable(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        (**self).poll_readable(task)
    }
    fn poll_read(&mut self, task: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        (**self).poll_read(task, into)
    }
    fn poll_write(&mut self, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        (**self).poll_write(task, bytes)
    }
    fn poll_write_vectored(
        &mut self,
        task: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        (**self).poll_write_vectored(task, slices)
    }
    fn is_closed(&self) -> bool {
        (**self).is_closed()
    }
    fn poll_shutdown(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        (**self).poll_shutdown(task)
    }
}

/// An attempt to connect that has not ended yet.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>>>>;

/// Opens streams toward servers. Names are resolved at each call, and every address is tried in turn.
pub trait Connector {
    /// Starts an attempt to reach `address` (`host:port`).
    fn connect(&self, address: &str) -> Connecting;
}

/// Work of a worker: a client, or what belongs to no single one, as a connection that many share.
pub trait Task {
    /// Moves what can be moved. `Ready` when it is over.
    fn poll(&mut self, cx: &mut Cx<'_, '_>) -> Poll<()>;
    /// When it wants to be polled though nothing woke it.
    fn deadline(&self) -> Option<Tick>;
    /// True for what a client has left to be done: its worker does not end before it.
    fn is_awaited(&self) -> bool {
        false
    }
}

impl Task for Box<dyn Task> {
    fn poll(&mut self, cx: &mut Cx<'_, '_>) -> Poll<()> {
        (**self).poll(cx)
    }
    fn deadline(&self) -> Option<Tick> {
        (**self).deadline()
    }
    fn is_awaited(&self) -> bool {
        (**self).is_awaited()
    }
}

/// Runs tasks on the worker it belongs to.
pub trait Spawner {
    /// Polls `task` until it is over.
    fn spawn(&self, task: Box<dyn Task>);
}

/// A point in monotonic time, microseconds since the first worker started: the same on all of them, but for the turn of
/// its loop in which each last looked at the clock.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Tick(pub u64);

impl Tick {
    /// The tick `after` later.
    #[must_use]
    pub fn after(self, after: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(after.as_micros()).unwrap_or(u64::MAX)))
    }

    /// Microseconds from `earlier` to this tick; 0 if `earlier` is later.
    #[must_use]
    pub fn micros_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// What a poll is given: who to wake, and the time (read once a poll, never per message).
pub struct Cx<'a, 'w> {
    /// The task that owns this client.
    pub task: &'a mut Context<'w>,
    /// Now.
    pub now: Tick,
}
