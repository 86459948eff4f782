//! Cuts received bytes into messages, the same way for both directions: small frames are waited for, a frame larger
//! than a chunk goes on as it arrives unless somebody needs to see more of it.

use wire::{Framed, Head, Malformed, Protocol, Side};

use crate::chunk::CHUNK_BYTES;
use crate::inlet::Inlet;
use crate::message::Message;
use crate::transform::{Need, WHOLE_BYTES_MAX};

/// Messages of one run of the chain. More would keep the other connections of a worker waiting.
const RUN_MESSAGES_MAX: usize = 128;

/// What comes after the messages that were cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Nothing is left.
    Nothing,
    /// The run is full; there may be more messages.
    More,
    /// The start of a frame of this many bytes, whose rest must come first (0: not even its length is known).
    Wait {
        /// Header included.
        frame_bytes: usize,
    },
    /// The last message is the head of a large one; this many bytes of it are still to come.
    Tail {
        /// Bytes.
        rest: u64,
    },
    /// A frame too large to be assembled, though somebody needs it whole.
    TooLarge(Head),
    /// Bytes that are no lawful frame.
    Malformed(Malformed),
}

impl After {
    /// Bytes that are still to come of the last frame that was cut.
    #[must_use]
    pub fn rest(&self) -> u64 {
        if let Self::Tail { rest } = self { *rest } else { 0 }
    }
}

/// What is being framed, by which rules.
pub struct Framing {
    /// The protocol.
    pub protocol: Protocol,
    /// Who sent the bytes.
    pub side: Side,
    /// The longest body that is taken.
    pub frame_bytes_max: u32,
}

impl Framing {
    /// Walks the whole frames at the front of `bytes` until `each` says no. Says how many bytes and frames they are.
    /// For messages that nobody looks at: nothing is remembered but what `each` remembers.
    #[inline]
    pub fn whole(&self, bytes: &[u8], mut each: impl FnMut(&Head) -> bool) -> (usize, u64) {
        let (mut at, mut count) = (0, 0);
        while let Some(left) = bytes.get(at..).filter(|left| !left.is_empty()) {
            match self.protocol.frame(left, self.side, self.frame_bytes_max) {
                Framed::Frame(head) if left.len() >= head.frame_bytes as usize && each(&head) => {
                    at += head.frame_bytes as usize;
                    count += 1;
                }
                _ => break,
            }
        }
        (at, count)
    }

    /// Cuts the inlet's bytes into `messages`, and says how many bytes those are and what follows.
    /// `need` is asked only about a frame larger than a chunk.
    pub fn cut(
        &self,
        inlet: &Inlet,
        mut need: impl FnMut(&Head) -> Need,
        messages: &mut Vec<Message>,
    ) -> (usize, After) {
        let Some((chunk, place)) = inlet.place() else { return (0, After::Nothing) };
        let bytes = chunk.bytes().get(place.clone()).unwrap_or_default();
        let mut at = 0;
        while let Some(left) = bytes.get(at..).filter(|left| !left.is_empty()) {
            if messages.len() == RUN_MESSAGES_MAX {
                return (at, After::More);
            }
            let head = match self.protocol.frame(left, self.side, self.frame_bytes_max) {
                Framed::Frame(head) => head,
                Framed::NotYet => return (at, After::Wait { frame_bytes: 0 }),
                Framed::Malformed(malformed) => return (at, After::Malformed(malformed)),
            };
            let frame_bytes = head.frame_bytes as usize;
            if left.len() >= frame_bytes {
                messages.push(Message::new(head, place.start + at, frame_bytes));
                at += frame_bytes;
                continue;
            }
            let ready = frame_bytes > CHUNK_BYTES
                && match need(&head) {
                    Need::None => true,
                    Need::Head => at == 0 && inlet.is_full(),
                    Need::Whole if frame_bytes > WHOLE_BYTES_MAX => return (at, After::TooLarge(head)),
                    Need::Whole => false,
                };
            if !ready {
                return (at, After::Wait { frame_bytes });
            }
            messages.push(Message::new(head, place.start + at, left.len()));
            return (bytes.len(), After::Tail { rest: (frame_bytes - left.len()) as u64 });
        }
        (at, After::Nothing)
    }
}
