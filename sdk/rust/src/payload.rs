//! Payloads: bytes, how to read them, and the two serde formats.

use std::{fmt, io};

use phoenix_wit::{ContentType, short};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// MessagePack's `nil`, which is also how an absent payload reads.
pub(crate) const NIL: u8 = 0xc0;

/// Bytes and how to read them, owned.
///
/// Most agents never see one: arguments and answers are serde types. It is what
/// an untyped [`Request`](crate::Request) answers with, and what a
/// [`Failure`](crate::Failure) carries as details.
///
/// ```
/// use phoenix_sdk::Payload;
///
/// let payload = Payload::message_pack(&("alice", 7)).unwrap();
/// assert_eq!(payload.decode::<(String, u32)>().unwrap(), ("alice".to_owned(), 7));
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Payload {
    content_type: ContentType,
    bytes: Vec<u8>,
}

/// Why a value could not be turned into bytes, or bytes into a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadError(String);

/// The serde format an answer is written in: the one the request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// The default between agents.
    MessagePack,
    /// What `curl` and the command line speak.
    Json,
}

impl Payload {
    /// Bytes of any content type.
    pub fn new(content_type: ContentType, bytes: Vec<u8>) -> Self {
        Self {
            content_type,
            bytes,
        }
    }

    /// No payload.
    pub const fn none() -> Self {
        Self {
            content_type: ContentType::None,
            bytes: Vec::new(),
        }
    }

    /// `value` in MessagePack, structs as maps.
    pub fn message_pack<T: Serialize + ?Sized>(value: &T) -> Result<Self, PayloadError> {
        Self::encode(Format::MessagePack, value)
    }

    /// `value` in JSON.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, PayloadError> {
        Self::encode(Format::Json, value)
    }

    /// Bytes whose meaning only sender and receiver know.
    pub fn binary(bytes: Vec<u8>) -> Self {
        Self::new(ContentType::Binary, bytes)
    }

    pub(crate) fn encode<T: Serialize + ?Sized>(
        format: Format,
        value: &T,
    ) -> Result<Self, PayloadError> {
        let mut bytes = Vec::new();
        let content_type = encode(format, value, &mut bytes)?;
        Ok(Self {
            content_type,
            bytes,
        })
    }

    /// How the bytes are to be read.
    pub fn content_type(&self) -> ContentType {
        self.content_type
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, owned.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Whether there is nothing in it.
    pub fn is_none(&self) -> bool {
        self.content_type == ContentType::None
    }

    /// Reads the value in it. No payload reads as `()` or as an `Option`'s `None`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        decode(self.as_wit())
    }

    pub(crate) fn as_wit(&self) -> phoenix_wit::Payload<'_> {
        phoenix_wit::Payload {
            content_type: self.content_type,
            bytes: &self.bytes,
        }
    }
}

impl From<phoenix_wit::Payload<'_>> for Payload {
    fn from(payload: phoenix_wit::Payload<'_>) -> Self {
        Self::new(payload.content_type, payload.bytes.to_vec())
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.content_type {
            ContentType::Json => std::str::from_utf8(&self.bytes).ok(),
            _ => None,
        };
        match text {
            Some(text) => write!(f, "Json({text})"),
            None => write!(f, "{:?}({:02x?})", self.content_type, self.bytes),
        }
    }
}

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PayloadError {}

impl PayloadError {
    #[cold]
    pub(crate) fn new(why: impl fmt::Display) -> Self {
        Self(why.to_string())
    }
}

impl Format {
    /// The format that answers a payload of `content_type`.
    pub(crate) fn answering(content_type: ContentType) -> Self {
        match content_type {
            ContentType::Json => Self::Json,
            ContentType::None | ContentType::MessagePack | ContentType::Binary => Self::MessagePack,
        }
    }
}

/// Appends `value` to `buf` and says what it has become: `nil` is left out, since
/// no payload reads the same.
#[inline]
pub(crate) fn encode<T: Serialize + ?Sized>(
    format: Format,
    value: &T,
    buf: &mut Vec<u8>,
) -> Result<ContentType, PayloadError> {
    match format {
        Format::MessagePack => {
            let start = buf.len();
            // Maps rather than arrays for structs: fields may be added, skipped and
            // reordered, and other languages can read them.
            let mut serializer = rmp_serde::Serializer::new(Appended(buf)).with_struct_map();
            value
                .serialize(&mut serializer)
                .map_err(PayloadError::new)?;
            if let Some([NIL]) = buf.get(start..) {
                buf.truncate(start);
                return Ok(ContentType::None);
            }
            Ok(ContentType::MessagePack)
        }
        Format::Json => {
            serde_json::to_writer(buf, value).map_err(PayloadError::new)?;
            Ok(ContentType::Json)
        }
    }
}

/// MessagePack is written a byte or a few at a time.
struct Appended<'b>(&'b mut Vec<u8>);

impl io::Write for Appended<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        short::push(self.0, bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a value, borrowing from the payload where the type allows it.
#[inline]
pub(crate) fn decode<'a, T: Deserialize<'a>>(
    payload: phoenix_wit::Payload<'a>,
) -> Result<T, PayloadError> {
    match payload.content_type {
        ContentType::MessagePack => rmp_serde::from_slice(payload.bytes).map_err(PayloadError::new),
        ContentType::Json => serde_json::from_slice(payload.bytes).map_err(PayloadError::new),
        ContentType::None => rmp_serde::from_slice(&[NIL]).map_err(PayloadError::new),
        ContentType::Binary => T::deserialize(crate::binary::Raw(payload.bytes)),
    }
}
