//! config.yaml: what concerns the process rather than its chains.

use std::net::SocketAddr;

use crate::errors::{Errors, quoted};
use crate::fields::Fields;
use crate::tree::Node;

/// config.yaml.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessConfig {
    /// Directives of the log filter, separated by commas.
    pub main_log_level: String,
    /// Where `/metrics` and `/filter` are served; nowhere if it is left out.
    pub observability_interface: Option<SocketAddr>,
    /// Latencies are measured, where metrics are served at all.
    pub latency_metrics: bool,
}

/// Says what is wrong with the directives of a log filter, if anything is.
pub type CheckLogLevel<'c> = &'c dyn Fn(&str) -> Result<(), String>;

/// Reads the text of config.yaml.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read_process(
    file: &str,
    text: &str,
    check_log_level: CheckLogLevel<'_>,
) -> Result<ProcessConfig, Errors> {
    let mut errors = Errors::new(file);
    let root = Node::parse(text, &mut errors);
    let config = root.and_then(|root| read(&root, check_log_level, &mut errors));
    config.filter(|_| errors.is_empty()).ok_or(errors)
}

/// Asks the reader what it would read.
pub(crate) fn describe_process(file: &Node, errors: &mut Errors) {
    drop(read(file, &|_| Ok(()), errors));
}

fn read(root: &Node, check_log_level: CheckLogLevel<'_>, errors: &mut Errors) -> Option<ProcessConfig> {
    let mut fields = Fields::new(root, errors)?;
    let main_log_level = fields.required_string("main_log_level");
    if let Some(Err(problem)) = main_log_level.as_deref().map(check_log_level) {
        fields.fail_key("main_log_level", problem);
    }
    let mut observability_interface = None;
    if let Some(text) = fields.optional_string("observability_interface") {
        observability_interface = text.parse().ok();
        if observability_interface.is_none() {
            fields.fail_key(
                "observability_interface",
                format!("expected an address like 127.0.0.1:9001, found {}", quoted(&text)),
            );
        }
    }
    let latency_metrics = fields.optional_bool("latency_metrics").unwrap_or(true);
    fields.finish();
    Some(ProcessConfig { main_log_level: main_log_level?, observability_interface, latency_metrics })
}
