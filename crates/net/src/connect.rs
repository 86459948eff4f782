//! Connects to servers by name.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use chain::{Connecting, Connector, Stream, Tick};

use crate::clock::Alarm;
use crate::reactor::Handle;
use crate::tcp::Tcp;

/// How long an address may be silent before the next one is tried beside it (RFC 8305, section 8): one that swallows
/// packets must not use up all the time there is for connecting.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// Opens TCP connections from the worker it lives on.
pub struct TcpConnector {
    reactor: Handle,
}

impl TcpConnector {
    /// A connector of the worker whose loop this is.
    #[must_use]
    pub fn new(reactor: Handle) -> Self {
        Self { reactor }
    }
}

impl Connector for TcpConnector {
    fn connect(&self, address: &str) -> Connecting {
        let (address, reactor) = (address.to_owned(), self.reactor.clone());
        Box::pin(async move {
            let tcp = connect(&address, &reactor).await?;
            Ok(Box::new(tcp) as Box<dyn Stream>)
        })
    }
}

/// Resolves off the worker, if there is anything to resolve.
async fn connect(address: &str, reactor: &Handle) -> io::Result<Tcp> {
    let addresses = match address.parse() {
        Ok(address) => vec![address],
        Err(_) => reactor.resolver().resolve(address).await?,
    };
    first_of(addresses, reactor).await
}

/// Tries each address in turn, and is the first that answers. The attempts end with the returned future.
pub(crate) async fn first_of(addresses: Vec<SocketAddr>, reactor: &Handle) -> io::Result<Tcp> {
    let mut race = Race {
        reactor,
        addresses: addresses.into_iter(),
        attempts: Vec::new(),
        next_at: reactor.clock().now(),
        alarm: Alarm::default(),
        last_error: None,
    };
    poll_fn(|task| race.poll(task)).await
}

struct Race<'a> {
    reactor: &'a Handle,
    /// Those not tried yet.
    addresses: std::vec::IntoIter<SocketAddr>,
    attempts: Vec<Tcp>,
    /// When the next address is tried, whatever became of those before.
    next_at: Tick,
    alarm: Alarm,
    last_error: Option<io::Error>,
}

impl Race<'_> {
    fn poll(&mut self, task: &Context<'_>) -> Poll<io::Result<Tcp>> {
        loop {
            self.begin_next();
            if let Some(connected) = self.take_connected(task) {
                return Poll::Ready(Ok(connected));
            }
            if self.addresses.as_slice().is_empty() {
                if !self.attempts.is_empty() {
                    return Poll::Pending;
                }
                let nothing = || io::Error::new(io::ErrorKind::NotFound, "the name has no addresses");
                return Poll::Ready(Err(self.last_error.take().unwrap_or_else(nothing)));
            }
            let clock = self.reactor.clock();
            if clock.now() < self.next_at && self.alarm.poll_until(task, clock, self.next_at).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn begin_next(&mut self) {
        let now = self.reactor.clock().now();
        if now < self.next_at {
            return;
        }
        let Some(address) = self.addresses.next() else { return };
        match Tcp::connect(address, self.reactor) {
            Ok(attempt) => {
                self.attempts.push(attempt);
                self.next_at = now.after(NEXT_ADDRESS_AFTER);
            }
            Err(error) => self.last_error = Some(error),
        }
    }

    /// Takes out those that failed too: after a failure the next address need not wait.
    fn take_connected(&mut self, task: &Context<'_>) -> Option<Tcp> {
        let mut index = 0;
        while let Some(attempt) = self.attempts.get(index) {
            match attempt.poll_connected(task) {
                Poll::Pending => index += 1,
                Poll::Ready(Ok(())) => return Some(self.attempts.swap_remove(index)),
                Poll::Ready(Err(error)) => {
                    self.last_error = Some(error);
                    self.next_at = self.reactor.clock().now();
                    drop(self.attempts.swap_remove(index));
                }
            }
        }
        None
    }
}
