//! The slots of a shared connection: an id must never bring one client another's reply.

use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

use chain::{Need, Pool, Tick, Ticket};
use wire::cql::session::Work;

use super::inbox::{Delivery, Inbox, Spill};
use super::slots::{Pending, SLOTS_MAX, Slots};
use super::timeouts::Timeouts;

fn inbox() -> Rc<Inbox> {
    Inbox::new(&Pool::new(), &Rc::new(Spill::new(&Rc::default())))
}

fn pending(inbox: &Rc<Inbox>, sequence: u64) -> Pending {
    Pending {
        inbox: Some(Rc::clone(inbox)),
        ticket: Ticket::NONE,
        client_id: 7,
        work: Work::Read,
        prepares: false,
        need: Need::None,
        sequence,
        first_byte: sequence,
    }
}

#[test]
fn the_slot_of_a_client_that_left_waits_for_its_late_reply() {
    let (leaver, other) = (inbox(), inbox());
    let mut slots = Slots::default();
    let orphan = slots.take(pending(&leaver, 0)).index;
    slots.orphan_all_of(&leaver);
    assert_eq!((slots.used(), slots.orphans(), slots.is_awaited()), (1, 1, false));
    for sequence in 1..SLOTS_MAX as u64 {
        assert_ne!(slots.take(pending(&other, sequence)).index, orphan);
    }
    assert!(!slots.has_room());
    assert!(slots.answer(i32::from(orphan)).expect("its late reply").inbox.is_none());
    assert!(slots.has_room());
    assert_eq!(slots.take(pending(&other, 0)).index, orphan);
}

#[test]
fn the_timeout_of_an_answered_request_does_not_hit_who_has_its_slot_now() {
    let (first, second) = (inbox(), inbox());
    let mut slots = Slots::default();
    let name = slots.take(pending(&first, 0));
    assert!(slots.answer(i32::from(name.index)).is_some());
    assert!(slots.answer(i32::from(name.index)).is_none(), "a second reply finds nobody");
    let mut taken = HashSet::new();
    while taken.insert(slots.take(pending(&second, 1)).index) && !taken.contains(&name.index) {}
    assert!(!slots.is_current(name));
    assert!(slots.orphan(name).is_none());
    assert_eq!(slots.orphans(), 0);
}

#[test]
fn an_id_rests_before_it_is_used_again() {
    let client = inbox();
    let mut slots = Slots::default();
    let first = slots.take(pending(&client, 0)).index;
    assert!(slots.answer(i32::from(first)).is_some());
    for sequence in 1..200 {
        let index = slots.take(pending(&client, sequence)).index;
        assert_ne!(index, first);
        assert!(slots.answer(i32::from(index)).is_some());
    }
}

#[test]
fn what_came_after_a_request_is_orphaned_in_the_order_it_was_sent() {
    let client = inbox();
    let mut slots = Slots::default();
    let names: Vec<_> = (0..100).map(|sequence| slots.take(pending(&client, sequence))).collect();
    let late: Vec<u64> = slots.orphan_after(Some(40)).iter().map(|orphaned| orphaned.first_byte).collect();
    assert_eq!(late, (41..100).collect::<Vec<_>>());
    assert!(slots.is_current(names[40]) && slots.is_awaited());
    assert_eq!((slots.used(), slots.orphans()), (100, 59));
}

#[test]
fn a_slow_request_does_not_keep_the_timeouts_of_those_that_were_answered_after_it() {
    let client = inbox();
    let (mut slots, mut timeouts) = (Slots::default(), Timeouts::new(Some(Duration::from_secs(5))));
    let slow = slots.take(pending(&client, 0));
    timeouts.begin(Tick(0), slow);
    for sequence in 1..10_000 {
        let name = slots.take(pending(&client, sequence));
        timeouts.begin(Tick(sequence), name);
        assert!(slots.answer(i32::from(name.index)).is_some());
        assert!(timeouts.take_late(Tick(sequence), &slots).is_none());
    }
    assert!(timeouts.begun.len() < 300 && timeouts.begun.capacity() < 2000);
    assert_eq!(timeouts.take_late(Tick(5_000_000), &slots), Some(slow));
}

#[test]
fn replies_that_wait_hold_not_much_more_than_is_counted() {
    let (client, pool) = (inbox(), Pool::new());
    for _ in 0..100 {
        let piece = client.piece(&pool.take(), 0..5000);
        client.put(Delivery::Tail { piece, from: 1 }, Tick(0));
    }
    let waiting = std::iter::from_fn(|| client.fetch(None, Tick(0)));
    let held = waiting.map(|delivery| match delivery {
        Delivery::Tail { piece, .. } => piece.place().0.bytes().len(),
        _ => 0,
    });
    assert!(held.sum::<usize>() < 100 * 5000 * 2);
}
