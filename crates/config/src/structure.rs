//! What the parts of a topology demand of each other, in the words users of upstream know.

use std::collections::BTreeMap;

use crate::errors::Errors;
use crate::topology::{Catalog, Dialect, Source, Topology};

pub(crate) fn check(topology: &Topology, dialect: Dialect, catalog: &dyn Catalog, errors: &mut Errors) {
    check_names(topology, dialect, errors);
    for source in &topology.sources {
        check_chain(source, dialect, catalog, errors);
    }
}

/// Names are labels of metrics and logs: each must name one thing.
fn check_names(topology: &Topology, dialect: Dialect, errors: &mut Errors) {
    let mut sources: BTreeMap<&str, usize> = BTreeMap::new();
    let mut transforms: BTreeMap<&str, String> = BTreeMap::new();
    for (index, source) in topology.sources.iter().enumerate() {
        if let Some(first) = sources.insert(&source.name, index).filter(|_| !source.name.is_empty()) {
            let message = match dialect {
                Dialect::Named => format!(
                    "Duplicate source names detected: {:?} is used by source[{first}] and source[{index}]",
                    source.name
                ),
                Dialect::Released => format!(
                    "Source name {:?} occurred more than once. Make sure all source names are unique. The names will be used in logging and metrics.",
                    source.name
                ),
            };
            source.node.error(errors, message);
        }
        if dialect == Dialect::Released {
            continue;
        }
        for (place, transform) in
            source.chain.iter().enumerate().filter(|(_, transform)| !transform.name.is_empty())
        {
            let here = format!(
                "Transform[{place}] {} named {:?} in source[{index}] {:?}",
                transform.kind, transform.name, source.name
            );
            if let Some(first) = transforms.get(&*transform.name) {
                transform.node.error(
                    errors,
                    format!(
                        "Duplicate transform names detected: {:?} is used by {first} and {here}",
                        transform.name
                    ),
                );
            } else {
                transforms.insert(&transform.name, here);
            }
        }
    }
}

fn check_chain(source: &Source, dialect: Dialect, catalog: &dyn Catalog, errors: &mut Errors) {
    let last = source.chain.len().checked_sub(1);
    for (index, transform) in source.chain.iter().enumerate() {
        let Some(shape) = catalog.shape(&transform.kind) else { continue };
        let (kind, name) = (&transform.kind, &transform.name);
        let is_last = Some(index) == last;
        let message = match (dialect, shape.is_terminating, is_last) {
            (_, true, true) | (_, false, false) => None,
            // Which one is last cannot be told from the known ones alone.
            _ if !source.is_complete => None,
            (Dialect::Named, true, false) => Some(format!(
                "Terminating Transform {kind} named {name:?} is not last in chain. Terminating Transform must be last in chain."
            )),
            (Dialect::Named, false, true) => Some(format!(
                "Non-terminating Transform {kind} named {name:?} is last in chain. Last Transform must be terminating."
            )),
            (Dialect::Released, true, false) => Some(format!(
                "Terminating transform {kind:?} is not last in chain. Terminating transform must be last in chain."
            )),
            (Dialect::Released, false, true) => Some(format!(
                "Non-terminating transform {kind:?} is last in chain. Last transform must be terminating."
            )),
        };
        if let Some(message) = message {
            transform.node.error(errors, message);
        }
        if !shape.accepts.is_empty() && !shape.accepts.contains(&&*source.kind) {
            transform.node.error(
                errors,
                format!(
                    "Transform {kind} requires upchain protocol to be one of [{}] but was {}",
                    shape.accepts.join(", "),
                    source.kind
                ),
            );
        }
    }
}
