//! An event in MessagePack, or a batch.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    decoders::event_message_pack(bytes);
});
