//! The primitives of the store's own formats: integers of as many bytes as they
//! need, and texts with their length before them.

/// Why bytes could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadBytes {
    #[error("it ends within {0}")]
    Short(&'static str),
    #[error("{0} is out of range")]
    Range(&'static str),
    #[error("{0} is not what it should be")]
    Value(&'static str),
    #[error("{0} bytes are left at the end")]
    Trailing(usize),
}

/// Appends an integer, seven bits a byte, low ones first.
pub(crate) fn put_number(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Appends bytes with their length before them.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A cursor over bytes that may say anything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], BadBytes> {
        let (head, tail) = self
            .0
            .split_at_checked(count)
            .ok_or(BadBytes::Short(what))?;
        self.0 = tail;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], BadBytes> {
        let (head, tail) = self.0.split_first_chunk().ok_or(BadBytes::Short(what))?;
        self.0 = tail;
        Ok(*head)
    }

    pub(crate) fn byte(&mut self, what: &'static str) -> Result<u8, BadBytes> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    pub(crate) fn number(&mut self, what: &'static str) -> Result<u64, BadBytes> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(what)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(BadBytes::Range(what));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                // One number has one form only.
                let padded = shift > 0 && byte == 0;
                return if padded {
                    Err(BadBytes::Range(what))
                } else {
                    Ok(value)
                };
            }
        }
        Err(BadBytes::Range(what))
    }

    pub(crate) fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], BadBytes> {
        let length = self.number(what)?;
        let length = usize::try_from(length).map_err(|_| BadBytes::Short(what))?;
        self.take(length, what)
    }

    pub(crate) fn end(self) -> Result<(), BadBytes> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(BadBytes::Trailing(self.0.len()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_have_one_form() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            put_number(&mut out, value);
            let mut reader = Reader::new(&out);
            assert_eq!(reader.number("n"), Ok(value));
            reader.end().unwrap();
        }
        for bad in [&[0x80, 0x00][..], &[0xff; 10], &[0x80]] {
            Reader::new(bad).number("n").unwrap_err();
        }
    }
}
