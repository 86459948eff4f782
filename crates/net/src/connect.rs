//! Connects to servers by name.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use chain::{Connecting, Connector, Stream};
use tokio::net::lookup_host;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::tcp::{Tcp, socket_for};

/// How long an address may be silent before the next one is tried beside it (RFC 8305, section 8): one that swallows
/// packets must not use up all the time there is for connecting.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// Opens TCP connections from the worker it lives on.
pub struct TcpConnector;

impl Connector for TcpConnector {
    fn connect(&self, address: &str) -> Connecting {
        let address = address.to_owned();
        Box::pin(async move { connect(&address).await.map(|tcp| Box::new(tcp) as Box<dyn Stream>) })
    }
}

/// Resolves off the worker: tokio asks the system's resolver on a thread of its own.
async fn connect(address: &str) -> io::Result<Tcp> {
    first_of(lookup_host(address).await?).await
}

/// Tries each address in turn, and is the first that answers. The attempts live on this worker and end with the
/// returned future.
pub(crate) async fn first_of(addresses: impl Iterator<Item = SocketAddr>) -> io::Result<Tcp> {
    let mut addresses = addresses.peekable();
    let mut attempts = JoinSet::new();
    let mut last_error = io::Error::new(io::ErrorKind::NotFound, "the name has no addresses");
    loop {
        match addresses.next() {
            Some(address) => drop(attempts.spawn_local(attempt(address))),
            None if attempts.is_empty() => return Err(last_error),
            None => {}
        }
        let ended = if addresses.peek().is_some() {
            timeout(NEXT_ADDRESS_AFTER, attempts.join_next()).await.ok().flatten()
        } else {
            attempts.join_next().await
        };
        match ended {
            Some(Ok(Ok(connected))) => return Ok(connected),
            Some(Ok(Err(error))) => last_error = error,
            _ => {}
        }
    }
}

async fn attempt(address: SocketAddr) -> io::Result<Tcp> {
    Tcp::new(socket_for(address)?.connect(address).await?)
}
