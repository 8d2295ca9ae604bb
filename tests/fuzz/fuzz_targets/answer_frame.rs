//! The host's side of the frame format: any bytes as an answer frame.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    decoders::answer_frame(bytes);
});
