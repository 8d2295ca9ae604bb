//! Walks the sections of a component, nested ones left closed.

use std::ops::Range;

use wasmparser::{BinaryReaderError, Chunk, Parser, Payload};

/// A section at the top of a component.
pub(crate) struct Piece<'a> {
    /// What it is.
    pub(crate) payload: Payload<'a>,
    /// Its id and its bytes, header excluded; `None` for the component's own header and end.
    pub(crate) raw: Option<(u8, &'a [u8])>,
}

/// The sections of the component or module `bytes`, in order.
pub(crate) fn pieces(bytes: &[u8]) -> Result<Vec<Piece<'_>>, BinaryReaderError> {
    let mut parser = Parser::new(0);
    let mut rest = bytes;
    let mut pieces = Vec::new();
    loop {
        let (consumed, payload) = match parser.parse(rest, true)? {
            Chunk::Parsed { consumed, payload } => (consumed, payload),
            Chunk::NeedMoreData(_) => return Ok(pieces),
        };
        rest = rest.get(consumed..).unwrap_or_default();
        let raw = payload
            .as_section()
            .map(|(id, range)| (id, slice(bytes, range)));
        let end = matches!(payload, Payload::End(_));
        if let Payload::ModuleSection {
            unchecked_range, ..
        }
        | Payload::ComponentSection {
            unchecked_range, ..
        } = &payload
        {
            let length = unchecked_range.end.saturating_sub(unchecked_range.start);
            // The parser counts the nested bytes as read; they are still ours to step over.
            rest = rest
                .get(usize::try_from(length).unwrap_or(usize::MAX)..)
                .unwrap_or_default();
        }
        pieces.push(Piece { payload, raw });
        if end {
            return Ok(pieces);
        }
    }
}

/// The bytes of `range`, empty if the range is not there.
pub(crate) fn slice(bytes: &[u8], range: Range<u64>) -> &[u8] {
    let start = usize::try_from(range.start).unwrap_or(usize::MAX);
    let end = usize::try_from(range.end).unwrap_or(usize::MAX);
    bytes.get(start..end).unwrap_or_default()
}
