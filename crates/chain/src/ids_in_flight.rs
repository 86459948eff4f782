//! The stream ids of one client's requests in flight, a bit each.

/// Ids of one word.
const WORD_IDS: usize = u64::BITS as usize;

/// Words that are kept when nothing is in flight: 512 bytes. All ids that a client can have would take 4 KiB.
const WORDS_KEPT: usize = 64;

/// Which ids are in flight. It has room for the greatest that was; none where nobody claims any.
#[derive(Default)]
pub(crate) struct IdsInFlight {
    words: Vec<u64>,
}

impl IdsInFlight {
    /// Notes an id; false if it was there already.
    #[inline]
    pub(crate) fn claim(&mut self, id: u16) -> bool {
        let bit = 1 << (usize::from(id) % WORD_IDS);
        match self.words.get_mut(usize::from(id) / WORD_IDS) {
            Some(word) => {
                let is_free = *word & bit == 0;
                *word |= bit;
                is_free
            }
            None => self.claim_beyond(id),
        }
    }

    #[cold]
    fn claim_beyond(&mut self, id: u16) -> bool {
        self.words.resize(usize::from(id) / WORD_IDS + 1, 0);
        self.claim(id)
    }

    /// Forgets an id.
    #[inline]
    pub(crate) fn release(&mut self, id: u16) {
        if let Some(word) = self.words.get_mut(usize::from(id) / WORD_IDS) {
            *word &= !(1 << (usize::from(id) % WORD_IDS));
        }
    }

    /// True if it has more room than an idle client may keep.
    #[inline]
    pub(crate) fn is_large(&self) -> bool {
        self.words.len() > WORDS_KEPT
    }

    /// Gives back the room of the greatest ids, when none is in flight.
    #[cold]
    pub(crate) fn give_room_back(&mut self) {
        self.words = Vec::new();
    }

    /// Words there is room for.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.words.capacity()
    }
}
