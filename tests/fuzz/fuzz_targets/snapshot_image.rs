//! The decoder of memory images.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    decoders::snapshot_image(bytes);
});
