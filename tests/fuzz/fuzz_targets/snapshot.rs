//! The decoder of snapshots: any bytes, and any bytes under a right seal.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use phoenix_core::{Digest, snapshot};

fuzz_target!(|bytes: &[u8]| {
    let _ = snapshot::peek_agent(bytes);
    let _ = snapshot::peek_turns(bytes);
    let _ = snapshot::decode(&Bytes::copy_from_slice(bytes));
    let mut sealed = bytes.to_vec();
    sealed.extend(Digest::of(bytes).0);
    let sealed = Bytes::from(sealed);
    if let Ok(read) = snapshot::decode(&sealed) {
        // What is read can be written and read again.
        let mut again = Vec::new();
        snapshot::encode(&read.agent, &read.component, &read.image, &mut again);
        assert!(snapshot::decode(&Bytes::from(again)).is_ok());
    }
});
