//! The decoder of memory images.
#![no_main]

use libfuzzer_sys::fuzz_target;
use phoenix_host::image::{self, ImageLimits};

fuzz_target!(|bytes: &[u8]| {
    let limits = ImageLimits {
        memory_bytes: 1 << 20,
        globals: 16,
    };
    let _ = image::decode(bytes, &limits);
});
