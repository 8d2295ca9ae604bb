//! Answer frames that are not what they say. Each lie is told over an honest
//! answer, so that one thing is wrong at a time.

/// The lies, by method name.
pub const LIES: &[&str] = &[
    "lie-empty",
    "lie-version",
    "lie-short",
    "lie-more-turns",
    "lie-fewer-turns",
    "lie-turns-max",
    "lie-trailing",
    "lie-record-short",
    "lie-record-long",
    "lie-record-max",
    "lie-effects-length",
    "lie-effects-length-max",
    "lie-effect-count",
    "lie-effect-count-max",
    "lie-effect-kind",
    "lie-effect-length",
    "lie-effect-text-length",
    "lie-effect-utf8",
    "lie-outcome",
    "lie-outcome-content-type",
    "lie-pending",
    "lie-pending-max",
    "lie-2-gib",
    "lie-large-answer",
];

/// Where an answer frame's fields lie, by the contract.
const VERSION: usize = 0;
const TURNS: usize = 4;
const FIRST: usize = 8;
const EFFECTS_LENGTH: usize = FIRST + 4;
const EFFECT_COUNT: usize = FIRST + 8;
const PENDING: usize = FIRST + 12;
const OUTCOME: usize = FIRST + 14;
const CONTENT_TYPE: usize = FIRST + 15;

/// The honest answer made a lie.
pub fn tell(lie: &str, mut frame: Vec<u8>) -> Vec<u8> {
    match lie {
        "lie-empty" => frame.clear(),
        "lie-version" => frame[VERSION] = 2,
        "lie-short" => frame.truncate(frame.len() - 1),
        "lie-more-turns" => add(&mut frame, TURNS, 1),
        "lie-fewer-turns" => add(&mut frame, TURNS, u32::MAX),
        "lie-turns-max" => put(&mut frame, TURNS, u32::MAX),
        "lie-trailing" => frame.push(0),
        "lie-record-short" => put(&mut frame, FIRST, 3),
        "lie-record-long" => add(&mut frame, FIRST, 1),
        "lie-record-max" => put(&mut frame, FIRST, u32::MAX),
        "lie-effects-length" => put(&mut frame, EFFECTS_LENGTH, 64),
        "lie-effects-length-max" => put(&mut frame, EFFECTS_LENGTH, u32::MAX),
        "lie-effect-count" => put(&mut frame, EFFECT_COUNT, 3),
        "lie-effect-count-max" => put(&mut frame, EFFECT_COUNT, u32::MAX),
        "lie-effect-kind" => effect(&mut frame, &[200, 0, 0, 0, 0]),
        "lie-effect-length" => effect(&mut frame, &[0, 255, 255, 255, 127, 1, 0]),
        "lie-effect-text-length" => {
            effect(&mut frame, &[10, 6, 0, 0, 0, 2, 0, 255, 255, b'h', b'i']);
        }
        "lie-effect-utf8" => effect(&mut frame, &[10, 6, 0, 0, 0, 2, 0, 2, 0, 0xff, 0xfe]),
        "lie-outcome" => frame[OUTCOME] = 9,
        "lie-outcome-content-type" => frame[CONTENT_TYPE] = 77,
        // Says that a handler waits although none does, and asks nothing.
        "lie-pending" => frame[PENDING..PENDING + 2].copy_from_slice(&7_u16.to_le_bytes()),
        "lie-pending-max" => frame[PENDING..PENDING + 2].copy_from_slice(&[0xff; 2]),
        "lie-2-gib" => return two_gib(frame),
        "lie-large-answer" => frame.resize(32 << 20, 0),
        _ => {}
    }
    frame
}

/// A list whose length, by the canonical ABI, is 2 GiB, although memory is far smaller.
fn two_gib(frame: Vec<u8>) -> Vec<u8> {
    let frame = std::mem::ManuallyDrop::new(frame);
    // SAFETY: none for the claimed length; nothing in the guest reads or frees the list, as the
    // host is to trap before that.
    unsafe { Vec::from_raw_parts(frame.as_ptr().cast_mut(), 0x8000_0000, 0x8000_0000) }
}

/// Puts raw bytes where the first turn's effects belong, with lengths to match.
fn effect(frame: &mut Vec<u8>, raw: &[u8]) {
    let at = FIRST + 16;
    frame.splice(at..at, raw.iter().copied());
    let added = u32::try_from(raw.len()).expect("an effect is short");
    add(frame, FIRST, added);
    add(frame, EFFECTS_LENGTH, added);
    add(frame, EFFECT_COUNT, 1);
}

fn add(frame: &mut [u8], at: usize, by: u32) {
    let field = frame[at..at + 4].try_into().expect("four bytes are taken");
    put(frame, at, u32::from_le_bytes(field).wrapping_add(by));
}

fn put(frame: &mut [u8], at: usize, value: u32) {
    frame[at..at + 4].copy_from_slice(&value.to_le_bytes());
}
