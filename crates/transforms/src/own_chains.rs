//! The chains that a transform of the topology has for itself.

use chain::ChainPlan;

/// They are given to the reader of the transform's options, by the places where they stand.
#[derive(Default)]
pub struct OwnChains(Vec<(usize, Vec<ChainPlan>)>);

impl OwnChains {
    /// Adds the chains of one place; all of them have the same entries.
    pub fn add(&mut self, slot: usize, plans: Vec<ChainPlan>) {
        self.0.push((slot, plans));
    }

    /// The chains of a place; none if it was left out, or nothing could be read there.
    pub(crate) fn take(&mut self, slot: usize) -> Vec<ChainPlan> {
        let place = self.0.iter().position(|(own, _)| *own == slot);
        place.map(|place| self.0.swap_remove(place).1).unwrap_or_default()
    }
}
