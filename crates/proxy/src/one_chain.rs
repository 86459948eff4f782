//! The chain of a text, without listeners and sockets: for simulations.

use std::rc::Rc;

use chain::{ChainPart, WorkerCx};
use config::read_topology;

use crate::assemble::Build;
use crate::custom::CustomTransform;
use crate::registry::Registry;

/// Makes the chain of a topology's first source on one worker, with these transforms besides those of this version.
/// Nothing is opened: an entry that needs files has none.
///
/// # Errors
/// Everything that is wrong with the topology, as text.
pub fn chain_of(
    topology: &str,
    worker: &WorkerCx,
    custom: &[CustomTransform],
) -> Result<Rc<ChainPart>, String> {
    let registry = Registry::with(custom)?;
    let (read, mut errors) = read_topology("topology.yaml", topology, &registry);
    let source = read.and_then(|topology| topology.sources.into_iter().next());
    let chain = source.map(|source| {
        let entries = Build::new(&registry, &mut errors).chain(&source.chain);
        let entries = entries.iter().map(|entry| (&*entry.kind, &*entry.name, entry.builder.as_ref()));
        ChainPart::new(&source.name, worker, entries, None)
    });
    match chain {
        Some(chain) if errors.is_empty() => Ok(chain),
        Some(_) => Err(errors.to_string()),
        None => Err(format!("{errors}\nno source")),
    }
}
