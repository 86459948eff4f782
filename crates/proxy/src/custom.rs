//! A transform that a program adds to those of this version.

use std::fmt;

use crate::registry::ReadOptions;

/// A type of transform that a program adds to those of this version, as its topologies name it.
#[derive(Clone, Copy)]
pub struct CustomTransform {
    /// Its name in a topology.
    pub name: &'static str,
    /// It ends a chain: its builder makes sinks.
    pub is_terminating: bool,
    /// The types of sources whose chains it can stand in; empty for any.
    pub accepts: &'static [&'static str],
    /// Reads its options. What is wrong with them is recorded in the fields, with its place; so is every key that was not
    /// asked for. Nothing is opened or bound here: it is also called to check a file, and to describe what can stand in it.
    pub read: ReadOptions,
}

impl fmt::Debug for CustomTransform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CustomTransform").field(&self.name).finish()
    }
}
