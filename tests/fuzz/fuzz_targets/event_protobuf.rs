//! An event in Protocol Buffers, or a batch.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    decoders::event_protobuf(bytes);
});
