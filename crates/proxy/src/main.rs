//! The program that ships: everything is in the library beside it, which programs with more transforms call as well.

use std::process::ExitCode;

fn main() -> ExitCode {
    shotover::run(&[])
}
