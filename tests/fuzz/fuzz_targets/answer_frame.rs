//! The host's side of the frame format: any bytes as an answer frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use phoenix_wit::AnswerReader;

fuzz_target!(|bytes: &[u8]| {
    // The number of turns is the host's own; it is taken from the input here.
    let Some((turns, frame)) = bytes.split_first() else {
        return;
    };
    let Ok(mut answers) = AnswerReader::new(frame, u32::from(*turns)) else {
        return;
    };
    while let Ok(Some(mut answer)) = answers.next_answer() {
        while let Ok(Some(effect)) = answer.effects.next_effect() {
            std::hint::black_box(effect);
        }
    }
});
