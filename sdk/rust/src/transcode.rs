//! MessagePack rewritten as JSON, without knowing the type.

use crate::payload::PayloadError;

/// The JSON form of one MessagePack value.
pub(crate) fn to_json(message_pack: &[u8]) -> Result<Vec<u8>, PayloadError> {
    let mut from = rmp_serde::Deserializer::from_read_ref(message_pack);
    let mut json = Vec::new();
    let mut to = serde_json::Serializer::new(&mut json);
    serde_transcode::transcode(&mut from, &mut to).map_err(PayloadError::new)?;
    Ok(json)
}
