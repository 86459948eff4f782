//! The command line: upstream's flags, and a way to try the proxy without any file.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use config::check_address;

/// A message-based layer-7 proxy for Cassandra.
#[derive(Clone, Debug, Parser)]
#[command(name = "shotover", version)]
pub(crate) struct Options {
    /// The topology: sources and their chains.
    #[arg(short = 't', long, default_value = "config/topology.yaml")]
    pub(crate) topology_file: PathBuf,

    /// What concerns the process: logs, metrics.
    #[arg(short = 'c', long, default_value = "config/config.yaml")]
    pub(crate) config_file: PathBuf,

    /// Worker threads [default: one a core but one].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) core_threads: Option<u16>,

    /// Stack of a worker thread, bytes: 256 KiB to 1 GiB.
    #[arg(long, default_value_t = 2_097_152, value_parser = clap::value_parser!(u32).range(262_144..=1_073_741_824))]
    pub(crate) stack_size: u32,

    /// How log lines look.
    #[arg(long, value_enum, default_value_t = LogFormat::Human)]
    pub(crate) log_format: LogFormat,

    /// Hot reload; known to upstream, not supported by this version.
    #[arg(long)]
    pub(crate) hotreload_socket: Option<PathBuf>,

    /// How long an old process drains in a hot reload, seconds.
    #[arg(long, default_value_t = 60)]
    pub(crate) hotreload_gradual_shutdown_seconds: u64,

    /// Read both files, resolve the names in them, say what is wrong or what would run, and end: with 0 if it would start.
    /// Whether ports are free is not tried, and no file is made: those to be written to are opened if they are there, else
    /// their folder is looked for.
    #[arg(long)]
    pub(crate) check: bool,

    /// Print the JSON Schema of a file, for editors, and end.
    #[arg(long, value_enum, value_name = "FILE")]
    pub(crate) schema: Option<SchemaOf>,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What else there is than running the files.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Pass everything through to one server, without any file.
    Passthrough {
        /// The protocol.
        protocol: PassthroughProtocol,
        /// Where clients connect.
        #[arg(long, default_value = "127.0.0.1:9043", value_parser = address)]
        listen: String,
        /// The server.
        #[arg(long, default_value = "127.0.0.1:9042", value_parser = address)]
        to: String,
        /// Where `/metrics` and `/filter` are served.
        #[arg(long)]
        observe: Option<std::net::SocketAddr>,
    },
}

fn address(text: &str) -> Result<String, &'static str> {
    check_address(text).map(|()| text.to_owned())
}

/// Files that have a schema.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum SchemaOf {
    Topology,
    Config,
}

/// Protocols that can be passed through.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum PassthroughProtocol {
    Cassandra,
}

/// See [`observe::LogFormat`].
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    Human,
    Json,
}

impl From<LogFormat> for observe::LogFormat {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Human => Self::Human,
            LogFormat::Json => Self::Json,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::Options;

    fn is_accepted(arguments: &str) -> bool {
        Options::try_parse_from(format!("shotover {arguments}").split(' ')).is_ok()
    }

    #[test]
    fn what_could_not_run_is_refused() {
        for size in ["0", "16384", "9223372036854775807"] {
            assert!(!is_accepted(&format!("--stack-size {size}")), "{size}");
        }
        assert!(is_accepted("--stack-size 262144"));
        for option in ["--to", "--listen"] {
            for address in ["localhost", ":9042", "localhost:", "localhost:65536"] {
                assert!(
                    !is_accepted(&format!("passthrough cassandra {option} {address}")),
                    "{option} {address}"
                );
            }
            assert!(is_accepted(&format!("passthrough cassandra {option} localhost:9042")));
        }
    }
}
