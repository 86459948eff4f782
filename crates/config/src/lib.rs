//! topology.yaml and config.yaml as plain structs, with every mistake in them reported at once.
//!
//! A file becomes a tree whose values know their line; a small typed reader walks it, records what is wrong, and goes
//! on. Knows no runtime type: what a transform's options mean is read by a function registered beside its builder.
//! Must hold: no file can panic, recurse without limit, or blow up through its aliases.

mod chain;
mod describe;
#[cfg(test)]
mod description_tests;
mod errors;
mod fields;
#[cfg(any(test, fuzzing))]
mod fuzz;
mod process;
mod schema;
#[cfg(test)]
mod tests;
mod topology;
mod tree;

pub use chain::{
    COUNT_MAX, Catalog, ChainPlace, ChainReader, ChainSlot, Dialect, NestedChain, Transform, TransformShape,
};
pub use errors::{Address, Errors, Purpose};
pub use fields::{Fields, check_address};
#[cfg(any(test, fuzzing))]
pub use fuzz::fuzz_topology;
pub use process::{CheckLogLevel, ProcessConfig, read_process};
pub use schema::{ReadAny, process_schema, topology_schema};
pub use topology::{Source, Topology, read_topology};
pub use tree::Node;
