//! The guest's side of the frame format: any bytes as an input frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use phoenix_wit::FrameReader;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut frame) = FrameReader::new(bytes) else {
        return;
    };
    while let Ok(Some(turn)) = frame.next_turn() {
        std::hint::black_box(turn);
    }
});
