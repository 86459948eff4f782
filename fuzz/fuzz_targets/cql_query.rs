//! Texts of CQL: what they are, and what they say.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wire::cql::fuzz::query(bytes));
