//! The chain of a text, without listeners and sockets: for simulations.

use std::rc::Rc;

use chain::{ChainPart, PlanEntry, Switch, WorkerCx};
use config::read_topology;

use crate::assemble::{Build, each_entries};
use crate::custom::CustomTransform;
use crate::registry::Registry;

/// What becomes of entries that write files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// They write below the folder in which the process is.
    Opened,
    /// They have none, and write nothing.
    None,
}

/// A chain on one worker.
pub struct OneChain {
    /// Makes its runs.
    pub part: Rc<ChainPart>,
    /// The switches of its entries, and of those of chains in it.
    pub switches: Vec<Switch>,
}

/// The types of transforms of this version.
#[must_use]
pub fn transform_names() -> Vec<&'static str> {
    Registry::built_in().names()
}

/// Makes the chain of a topology's first source on one worker, with these transforms besides those of this version.
///
/// # Errors
/// Everything that is wrong with the topology, as text; a file that cannot be opened.
pub fn chain_of(
    topology: &str,
    worker: &WorkerCx,
    custom: &[CustomTransform],
    files: Files,
) -> Result<OneChain, String> {
    let registry = Registry::with(custom)?;
    let (read, mut errors) = read_topology("topology.yaml", topology, &registry);
    let source = read.and_then(|topology| topology.sources.into_iter().next());
    let mut started = Ok(());
    let chain = source.map(|source| {
        let entries = Build::new(&registry, &mut errors).chain(&source.chain);
        let mut all: Vec<&PlanEntry> = entries.iter().collect();
        each_entries(&entries, &mut |entries| all.extend(entries));
        if files == Files::Opened {
            started = all.iter().try_for_each(|entry| entry.builder.start());
        }
        let switches = all.iter().filter_map(|entry| entry.builder.switch().cloned()).collect();
        let entries = entries.iter().map(|entry| (&*entry.kind, &*entry.name, entry.builder.as_ref()));
        OneChain { part: ChainPart::new(&source.name, worker, entries, None), switches }
    });
    started?;
    match chain {
        Some(chain) if errors.is_empty() => Ok(chain),
        Some(_) => Err(errors.to_string()),
        None => Err(format!("{errors}\nno source")),
    }
}
