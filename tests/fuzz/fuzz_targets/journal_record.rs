//! The decoder of entries of agents' logs.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    decoders::journal_record(bytes);
});
