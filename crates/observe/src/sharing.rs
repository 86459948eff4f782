//! What one worker counts for a sink whose clients share server connections.

use std::cell::Cell;

use crate::metrics::Counter;

/// A number that goes up and down, counted by one thread.
#[derive(Default)]
pub struct Gauge(Cell<u64>);

impl Gauge {
    /// One of the parts that the number is the sum of was `before` and is `after`.
    pub fn change(&self, before: u64, after: u64) {
        self.0.set((self.0.get() + after).saturating_sub(before));
    }

    /// The number is this from here on.
    pub fn set(&self, number: u64) {
        self.0.set(number);
    }

    /// The number now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// Why a client has a connection of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnReason {
    /// It begins its session.
    Handshake,
    /// The session it began cannot be begun again: it stays on the connection of its handshake.
    Session,
    /// It changes its keyspace.
    Keyspace,
    /// It wants events.
    Register,
    /// It executes a statement that nobody prepared through this process.
    UnknownPrepared,
    /// Its request is long.
    LargeRequest,
    /// It was given long replies.
    LargeReplies,
    /// What its request does cannot be told.
    Unclear,
}

/// Why a shared connection takes no new requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetireReason {
    /// The last client of its session and keyspace left.
    Unused,
    /// It owes too many replies that nobody waits for any more.
    Orphans,
    /// The server called it broken.
    ProtocolError,
    /// Its keyspace is not its clients' any more.
    KeyspaceChanged,
    /// It could not be opened, or ended.
    Failed,
}

/// Why a client was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutOffReason {
    /// It fetched nothing for too long.
    Stalled,
    /// The memory for waiting replies was used up.
    Memory,
}

/// See the module's text.
#[derive(Default)]
pub struct SharingMetrics {
    /// Shared connections that have not ended.
    pub shared_open: Gauge,
    /// Clients' own connections that have not ended.
    pub own_open: Gauge,
    /// Requests on shared connections whose clients wait.
    pub in_flight: Gauge,
    /// Requests on shared connections whose clients wait no longer, and whose replies may still come.
    pub orphaned: Gauge,
    /// Bytes of replies that wait for clients beyond what each may have.
    pub spill_bytes: Gauge,
    /// Requests sent on shared connections.
    pub shared_requests: Counter,
    /// Requests sent on clients' own connections.
    pub own_requests: Counter,
    /// Sessions begun again that the server accepted.
    pub replays_accepted: Counter,
    /// Those that it did not.
    pub replays_refused: Counter,
    own: [Counter; 8],
    retired: [Counter; 5],
    cut_off: [Counter; 2],
}

impl SharingMetrics {
    /// Counts a connection that is one client's.
    pub fn count_own(&self, why: OwnReason) {
        count(&self.own, why as usize);
    }

    /// Counts a shared connection that takes no new requests.
    pub fn count_retired(&self, why: RetireReason) {
        count(&self.retired, why as usize);
    }

    /// Counts a client that was cut off.
    pub fn count_cut_off(&self, why: CutOffReason) {
        count(&self.cut_off, why as usize);
    }

    /// Everything that only goes up, by its name with its label as on the metrics page.
    #[must_use]
    pub fn counts(&self) -> Vec<(String, u64)> {
        let mut counts = Vec::new();
        for Family { name, label, values, .. } in self.snapshot() {
            let Some(label) = label else { continue };
            counts.extend(
                values.into_iter().map(|(value, count)| (format!("{name}{{{label}={value:?}}}"), count)),
            );
        }
        counts
    }

    /// Everything, as it leaves its thread; always the same families with the same labels in the same order.
    #[must_use]
    pub(crate) fn snapshot(&self) -> Vec<Family> {
        let gauge = |name, help, gauge: &Gauge| Family {
            name,
            kind: "gauge",
            help,
            label: None,
            values: vec![("", gauge.get())],
        };
        let counter =
            |name, help, label, values| Family { name, kind: "counter", help, label: Some(label), values };
        vec![
            gauge(
                "shotover_shared_connections_open",
                "Server connections that are shared",
                &self.shared_open,
            ),
            gauge("shotover_own_connections_open", "Server connections of one client", &self.own_open),
            gauge(
                "shotover_shared_requests_in_flight",
                "Requests on shared connections that await replies",
                &self.in_flight,
            ),
            gauge(
                "shotover_shared_requests_orphaned",
                "Requests on shared connections whose clients wait no longer",
                &self.orphaned,
            ),
            gauge(
                "shotover_shared_spill_bytes",
                "Bytes of replies that wait for clients beyond what each may have",
                &self.spill_bytes,
            ),
            counter(
                "shotover_sharing_sink_requests_count",
                "Requests sent, by whose the connection is",
                "connection",
                vec![("shared", self.shared_requests.get()), ("own", self.own_requests.get())],
            ),
            counter(
                "shotover_own_connections_opened_count",
                "Server connections of one client, by what they are for",
                "reason",
                named(&self.own, OWN_NAMES),
            ),
            counter(
                "shotover_shared_connections_retired_count",
                "Shared connections that take no new requests any more",
                "reason",
                named(&self.retired, ["unused", "orphans", "protocol_error", "keyspace_changed", "failed"]),
            ),
            counter(
                "shotover_sessions_replayed_count",
                "Sessions begun again on another connection",
                "outcome",
                vec![("accepted", self.replays_accepted.get()), ("refused", self.replays_refused.get())],
            ),
            counter(
                "shotover_sharing_clients_cut_off_count",
                "Clients cut off because they did not read",
                "reason",
                named(&self.cut_off, ["stalled", "memory"]),
            ),
        ]
    }
}

fn count(counters: &[Counter], reason: usize) {
    if let Some(counter) = counters.get(reason) {
        counter.add(1);
    }
}

/// Counters with the names of their reasons, in the order in which these are declared.
fn named<const N: usize>(counters: &[Counter; N], names: [&'static str; N]) -> Vec<(&'static str, u64)> {
    names.into_iter().zip(counters.iter().map(Counter::get)).collect()
}

/// The reasons of [`OwnReason`].
const OWN_NAMES: [&str; 8] = [
    "handshake",
    "session",
    "keyspace",
    "register",
    "unknown_prepared",
    "large_request",
    "large_replies",
    "unclear",
];

/// One metric with its series.
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) help: &'static str,
    /// What tells its series apart.
    pub(crate) label: Option<&'static str>,
    pub(crate) values: Vec<(&'static str, u64)>,
}

impl Family {
    /// Adds what another worker counted.
    pub(crate) fn add(&mut self, other: &Self) {
        for ((_, value), (_, more)) in self.values.iter_mut().zip(&other.values) {
            *value += more;
        }
    }
}
