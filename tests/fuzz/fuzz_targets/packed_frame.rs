//! A frame from another node, of any form and compression.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    decoders::packed_frame(bytes);
});
