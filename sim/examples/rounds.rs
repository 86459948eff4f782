//! Runs so many rounds of a client so many requests deep, for a program that counts instructions.
//!
//! usage: rounds DEPTH ROUNDS [header transforms]

use chain::{Builder, Link, WorkerCx, WorkerPart};
use sim::counted::OneClient;

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let [depth, rounds, ..] = *numbers else { panic!("usage: rounds DEPTH ROUNDS [HEADER TRANSFORMS]") };
    let looks = Looks;
    let transforms = vec![&looks as &dyn Builder; numbers.get(2).copied().unwrap_or_default()];
    let mut client = OneClient::new(depth, &transforms);
    for _ in 0..rounds {
        client.round();
    }
}

/// A transform that looks at the header of every message, both ways.
#[derive(Clone, Copy)]
struct Looks;

impl Builder for Looks {
    fn worker(&self, _: &WorkerCx) -> Box<dyn WorkerPart> {
        Box::new(*self)
    }
}

impl WorkerPart for Looks {
    fn client(&self) -> Link {
        Link::Transform(Box::new(Looker { seen: [0; 32] }))
    }
}

struct Looker {
    seen: [u64; 32],
}

impl Looker {
    fn look(&mut self, batch: &mut chain::Batch<'_>) {
        batch.each(|item| {
            if let Some(seen) = self.seen.get_mut(item.head().opcode as usize) {
                *seen += 1;
            }
        });
    }
}

impl chain::Transform for Looker {
    fn requests(
        &mut self,
        _: &mut chain::Cx<'_, '_>,
        batch: &mut chain::Batch<'_>,
    ) -> Result<(), chain::Fault> {
        self.look(batch);
        Ok(())
    }
    fn responses(
        &mut self,
        _: &mut chain::Cx<'_, '_>,
        batch: &mut chain::Batch<'_>,
    ) -> Result<(), chain::Fault> {
        self.look(batch);
        Ok(())
    }
}
