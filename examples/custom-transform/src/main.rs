//! A proxy with one more transform. Everything else is as in the one that ships: command line, files, metrics, signals.

mod refuse_unbounded_select;
mod statement;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use shotover::CustomTransform;

use crate::refuse_unbounded_select::RefuseUnboundedSelect;

fn main() -> ExitCode {
    shotover::run(&[CustomTransform {
        name: "RefuseUnboundedSelect",
        is_terminating: false,
        accepts: &["Cassandra"],
        read: RefuseUnboundedSelect::read,
    }])
}
