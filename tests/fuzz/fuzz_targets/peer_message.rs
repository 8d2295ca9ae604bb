//! A frame from another node: whatever it is, reading it does no harm, and what
//! can be read can be written and read again.
#![no_main]

use bytes::{Buf, Bytes};
use libfuzzer_sys::fuzz_target;
use phoenix_net::wire::{self, Output};

fuzz_target!(|frame: &[u8]| {
    let Ok(message) = wire::decode(Bytes::copy_from_slice(frame)) else {
        return;
    };
    let mut out = Output::new();
    let count = wire::encode(&message, 16 << 20, &mut out).expect("it came in a smaller frame");
    // Long lists are split; all others come back as they were.
    if count == 1 {
        let mut bytes = out.into_bytes();
        bytes.advance(wire::HEADER);
        assert_eq!(wire::decode(bytes).expect("it was written here"), message);
    }
});
