//! The text of a statement, taken apart.
#![no_main]
libfuzzer_sys::fuzz_target!(|text: &[u8]| wire::cql::fuzz::words(text));
