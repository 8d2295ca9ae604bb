//! States as bytes: one for each state, whatever led to it.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Appends a state: lists by position, in MessagePack.
pub(super) fn write<T: Serialize>(state: &T, out: &mut Vec<u8>) {
    // A state is lists, texts, numbers and bytes, which MessagePack has all of, and writing
    // to memory does not fail; what could not be written would be refused when it is read.
    if rmp_serde::encode::write(out, state).is_err() {
        out.clear();
    }
}

/// Reads one, and refuses what is not written as a state is.
pub(super) fn read<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let state = rmp_serde::from_slice(bytes).map_err(|why| why.to_string())?;
    let mut again = Vec::with_capacity(bytes.len());
    write(&state, &mut again);
    if again == bytes {
        Ok(state)
    } else {
        Err("these bytes are not what the state they say is saved as".to_owned())
    }
}
