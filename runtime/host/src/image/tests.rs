//! The format's own tests; whole snapshots are tested with real instances.

use proptest::prelude::*;

use super::*;
use crate::base::{BaseBuilder, BaseImage};
use crate::pages::PAGE;
use crate::typed::Kept;

const LIMITS: ImageLimits = ImageLimits {
    memory_bytes: 1 << 20,
    globals: 3,
};

fn base(fill: u8) -> BaseImage {
    let mut builder = BaseBuilder::default();
    builder.push(&vec![fill; 65536]);
    builder.finish(vec![7, 8, 9])
}

fn kept() -> Kept {
    Kept {
        pending: 5,
        open: vec![0, 7, 300],
    }
}

fn encode(base: &BaseImage, memory: &[u8], globals: &[u64]) -> Vec<u8> {
    let mut encoder = Encoder::default();
    for (index, page) in memory.as_chunks::<PAGE>().0.iter().enumerate() {
        if page != base.page(index) {
            encoder.page(index, page, base.page(index));
        }
    }
    let mut out = Vec::new();
    let pages = u32::try_from(memory.len() / 65536).unwrap();
    encoder.finish(&mut out, base, pages, &kept(), globals);
    out
}

fn apply(base: &BaseImage, image: &Image<'_>) -> Vec<u8> {
    let mut memory: Vec<u8> = (0..image.wasm_pages as usize * 16)
        .flat_map(|page| *base.page(page))
        .collect();
    let places: Vec<usize> = image
        .runs
        .iter()
        .flat_map(|(first, count)| *first as usize..(first + count) as usize)
        .collect();
    for (at, bytes) in image.changes() {
        for (at, byte) in (usize::try_from(at).unwrap()..).zip(bytes) {
            memory[places[at / PAGE] * PAGE + at % PAGE] ^= byte;
        }
    }
    memory
}

#[test]
fn a_small_change_makes_a_small_image() {
    let base = base(0);
    let mut memory = vec![0; 65536];
    memory[5_000] = 42;
    let bytes = encode(&base, &memory, &[7, 8, 9]);
    assert!(bytes.len() < 36, "{} bytes", bytes.len());
}

#[test]
fn an_unchanged_agent_has_no_pages() {
    let base = base(3);
    let bytes = encode(&base, &vec![3; 65536], &[7, 8, 9]);
    let image = decode(&bytes, &LIMITS).unwrap();
    assert_eq!((image.runs.len(), image.globals.len()), (0, 0));
}

#[test]
fn versions_are_told_apart() {
    let base = base(0);
    let mut bytes = encode(&base, &vec![0; 65536], &[7, 8, 9]);
    bytes[0] = 9;
    assert!(matches!(
        decode(&bytes, &LIMITS),
        Err(ImageError::Version { found: 9, .. })
    ));
}

#[test]
fn more_memory_than_allowed_is_refused_before_it_is_allocated() {
    let base = base(0);
    let bytes = encode(&base, &vec![0; 1 << 21], &[7, 8, 9]);
    assert!(matches!(
        decode(&bytes, &LIMITS),
        Err(ImageError::TooLarge {
            what: "memory size",
            ..
        })
    ));
}

/// Memory of one or two Wasm pages with stretches of change.
fn memory() -> impl Strategy<Value = Vec<u8>> {
    let stretch = (
        0usize..131_072,
        proptest::collection::vec(any::<u8>(), 1..6_000),
    );
    (1usize..=2, proptest::collection::vec(stretch, 0..6)).prop_map(|(pages, stretches)| {
        let mut memory = vec![3; pages * 65536];
        for (at, bytes) in stretches {
            for (place, byte) in memory.iter_mut().skip(at).zip(bytes) {
                *place = byte;
            }
        }
        memory
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(memory in memory(), globals in any::<[u64; 3]>()) {
        let base = base(3);
        let bytes = encode(&base, &memory, &globals);
        let image = decode(&bytes, &LIMITS).unwrap();
        prop_assert_eq!(&image.kept, &kept());
        let mut read = base.globals.clone();
        for (index, change) in &image.globals {
            read[*index] ^= change;
        }
        prop_assert_eq!(read.as_slice(), globals.as_slice());
        prop_assert!(apply(&base, &image) == memory);
    }

    #[test]
    fn damage_never_panics(memory in memory(), at in any::<prop::sample::Index>(), to in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let base = base(3);
        let mut bytes = encode(&base, &memory, &[1, 2, 3]);
        *at.get_mut(&mut bytes) = to;
        bytes.truncate(cut.index(bytes.len() + 1));
        if let Ok(image) = decode(&bytes, &LIMITS) {
            // Whatever passes the checks can be applied.
            let pages: u64 = image.runs.iter().map(|(_, count)| u64::from(*count)).sum();
            let reach = image.changes().map(|(at, bytes)| at + bytes.len() as u64).max();
            prop_assert!(reach.unwrap_or(0) <= pages << 12);
        }
    }

    #[test]
    fn noise_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        for (place, byte) in bytes.iter_mut().zip([IMAGE_VERSION, crate::instrument::INSTRUMENTATION_VERSION]) {
            *place = byte;
        }
        let _ = decode(&bytes, &LIMITS);
    }
}
