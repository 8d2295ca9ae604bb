//! Short runs of bytes, copied and compared in place.
//!
//! Frames are made of texts of a few bytes each. A copy whose length is not
//! known when it is compiled becomes `memory.copy` in a component, which leaves
//! the component and costs more than all of such a text's bytes; comparing has
//! no instruction at all and becomes a loop over single bytes. Here both take
//! words of eight bytes.

/// Longest run that is taken in words, in bytes.
const SHORT: usize = 64;

/// Bytes of a word.
const WORD: usize = 8;

/// Appends `bytes` to `buf`. Room for [`WORD`] bytes more than they are is used
/// for a moment.
#[inline]
pub fn push(buf: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() > SHORT {
        buf.extend_from_slice(bytes);
        return;
    }
    let mut rest = bytes;
    while let Some((word, tail)) = rest.split_first_chunk::<WORD>() {
        buf.extend_from_slice(word);
        rest = tail;
    }
    let end = buf.len() + rest.len();
    buf.extend_from_slice(&part(rest).to_le_bytes());
    buf.truncate(end);
}

/// Whether both are the same.
#[inline]
pub fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    if a.len() > SHORT {
        return a == b;
    }
    let (mut a, mut b) = (a, b);
    while let (Some((x, tail_a)), Some((y, tail_b))) =
        (a.split_first_chunk::<WORD>(), b.split_first_chunk::<WORD>())
    {
        if u64::from_le_bytes(*x) != u64::from_le_bytes(*y) {
            return false;
        }
        (a, b) = (tail_a, tail_b);
    }
    part(a) == part(b)
}

/// The first word of `bytes`, with zeros behind them where they are fewer.
#[inline]
pub fn word(bytes: &[u8]) -> [u8; WORD] {
    match bytes.first_chunk() {
        Some(word) => *word,
        None => part(bytes).to_le_bytes(),
    }
}

/// Less than a word's bytes as the lowest of one. Its two halves overlap where
/// they are not as long as what they are read by.
#[inline]
fn part(bytes: &[u8]) -> u64 {
    let len = bytes.len();
    if let (Some(low), Some(high)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let (low, high) = (u32::from_le_bytes(*low), u32::from_le_bytes(*high));
        u64::from(low) | u64::from(high) << (8 * (len - 4))
    } else if let (Some(low), Some(high)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let (low, high) = (u16::from_le_bytes(*low), u16::from_le_bytes(*high));
        u64::from(low) | u64::from(high) << (8 * (len - 2))
    } else {
        bytes.first().map_or(0, |byte| u64::from(*byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_every_length_are_copied_and_compared() {
        let bytes: Vec<u8> = (0..=255).collect();
        for len in 0..=bytes.len() {
            let run = &bytes[..len];
            let mut buf = vec![7];
            push(&mut buf, run);
            assert_eq!(buf[0], 7);
            assert_eq!(&buf[1..], run, "{len} bytes");
            assert!(same(&buf[1..], run), "{len} bytes");
            let first = word(run);
            let (taken, zeros) = first.split_at(len.min(WORD));
            assert_eq!(taken, &run[..taken.len()], "{len} bytes");
            assert!(zeros.iter().all(|byte| *byte == 0), "{len} bytes");
            for at in 0..len {
                buf[1 + at] ^= 0x80;
                assert!(!same(&buf[1..], run), "{len} bytes, {at} differs");
                buf[1 + at] ^= 0x80;
            }
            assert!(!same(run, &buf), "{len} bytes and one more");
        }
    }
}
