//! The same frames, however a stream is cut.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    wire::cql::fuzz::stream(wire::Side::Request, bytes);
    wire::cql::fuzz::stream(wire::Side::Response, bytes);
});
