//! main, assembly (config -> running graph), lifecycle, admin endpoints.
//!
//! `cli` reads the command line, `assemble` and `registry` make what runs from the files, `run` is the life of the
//! process, `serve` the task of one client, `admin` the HTTP endpoints.

mod admin;
mod assemble;
mod cli;
mod registry;
mod run;
mod serve;
mod switch;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    run::run(&cli::Options::parse())
}
