//! main, assembly (config -> running graph), lifecycle, admin endpoints.
//!
//! `cli` reads the command line, `assemble` and `registry` make what runs from the files, `run` is the life of the
//! process, `serve` the task of one client, `admin` the HTTP endpoints, `check` what `--check` and `--schema` print.
//!
//! # Programs with more transforms
//!
//! A program of one's own is a `main` that calls [`run`] with what it adds. It has the same command line, files, metrics
//! and signals, and `--check` and `--schema` know its transforms too:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use shotover::CustomTransform;
//! use shotover::chain::{Batch, Builder, Cx, Fault, Link, Need, Transform, WorkerCx, WorkerPart};
//! use shotover::wire::{ErrorKind, QueryType};
//!
//! /// Lets nobody change the schema.
//! #[derive(Clone, Copy)]
//! struct FrozenSchema;
//!
//! impl Transform for FrozenSchema {
//!     fn request_need(&self, _opcode: u8) -> Need {
//!         Need::Head
//!     }
//!
//!     fn requests(&mut self, _cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
//!         batch.each(|request| {
//!             if request.query_type() == Some(QueryType::SchemaChange) {
//!                 request.answer_error(ErrorKind::Invalid, "the schema is frozen");
//!             }
//!         });
//!         Ok(())
//!     }
//! }
//!
//! impl Builder for FrozenSchema {
//!     fn worker(&self, _worker: &WorkerCx) -> Box<dyn WorkerPart> {
//!         Box::new(*self)
//!     }
//! }
//!
//! impl WorkerPart for FrozenSchema {
//!     fn client(&self) -> Link {
//!         Link::Transform(Box::new(*self))
//!     }
//! }
//!
//! fn main() -> ExitCode {
//!     shotover::run(&[CustomTransform {
//!         name: "FrozenSchema",
//!         is_terminating: false,
//!         accepts: &["Cassandra"],
//!         read: |_options| Some(Box::new(FrozenSchema)),
//!     }])
//! }
//! ```
//!
//! The contract is in [`chain`]: [`chain::Transform`] and [`chain::Item`] first. How options are read is in
//! [`config::Fields`]; what messages say, in [`wire`]; [`OwnMetrics`] are counters of a transform's own.
//! `docs/custom-transforms.md` walks through a whole example.

#![warn(missing_docs)]

mod admin;
mod assemble;
mod check;
mod cli;
mod custom;
mod listeners;
mod one_chain;
mod registry;
mod run;
mod serve;
mod switch;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::Parser;

pub use chain;
pub use config;
pub use observe::{OwnFamily, OwnMetrics, Tallies, Tally};
pub use wire;

pub use crate::custom::CustomTransform;
pub use crate::one_chain::{Files, OneChain, chain_of, transform_names};

/// Does what the command line says, with the transforms of this version and these; returns when the process is to end.
#[must_use]
pub fn run(custom: &[CustomTransform]) -> ExitCode {
    let options = cli::Options::parse();
    let registry = match registry::Registry::with(custom) {
        Ok(registry) => registry,
        Err(problem) => return check::print(Err(problem)),
    };
    if let Some(file) = options.schema {
        return check::print(Ok(check::schema(file, &registry)));
    }
    if options.check {
        return check::print(check::check(&options, &registry));
    }
    run::run(&options, &registry)
}
