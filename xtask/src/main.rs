//! Every chore of the project behind one command.

#![expect(clippy::disallowed_methods, reason = "a chore tells people how long it takes")]

mod counted;
mod demo;
mod fuzz;
mod instructions;
mod mutants;
mod run;
mod test;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "cargo xtask <chore>
  demo                     a real Cassandra through the proxy, and a table of what it costs
  test [--full [--go-on]] [--only STEP]
                           every check that a change must pass, or one of them; --full: the long tier (hours), which
                           keeps what has passed; --go-on: without the steps that this commit has passed already
  tidy                     the rules of the house that no compiler checks
  fuzz TARGET SECONDS      one fuzz target; `fuzz all SECONDS` for each
  sim [chains] --seeds N | SEED
                           the simulator: many seeds, of random chains alone if so, or one again
  instructions [--update]  what the core executes for a request, held against what it did; --update: from now on this
  counted                  the page of what is counted, by tests that take a quarter of an hour, into docs/benchmarks
  mutants [--only N | --from N]
                           bugs made on purpose: each must be caught by a seed or a test
  bench [--quick]          what the proxy costs beside HAProxy, Envoy and upstream, into docs/benchmarks; `bench page`: with
                           cassandra-stress; `bench readme`: the README's table
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match &*words {
        ["demo"] => demo::run(),
        ["test", options @ ..] => test::command(options),
        ["tidy"] => tidy::run(),
        ["fuzz", target, seconds] => fuzz::command(target, seconds),
        ["sim", options @ ..] => run::sim(options),
        ["instructions", options @ ..] => instructions::command(options),
        ["counted"] => counted::command(),
        ["mutants", options @ ..] => mutants::command(options),
        ["bench", options @ ..] => run::bench(options),
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}
