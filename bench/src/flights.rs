//! The requests of one connection that wait for their replies.

use std::time::Instant;

use crate::frames::{Header, Token, token_of};

/// A request that is under way.
struct Flight {
    token: Token,
    /// When it was sent, or should have been.
    since: Instant,
}

/// One connection's stream ids, and what is under way on each.
pub(crate) struct Flights {
    slots: Vec<Option<Flight>>,
    free: Vec<i16>,
    seed: u64,
}

impl Flights {
    /// At most `deep` at once; no two seeds of a run may be the same.
    pub(crate) fn new(deep: u16, seed: u64) -> Self {
        let deep = deep.min(i16::MAX as u16);
        let slots = std::iter::repeat_with(|| None).take(usize::from(deep)).collect();
        Self { slots, free: (0..deep as i16).rev().collect(), seed: seed << 40 }
    }

    /// The stream id and the token of one more request, unless all are under way.
    pub(crate) fn depart(&mut self, since: Instant) -> Option<(i16, Token)> {
        let id = self.free.pop()?;
        self.seed += 1;
        let token = hex(scramble(self.seed));
        *self.slots.get_mut(id as usize)? = Some(Flight { token, since });
        Some((id, token))
    }

    /// Takes a reply, and says since when it was waited for.
    pub(crate) fn arrive(
        &mut self,
        reply: Header,
        body: &[u8],
        reply_bytes: usize,
    ) -> Result<Instant, String> {
        let slot = usize::try_from(reply.id).ok().and_then(|id| self.slots.get_mut(id));
        let flight = slot.and_then(Option::take);
        let flight = flight.ok_or_else(|| format!("a reply to nothing: {reply:?}"))?;
        self.free.push(reply.id);
        match token_of(reply, body, reply_bytes) {
            Some(token) if token == flight.token => Ok(flight.since),
            Some(_) => Err(format!("the reply of another request: {reply:?}")),
            None => Err(format!("no such reply was asked for: {reply:?}")),
        }
    }

    /// How many are under way.
    pub(crate) fn under_way(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

/// Spreads a counter over all 64 bits (the finalizer of SplitMix64), so that no two tokens look alike.
pub(crate) fn scramble(counter: u64) -> u64 {
    let mixed = counter.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

fn hex(number: u64) -> Token {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    std::array::from_fn(|place| DIGITS[(number >> (60 - 4 * place)) as usize & 15])
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::Flights;
    use crate::frames::{HEADER_BYTES, Header, Request, answer};

    fn reply_to(id: i16, token: &[u8; 16]) -> (Header, Vec<u8>) {
        let (mut request, mut reply) = (Vec::new(), Vec::new());
        Request::new(100, 100).put(id, token, &mut request);
        answer(Header::read(&request).unwrap(), &request[HEADER_BYTES..], &mut reply);
        (Header::read(&reply).unwrap(), reply[HEADER_BYTES..].to_vec())
    }

    #[test]
    fn only_the_reply_of_its_own_request_is_taken_and_only_once() {
        let mut flights = Flights::new(2, 1);
        let now = Instant::now();
        let (first, first_token) = flights.depart(now).unwrap();
        let (second, second_token) = flights.depart(now).unwrap();
        assert_ne!(first_token, second_token);
        assert!(flights.depart(now).is_none());
        let (header, body) = reply_to(first, &first_token);
        assert_eq!(flights.arrive(header, &body, 100), Ok(now));
        assert!(flights.arrive(header, &body, 100).is_err());
        assert_eq!(flights.under_way(), 1);
        let (header, body) = reply_to(second, &first_token);
        assert!(flights.arrive(header, &body, 100).unwrap_err().contains("another request"));
    }
}
