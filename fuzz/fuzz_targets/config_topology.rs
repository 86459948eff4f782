//! topology.yaml, whatever stands in it.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| config::fuzz_topology(bytes));
