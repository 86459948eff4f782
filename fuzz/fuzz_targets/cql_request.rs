//! Frames and views of CQL requests.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wire::cql::fuzz::frame(wire::Side::Request, bytes));
