//! A load generator, two echo servers, and the ratios that say what the proxy costs

#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time, and waits in it")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark tells people what it finds")]

mod arms;
mod flights;
mod frames;
mod goals;
mod judge;
mod load;
mod measure;
mod open_loop;
mod page;
mod page_report;
mod peers;
mod plot;
mod readme;
mod report;
mod results;
mod run;
mod saved;
mod server;
mod stream;

use std::process::ExitCode;

use testkit::Options;

const USAGE: &str = "bench <part>
  run [--quick] [--go-on] [--only-loads L,..] [--arms A,..] [--blocks N] [--seconds S] [--warm-up S] [--out DIR]
                                    every arm under every load, and docs/benchmarks/grid.*
  page [--rounds N] [--ops N] [--arms A,..] [--out DIR]
                                    the original page again: cassandra-stress and Cassandra, docs/benchmarks/page.*
  readme                            the README's table from docs/benchmarks/grid.json
  peers                             gets what is compared with, which the two above do too
  server cheap|per-connection --port P
                                    an echo server
  load --port P --clients N [--deep D | --rate R] [--request-bytes B] [--reply-bytes B]
       [--seconds S] [--warm-up S] [--watch PID]
                                    one load, and one line of JSON about it
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match &*words {
        ["run", options @ ..] => run::command(&Options::new(options)),
        ["page", options @ ..] => page::command(&Options::new(options)),
        ["readme"] => readme::command(),
        ["peers"] => peers::command(),
        ["server", kind, options @ ..] => server::command(kind, &Options::new(options)),
        ["load", options @ ..] => load::command(&Options::new(options)),
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
