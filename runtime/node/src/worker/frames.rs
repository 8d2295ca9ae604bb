//! Committed frames, kept to be run again after a trap.

/// Bytes up to which a frame is put together with others.
const SMALL: usize = 1_024;
/// Bytes such frames share, at least and at most.
const PIECES: std::ops::RangeInclusive<usize> = 256..=16_384;

/// Frames in order. Small ones share an allocation: most turns have one of some
/// dozen bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frames {
    /// Whole frames, one after the other.
    pieces: Vec<Vec<u8>>,
    lengths: Vec<u32>,
    bytes: usize,
}

impl Frames {
    /// Keeps one. Gives the room of `frame` back if that is not kept.
    pub(crate) fn push(&mut self, frame: Vec<u8>) -> Vec<u8> {
        let length = frame.len();
        self.lengths.push(u32::try_from(length).unwrap_or(u32::MAX));
        if length > SMALL && frame.capacity() <= 2 * length {
            // What is in front of a frame by itself takes no more in.
            if let Some(last) = self.pieces.last_mut() {
                let before = last.capacity();
                last.shrink_to_fit();
                self.bytes -= before - last.capacity();
            }
            self.bytes += frame.capacity();
            self.pieces.push(frame);
            return Vec::new();
        }
        match self.pieces.last_mut() {
            Some(last) if last.capacity() - last.len() >= length => last.extend_from_slice(&frame),
            _ => {
                let room = self.bytes.clamp(*PIECES.start(), *PIECES.end());
                let mut piece = Vec::with_capacity(room.max(length));
                piece.extend_from_slice(&frame);
                self.bytes += piece.capacity();
                self.pieces.push(piece);
            }
        }
        frame
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// What they take, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.lengths.len() * size_of::<u32>()
    }

    /// Each of them, the earliest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut pieces = self.pieces.iter();
        let mut rest: &[u8] = &[];
        self.lengths.iter().map_while(move |length| {
            while rest.is_empty() && *length > 0 {
                rest = pieces.next()?;
            }
            let (frame, after) = rest.split_at_checked(*length as usize)?;
            rest = after;
            Some(frame)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_all_sizes_come_back_in_order() {
        let mut frames = Frames::default();
        let mut pushed = Vec::new();
        let mut room = Vec::new();
        for n in 0..500_usize {
            let length = match n % 50 {
                0 => 0,
                1 => SMALL * 20,
                2 => SMALL,
                3 => SMALL + 1,
                _ => n % 97 + 1,
            };
            room.clear();
            room.resize(length, u8::try_from(n % 251).unwrap());
            pushed.push(room.clone());
            room = frames.push(room);
        }
        let kept: Vec<&[u8]> = frames.iter().collect();
        assert_eq!(kept, pushed);
        let bytes: usize = pushed.iter().map(Vec::len).sum();
        assert!(frames.bytes() >= bytes);
        assert!(frames.bytes() < 2 * bytes, "{} for {bytes}", frames.bytes());
    }

    #[test]
    fn small_frames_share_their_room_and_give_it_back() {
        let mut frames = Frames::default();
        let mut room = Vec::with_capacity(64);
        for _ in 0..100 {
            room.clear();
            room.extend_from_slice(&[1; 60]);
            room = frames.push(room);
            assert_eq!(room.capacity(), 64);
        }
        assert!(frames.pieces.len() < 10, "{}", frames.pieces.len());
    }
}
