//! A message that passes through allocates nothing and is copied nowhere: counted, both ways.

use sim::counted::{Counting, FRAME_BYTES, OneClient, SharedClients, allocations};
use testkit::counted;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Requests, and as many replies.
const MESSAGES: usize = 100_000;

#[test]
fn passing_messages_allocates_and_copies_nothing() {
    const DEPTH: usize = 32;
    let mut client = OneClient::new(DEPTH, &[]);
    let (before, copied) = (allocations(), client.pool.copied_bytes());
    for _ in 0..MESSAGES / DEPTH {
        client.round();
    }
    let (allocations, copied) = (allocations() - before, client.pool.copied_bytes() - copied);
    let what = |what| format!("one client, {MESSAGES} requests and their replies: {what}");
    counted(&what("heap allocations"), allocations, 0);
    counted(&what("bytes copied in user space"), copied, 0);
    assert_eq!((allocations, copied), (0, 0));
    assert_eq!(client.pool.taken(), 0);
}

/// Small requests are copied once, behind those of other clients, so that they leave in one write; replies never.
fn sharing_allocates_nothing_and_copies_requests_once(clients: usize) {
    let mut shared = SharedClients::new(clients);
    let (before, copied) = (allocations(), shared.pool.copied_bytes());
    let rounds = MESSAGES / clients;
    for _ in 0..rounds {
        shared.round();
    }
    let (allocations, copied) = (allocations() - before, shared.pool.copied_bytes() - copied);
    let copied_max = (rounds * clients * FRAME_BYTES) as u64;
    let what = |what| format!("{clients} sharing, {} requests and their replies: {what}", rounds * clients);
    counted(&what("heap allocations"), allocations, 0);
    counted(&what("bytes copied in user space (each request once)"), copied, copied_max);
    assert_eq!((allocations, copied), (0, copied_max));
    assert_eq!(shared.pool.taken(), 0);
}

#[test]
fn one_client_that_shares() {
    sharing_allocates_nothing_and_copies_requests_once(1);
}

#[test]
fn many_clients_that_share() {
    sharing_allocates_nothing_and_copies_requests_once(64);
}
