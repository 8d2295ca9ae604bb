//! The guest's side of the frame format: any bytes as an input frame.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    decoders::input_frame(bytes);
});
