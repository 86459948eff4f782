//! Frames and views of CQL responses.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wire::cql::fuzz::frame(wire::Side::Response, bytes));
