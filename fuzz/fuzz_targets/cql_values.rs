//! A type and bytes: decoded and encoded again they are the same.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wire::cql::fuzz::value(bytes));
