//! topology.yaml and config.yaml as plain structs, with every mistake in them reported at once.
//!
//! A file becomes a tree whose values know their line; a small typed reader walks it, records what is wrong, and goes
//! on. Knows no runtime type: what a transform's options mean is read by a function registered beside its builder.
//! Must hold: no file can panic, recurse without limit, or blow up through its aliases.

mod errors;
mod fields;
mod process;
mod structure;
#[cfg(test)]
mod tests;
mod topology;
mod tree;

pub use errors::Errors;
pub use fields::Fields;
pub use process::{ProcessConfig, read_process};
#[cfg(any(test, fuzzing))]
pub use topology::fuzz_topology;
pub use topology::{Catalog, Source, Topology, Transform, TransformShape, read_topology};
pub use tree::Node;
