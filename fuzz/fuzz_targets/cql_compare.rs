//! Whether two replies say the same.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wire::cql::fuzz::compare(bytes));
