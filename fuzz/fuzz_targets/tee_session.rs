//! Requests in the words of a second server, and the session that is told it again.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| transforms::fuzz_tee_session(bytes));
