//! What may take the place of a message.

use wire::{Framed, Head, Protocol, Side};

use crate::{Chunk, Item, Ledger, Message, Need, Pool, Tick, Ticket};

fn frame(version: u8, flags: u8, id: u8, body: &[u8]) -> Vec<u8> {
    let opcode = if version < 0x80 { 7 } else { 8 };
    [&[version, flags, 0, id, opcode], &u32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat()
}

fn head(side: Side, frame: &[u8]) -> Head {
    let Framed::Frame(head) = Protocol::Cql.frame(frame, side, u32::MAX) else { panic!("no frame") };
    head
}

/// Whether a message, of which so many bytes are here, is replaced by this; and its head and bytes then.
fn replaced(side: Side, received: &[u8], here: usize, frame: Vec<u8>) -> (bool, Head, Vec<u8>) {
    let (pool, mut ledger, mut answers) = (Pool::new(), Ledger::new(0), Vec::new());
    let chunk: Chunk = pool.own(received.to_vec());
    let head = head(side, received);
    let ticket = if side == Side::Request { ledger.open(head, Tick(0), Need::None) } else { Ticket::NONE };
    let mut message = Message::reply(head, 0, here, ticket);
    let mut item = Item {
        protocol: Protocol::Cql,
        side,
        pool: &pool,
        chunk: &chunk,
        message: &mut message,
        ledger: &mut ledger,
        answers: &mut answers,
        layer: 0,
    };
    let is_replaced = item.replace(frame);
    (is_replaced, *item.head(), item.bytes().to_vec())
}

#[test]
fn what_replaces_a_message_brings_its_own_header() {
    for (side, version) in [(Side::Request, 4), (Side::Response, 0x84)] {
        let (received, other) = (frame(version, 0, 1, b"before"), frame(version, 4, 1, b"\0\0after"));
        let expected = (true, head(side, &other), other.clone());
        assert_eq!(replaced(side, &received, received.len(), other), expected);
    }
}

#[test]
fn what_is_no_such_frame_replaces_nothing() {
    let received = frame(4, 0, 1, b"before");
    let stays = (false, head(Side::Request, &received), received.clone());
    let whole = received.len();
    let good = frame(4, 0, 1, b"after");
    for wrong in [
        frame(4, 0, 2, b"after"),
        frame(3, 0, 1, b"after"),
        frame(0x84, 0, 1, b"after"),
        good[..good.len() - 1].to_vec(),
        [&good[..], b"?"].concat(),
        good[..8].to_vec(),
        Vec::new(),
    ] {
        assert_eq!(replaced(Side::Request, &received, whole, wrong.clone()), stays, "{wrong:?}");
    }
    let (is_replaced, _, bytes) = replaced(Side::Request, &received, whole - 1, good);
    assert_eq!((is_replaced, &*bytes), (false, &received[..whole - 1]));
}
