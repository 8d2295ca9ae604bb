//! The decoder of snapshots: any bytes, and any bytes under a right seal.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    decoders::snapshot(bytes);
});
