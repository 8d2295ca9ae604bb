//! An event in the headers of a request.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    decoders::event_headers(bytes);
});
