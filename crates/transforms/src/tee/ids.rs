//! The stream ids in flight on a second chain.

/// See the module's text. A client uses an id again as soon as the first chain has answered.
#[derive(Default)]
pub(super) struct Ids {
    words: Vec<u64>,
}

impl Ids {
    /// Ids that a client's requests may have: 0 to 32,767.
    const WORDS: usize = 512;

    fn place(id: i32) -> (usize, u64) {
        let id = (id & 0xFFFF) as usize;
        (id / 64, 1_u64.wrapping_shl((id % 64) as u32))
    }

    /// This id if it is free, else another one that is.
    pub(super) fn take(&mut self, id: i32) -> i32 {
        let (word, bit) = Self::place(id);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        match self.words.get_mut(word) {
            Some(bits) if *bits & bit == 0 => {
                *bits |= bit;
                id
            }
            _ => self.take_other().unwrap_or(id),
        }
    }

    fn take_other(&mut self) -> Option<i32> {
        self.words.resize(self.words.len().max(Self::WORDS), 0);
        let words = self.words.iter_mut().enumerate().take(Self::WORDS);
        let (word, bits) = words.rev().find(|(_, bits)| **bits != u64::MAX)?;
        let bit = bits.trailing_ones();
        *bits |= 1_u64.wrapping_shl(bit);
        i32::try_from(word * 64 + bit as usize).ok()
    }

    pub(super) fn free(&mut self, id: i32) {
        let (word, bit) = Self::place(id);
        if let Some(bits) = self.words.get_mut(word) {
            *bits &= !bit;
        }
    }
}
