//! Reading little-endian fields from a slice, with an end that is checked.

/// A slice and the place in it. Every method answers `None` past the end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// An integer of `width` bytes.
    pub(crate) fn uint(&mut self, width: usize) -> Option<u64> {
        let mut wide = [0; 8];
        wide.get_mut(..width)?.copy_from_slice(self.bytes(width)?);
        Some(u64::from_le_bytes(wide))
    }

    /// A length-encoded integer.
    pub(crate) fn packed(&mut self) -> Option<u64> {
        match self.u8()? {
            small @ 0..=250 => Some(u64::from(small)),
            252 => self.uint(2),
            253 => self.uint(3),
            254 => self.u64(),
            _ => None,
        }
    }

    /// A string behind its length-encoded length.
    pub(crate) fn packed_bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.packed()?).ok()?;
        self.bytes(length)
    }

    /// A string up to a zero byte, which is skipped.
    pub(crate) fn until_zero(&mut self) -> Option<&'a [u8]> {
        let length = self.0.iter().position(|&byte| byte == 0)?;
        let text = self.bytes(length)?;
        self.bytes(1)?;
        Some(text)
    }
}

/// Appends a length-encoded integer.
pub(crate) fn put_packed(out: &mut Vec<u8>, number: u64) {
    match number {
        0..=250 => out.push(number as u8),
        251..=0xffff => {
            out.push(252);
            out.extend_from_slice(&(number as u16).to_le_bytes());
        }
        0x1_0000..=0xff_ffff => {
            out.push(253);
            out.extend_from_slice(&number.to_le_bytes()[..3]);
        }
        _ => {
            out.push(254);
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
}

/// Appends a string behind its length-encoded length.
pub(crate) fn put_packed_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_packed(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_integers_survive_the_round_trip() {
        for number in [
            0,
            250,
            251,
            0xffff,
            0x1_0000,
            0xff_ffff,
            0x100_0000,
            u64::MAX,
        ] {
            let mut bytes = Vec::new();
            put_packed(&mut bytes, number);
            assert_eq!(Fields(&bytes).packed(), Some(number));
            assert_eq!(Fields(&bytes[..bytes.len() - 1]).packed(), None);
        }
    }
}
