//! Connects to servers by name.

use std::io;

use chain::{Connecting, Connector, Stream};
use tokio::net::{TcpStream, lookup_host};

use crate::tcp::Tcp;

/// Opens TCP connections from the worker it lives on.
pub struct TcpConnector;

impl Connector for TcpConnector {
    fn connect(&self, address: &str) -> Connecting {
        let address = address.to_owned();
        Box::pin(async move { connect(&address).await.map(|tcp| Box::new(tcp) as Box<dyn Stream>) })
    }
}

/// Resolves off the worker (tokio asks the system's resolver on a thread of its own), then tries each address.
async fn connect(address: &str) -> io::Result<Tcp> {
    let mut last_error = None;
    for address in lookup_host(address).await? {
        match TcpStream::connect(address).await {
            Ok(socket) => return Tcp::new(socket),
            Err(error) => last_error = Some(error),
        }
    }
    Err(last_error.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no addresses")))
}
