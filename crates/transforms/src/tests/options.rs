//! The options, in both dialects, and what is said of wrong ones.

use std::time::Duration;

use config::{Catalog, Fields, TransformShape, read_topology};

use crate::{Coalesce, QueryCounter, QueryTypeFilter, RequestThrottling};

/// Knows one transform, `T`, and a sink.
struct Known {
    name_is_option: bool,
}

impl Catalog for Known {
    fn sources(&self) -> Vec<&str> {
        vec!["Cassandra"]
    }
    fn transforms(&self) -> Vec<&str> {
        vec!["T", "Sink"]
    }
    fn shape(&self, transform: &str) -> Option<TransformShape> {
        let is_terminating = transform == "Sink";
        let name_is_option = self.name_is_option && !is_terminating;
        Some(TransformShape { is_terminating, accepts: &[], name_is_option, chains: &[] })
    }
}

/// Reads a transform whose entry is `options`, in a chain with this sink.
fn read_with<T>(
    options: &str,
    sink: &str,
    read: impl FnOnce(&mut Fields<'_>) -> Option<T>,
) -> Result<T, String> {
    let text = format!(
        "sources:\n- Cassandra:\n    name: foo\n    listen_addr: 127.0.0.1:1\n    chain:\n    - T: {options}\n    - {sink}\n"
    );
    let (topology, mut errors) = read_topology("t.yaml", &text, &Known { name_is_option: true });
    let Some(topology) = topology else { return Err(errors.to_string()) };
    let value = topology.sources[0].chain[0].read_options(&mut errors, read);
    match value {
        Some(value) if errors.is_empty() => Ok(value),
        _ => Err(errors.to_string()),
    }
}

/// Reads options, written in the later dialect without a name.
pub(super) fn read<T>(options: &str, read: impl FnOnce(&mut Fields<'_>) -> Option<T>) -> Result<T, String> {
    let options = options.trim_matches(['{', '}']);
    let comma = if options.is_empty() { "" } else { ", " };
    read_with(&format!("{{name: t{comma}{options}}}"), "Sink: {name: s}", read)
}

/// Reads options in the older dialect.
fn read_released<T>(options: &str, read: impl FnOnce(&mut Fields<'_>) -> Option<T>) -> Result<T, String> {
    read_with(&format!("{{{options}}}"), "Sink", read)
}

/// The outline of what is wrong.
fn outline<T>(read: Result<T, String>) -> String {
    let said = read.err().unwrap();
    said.split_once("Topology errors\n").map(|(_, outline)| outline.to_owned()).unwrap_or(said)
}

#[test]
fn coalesce_wants_at_least_one_option() {
    let count = Coalesce { count: Some(3), after: None };
    assert_eq!(read("flush_when_buffered_message_count: 3", Coalesce::parse), Ok(count));
    assert_eq!(read_released("flush_when_buffered_message_count: 3", Coalesce::parse), Ok(count));
    let both = Coalesce { count: Some(3), after: Some(Duration::from_millis(7)) };
    let options = "flush_when_buffered_message_count: 3, flush_when_millis_since_last_flush: 7";
    assert_eq!(read(options, Coalesce::parse), Ok(both));
    assert_eq!(
        outline(read("", Coalesce::parse)),
        "foo source:
  foo chain:
    Coalesce:
      Provide at least one of:
      * flush_when_buffered_message_count
      * flush_when_millis_since_last_flush (must be greater than 0)
    
      But none of them were provided.
      Check https://shotover.io/docs/latest/transforms.html#coalesce for more information."
    );
    assert_eq!(
        outline(read_released("", Coalesce::parse)),
        "foo source:
  foo chain:
    Coalesce:
      Need to provide at least one of these fields:
      * flush_when_buffered_message_count
      * flush_when_millis_since_last_flush
    
      But none of them were provided.
      Check https://docs.shotover.io/transforms.html#coalesce for more information."
    );
    for nothing in ["flush_when_buffered_message_count: ", "flush_when_millis_since_last_flush: ~"] {
        let said = read(nothing, Coalesce::parse).unwrap_err();
        assert!(said.contains("But none of them were provided."), "{said}");
    }
    let said = read("flush_when_buffered_message_count: many", Coalesce::parse).unwrap_err();
    assert!(said.contains("expected a whole number") && !said.contains("none of them"), "{said}");
}

#[test]
fn no_time_at_all_is_a_time_in_the_older_dialect_only() {
    let options = "flush_when_millis_since_last_flush: 0, flush_when_buffered_message_count: 100";
    assert_eq!(
        outline(read(options, Coalesce::parse)),
        "foo source:
  foo chain:
    Coalesce:
      flush_when_millis_since_last_flush must be greater than 0 when set.
      Check https://shotover.io/docs/latest/transforms.html#coalesce for more information."
    );
    let zero = read_released(options, Coalesce::parse).unwrap();
    let mut scene = super::scene::scene(&[&zero]);
    scene.send(&[super::scene::query(1, super::scene::INSERT)]);
    assert_eq!(scene.server_got(), [1], "it holds nothing");
}

#[test]
fn a_counter_is_named_in_both_dialects() {
    assert!(read("counter_name: c", QueryCounter::parse).is_ok());
    assert!(read_released("name: c", QueryCounter::parse).is_ok());
    for said in [read("", QueryCounter::parse).err(), read_released("", QueryCounter::parse).err()] {
        assert!(said.unwrap().contains("missing field `counter_name`"));
    }
}

#[test]
fn a_filter_by_names_that_are_not_there_is_none() {
    for options in ["allow_keyspaces: ", "DenyList: [Write], deny_tables: ~"] {
        let said = read(options, QueryTypeFilter::parse).unwrap_err();
        assert!(said.contains("expected a list, found nothing"), "{said}");
    }
}

#[test]
fn a_throttle_lets_at_least_50_pass() {
    for said in [
        read("max_requests_per_second: 20", RequestThrottling::parse).err(),
        read_released("max_requests_per_second: 49", RequestThrottling::parse).err(),
    ] {
        let expected = "Topology errors\nfoo source:\n  foo chain:\n    RequestThrottling:\n      \
                        max_requests_per_second has a minimum allowed value of 50";
        assert!(said.as_ref().unwrap().ends_with(expected), "{said:?}");
    }
    assert!(read("max_requests_per_second: 50", RequestThrottling::parse).is_ok());
    let said = read("max_requests_per_second: 50, per: Moon", RequestThrottling::parse).err().unwrap();
    assert!(
        said.contains("unknown variant `Moon`, expected one of `ClientAddress`, `User`, `Keyspace`, `Table`"),
        "{said}"
    );
}
