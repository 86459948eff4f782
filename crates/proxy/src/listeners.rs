//! Listeners of one process that want the same port: sources, the switches of Tees, the metrics.

use std::net::SocketAddr;

use config::{Address, Errors, Purpose};

/// An address of a topology, and what it stands for.
pub(crate) type Known<'k> = (&'k Address, &'k [SocketAddr]);

/// Where the metrics are served.
pub(crate) struct MetricsAt {
    pub(crate) address: SocketAddr,
    /// Where that is said, for people.
    pub(crate) said_by: String,
}

/// Records what start-up would not end with: a switch, or the metrics, would try for ever to get a port that the process
/// has itself. Two sources on one port the system refuses. Names are left to who resolves them.
pub(crate) fn report_endless(errors: &mut Errors, metrics: Option<&MetricsAt>) {
    let addresses = errors.addresses().to_vec();
    let parsed = addresses.iter().filter_map(|address| Some((address, [address.text.parse().ok()?])));
    let parsed: Vec<(&Address, [SocketAddr; 1])> = parsed.collect();
    let known: Vec<Known<'_>> = parsed.iter().map(|(address, sockets)| (*address, &sockets[..])).collect();
    report(errors, &known, metrics, &|address| address.purpose == Purpose::Switch);
}

/// Records every listener whose port the metrics have, and each of these that finds its port taken by one before it.
pub(crate) fn report(
    errors: &mut Errors,
    known: &[Known<'_>],
    metrics: Option<&MetricsAt>,
    compared: &dyn Fn(&Address) -> bool,
) {
    let listeners: Vec<&Known<'_>> =
        known.iter().filter(|(address, _)| address.purpose != Purpose::Connect).collect();
    for (index, (address, sockets)) in listeners.iter().enumerate() {
        let by_metrics = || Some(&*metrics.filter(|metrics| collide(&[metrics.address], sockets))?.said_by);
        let before = listeners.iter().take(index).filter(|_| compared(address));
        let mut before = before.filter(|(_, others)| collide(others, sockets)).map(|(other, _)| &*other.path);
        if let Some(other) = by_metrics().or_else(|| before.next()) {
            errors.fail_address(address, format!("{other} listens there already"));
        }
    }
}

/// True if the second of two listeners would find its port taken.
fn collide(first: &[SocketAddr], second: &[SocketAddr]) -> bool {
    let covers = |one: &SocketAddr, other: &SocketAddr| {
        one.ip() == other.ip()
            // IPv6's wildcard takes IPv4 as well.
            || one.ip().is_unspecified() && (one.is_ipv6() || other.is_ipv4())
    };
    let are_same = |one: &SocketAddr, other: &SocketAddr| {
        one.port() != 0 && one.port() == other.port() && (covers(one, other) || covers(other, one))
    };
    first.iter().any(|one| second.iter().any(|other| are_same(one, other)))
}
