//! What is wrong with a server, in the words that clients and logs are told.

use std::io;
use std::time::Duration;

use chain::Fault;
use wire::Malformed;

pub(crate) fn cannot_connect(address: &str, error: &io::Error) -> Fault {
    Fault::new(format!("Failed to connect to destination {address}")).caused_by(error).nothing_sent()
}

pub(crate) fn connect_timed_out(address: &str, timeout: Duration) -> Fault {
    Fault::new(format!("destination {address} did not respond to connection attempt within {timeout:?}"))
        .nothing_sent()
}

pub(crate) fn closed() -> Fault {
    Fault::new("The other side of this connection closed the connection")
}

pub(crate) fn io_failed(error: io::Error) -> Fault {
    Fault::new("IO error").caused_by(error)
}

/// `read_timeout`: how long it had, which is not asked of one that has any time.
pub(crate) fn no_response(read_timeout: Option<Duration>) -> String {
    let timeout = read_timeout.unwrap_or_default();
    format!("The other side of this connection did not respond within {timeout:?}")
}

pub(crate) fn malformed(malformed: Malformed) -> Fault {
    Fault::new("Message decode error").caused_by(malformed)
}

pub(crate) fn unknown_reply(id: i32) -> Fault {
    Fault::new(format!("the server answered stream id {id}, which awaits no reply"))
}
