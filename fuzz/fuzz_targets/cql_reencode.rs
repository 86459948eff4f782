//! Requests and rows that could be changed and are not.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wire::cql::fuzz::reencode(bytes));
