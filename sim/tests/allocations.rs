//! A message that passes through allocates nothing and is copied nowhere: counted, both ways.

use sim::counted::{Counting, FRAME_BYTES, OneClient, SharedClients, allocations};

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
    assert_eq!(allocations() - before, 0);
    assert_eq!(client.pool.copied_bytes() - copied, 0);
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
    assert_eq!(allocations() - before, 0);
    assert_eq!(shared.pool.copied_bytes() - copied, (rounds * clients * FRAME_BYTES) as u64);
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
