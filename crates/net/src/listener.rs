//! Listens for the clients of one source, and hands them to the workers.
//!
//! Nothing that goes wrong here ends the process: a failure is counted, logged, and tried again after a short pause.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{info, warn};

use crate::place::{Counts, Permit};
use crate::tcp::keep_alive;
use crate::worker::{Accepted, Workers};

/// The target of log lines: upstream's, since filters and tests of its users name it.
const TARGET: &str = "shotover::source_task";

/// Connections that wait in the kernel to be accepted. The kernel caps it at net.core.somaxconn.
const BACKLOG: u32 = 4096;

/// The first pause after a failure; each further one doubles it. Short, because a blip of full descriptors must not
/// become a minute of refusals.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// The longest pause after failures.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How often a source at its hard limit looks whether a place is free.
const HARD_LIMIT_POLL: Duration = Duration::from_secs(1);

/// A source that listens but accepts nobody yet.
pub struct Bound {
    /// Where it listens, as configured.
    pub address: String,
    /// The address it got.
    pub local_addr: SocketAddr,
    pub(crate) listener: TcpListener,
}

/// Binds an address. Called in a runtime.
///
/// # Errors
/// What the system said.
pub fn bind(address: &str) -> io::Result<Bound> {
    let mut last_error = io::Error::new(io::ErrorKind::NotFound, "the name has no addresses");
    for socket_address in address.to_socket_addrs()? {
        match bind_to(socket_address) {
            Ok(listener) => {
                let local_addr = listener.local_addr()?;
                return Ok(Bound { address: address.to_owned(), local_addr, listener });
            }
            Err(error) => last_error = error,
        }
    }
    Err(last_error)
}

fn bind_to(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    keep_alive(&socket)?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// How one source accepts.
pub struct Listening {
    /// Which source this is.
    pub source: usize,
    /// Its name, for logs.
    pub name: String,
    /// Clients at once.
    pub connection_limit: usize,
    /// At the limit the listening socket is closed, rather than left to fill its backlog.
    pub hard_connection_limit: bool,
    /// Where its events are counted.
    pub counts: Arc<dyn Counts>,
}

/// Accepts clients until the returned future is dropped.
pub async fn listen<N: Send + 'static>(listening: Listening, bound: Bound, workers: Arc<Workers<N>>) {
    let places = Arc::new(Semaphore::new(listening.connection_limit.min(Semaphore::MAX_PERMITS)));
    let mut reserve = Reserve::new();
    let Bound { address, local_addr, listener } = bound;
    let mut listener = Some(listener);
    let mut next_id = 1;
    loop {
        let permit = listening.place(&places, &mut listener).await;
        let open = match listener.take() {
            Some(open) => open,
            None => listening.bind_again(&address, local_addr).await,
        };
        let (socket, peer) = listening.accept(&address, &open, &mut reserve).await;
        listener = Some(open);
        let permit = Permit::new(permit, Arc::clone(&listening.counts));
        // Taken off this thread's epoll: the worker registers it with its own.
        let Ok(socket) = socket.into_std() else { continue };
        let (source, id) = (listening.source, next_id);
        next_id += 1;
        workers.hand_over(permit, |place| Accepted { source, id, peer, socket, place }).await;
    }
}

impl Listening {
    /// Waits for a free place. At a hard limit the listener is closed meanwhile.
    async fn place(
        &self,
        places: &Arc<Semaphore>,
        listener: &mut Option<TcpListener>,
    ) -> OwnedSemaphorePermit {
        loop {
            if let Ok(permit) = Arc::clone(places).try_acquire_owned() {
                return permit;
            }
            if self.hard_connection_limit {
                *listener = None;
                tokio::time::sleep(HARD_LIMIT_POLL).await;
            } else if let Ok(permit) = Arc::clone(places).acquire_owned().await {
                return permit;
            }
        }
    }

    /// Listens where it did before: a name would have to be resolved again, for which this thread cannot wait, and a free
    /// port would be another one.
    async fn bind_again(&self, address: &str, local_addr: SocketAddr) -> TcpListener {
        let mut pause = Pause::default();
        loop {
            match bind_to(local_addr) {
                Ok(listener) => {
                    if pause.failures > 0 {
                        info!(target: TARGET, "[{}] Listening on [{address}] again", self.name);
                    }
                    return listener;
                }
                Err(error) => {
                    self.counts.create_failed();
                    let wait = pause.next();
                    warn!(
                        target: TARGET,
                        "[{}] Failed to create listener on [{address}] with error: {error}, retrying with backoff of {wait:?}",
                        self.name
                    );
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    async fn accept(
        &self,
        address: &str,
        listener: &TcpListener,
        reserve: &mut Reserve,
    ) -> (TcpStream, SocketAddr) {
        let mut pause = Pause::default();
        loop {
            match listener.accept().await {
                Ok(accepted) => {
                    if pause.failures > 0 {
                        info!(target: TARGET, "[{}] Accepting on [{address}] again", self.name);
                    }
                    return accepted;
                }
                Err(error) => {
                    self.counts.accept_failed();
                    let wait = pause.next();
                    warn!(
                        target: TARGET,
                        "[{}] Failed to accept incoming connection on listener [{address}] with error: {error}, retrying with backoff of {wait:?}",
                        self.name
                    );
                    if is_out_of_descriptors(&error) {
                        reserve.turn_away(listener).await;
                    }
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }
}

/// EMFILE and ENFILE.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24))
}

/// Doubling pauses.
#[derive(Default)]
struct Pause {
    failures: u32,
}

impl Pause {
    fn next(&mut self) -> Duration {
        let wait = PAUSE_MIN.saturating_mul(1 << self.failures.min(10)).min(PAUSE_MAX);
        self.failures += 1;
        wait
    }
}

/// A descriptor kept for the time when there is none left: with it one waiting client can be accepted and closed,
/// so that it learns at once rather than after its own timeout.
struct Reserve(Option<std::fs::File>);

impl Reserve {
    fn new() -> Self {
        Self(std::fs::File::open("/dev/null").ok())
    }

    async fn turn_away(&mut self, listener: &TcpListener) {
        self.0 = None;
        if let Ok(Ok(accepted)) = tokio::time::timeout(PAUSE_MIN, listener.accept()).await {
            drop(accepted);
        }
        *self = Self::new();
    }
}
