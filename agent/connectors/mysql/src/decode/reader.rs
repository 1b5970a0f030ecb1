//! A cursor over an event's bytes that checks every length.
//!
//! It answers with a [`Fault`] instead of panicking; whoever knows the table and the column turns
//! the fault into an error that names them.

/// What is wrong with an event's bytes. Never holds any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The bytes end too early.
    Truncated,
    /// The bytes can't mean what they should.
    Malformed(&'static str),
    /// Text that its character set does not allow.
    InvalidText,
    /// A JSON difference whose base the before image does not hold.
    DifferenceWithoutBase,
}

impl Fault {
    /// The end of the sentence "the value of column x …".
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Truncated => "is cut off",
            Self::Malformed(what) => what,
            Self::InvalidText => "is not valid text in the column's character set",
            Self::DifferenceWithoutBase => {
                "is only the difference to a JSON document that the event does not hold"
            }
        }
    }
}

/// A result of reading an event's bytes.
pub(crate) type Checked<T> = Result<T, Fault>;

/// The bytes not read yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

macro_rules! little_endian {
    ($($name:ident: $type:ty),*) => {$(
        #[doc = concat!("Reads a little-endian `", stringify!($type), "`.")]
        #[inline]
        pub(crate) fn $name(&mut self) -> Checked<$type> {
            Ok(<$type>::from_le_bytes(self.array()?))
        }
    )*};
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The bytes not read yet.
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything is read.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Reads `count` bytes.
    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Checked<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Fault::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Reads `N` bytes.
    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Checked<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Fault::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Reads one byte.
    #[inline]
    pub(crate) fn u8(&mut self) -> Checked<u8> {
        let (&taken, rest) = self.rest.split_first().ok_or(Fault::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    little_endian!(u16: u16, u32: u32, u64: u64, i16: i16, i32: i32, i64: i64);

    /// Reads a little-endian number of `width` bytes, at most eight.
    #[inline]
    pub(crate) fn uint(&mut self, width: usize) -> Checked<u64> {
        let mut bytes = [0; 8];
        bytes[..width].copy_from_slice(self.take(width)?);
        Ok(u64::from_le_bytes(bytes))
    }

    /// Reads a big-endian number of `width` bytes, at most eight.
    #[inline]
    pub(crate) fn uint_big_endian(&mut self, width: usize) -> Checked<u64> {
        let mut bytes = [0; 8];
        bytes[8 - width..].copy_from_slice(self.take(width)?);
        Ok(u64::from_be_bytes(bytes))
    }

    /// Reads a length of `width` bytes and as many bytes as it says.
    #[inline]
    pub(crate) fn prefixed(&mut self, width: u8) -> Checked<&'a [u8]> {
        let length = match width {
            1 => usize::from(self.u8()?),
            2 => usize::from(self.u16()?),
            _ => self.uint(usize::from(width))? as usize,
        };
        self.take(length)
    }

    /// Reads a length-encoded integer of the client protocol.
    pub(crate) fn length_encoded(&mut self) -> Checked<u64> {
        match self.u8()? {
            small @ 0..=250 => Ok(u64::from(small)),
            252 => self.uint(2),
            253 => self.uint(3),
            254 => self.uint(8),
            _ => Err(Fault::Malformed("has an invalid length")),
        }
    }

    /// Reads a length-encoded integer that counts bytes or things in memory.
    pub(crate) fn length(&mut self) -> Checked<usize> {
        usize::try_from(self.length_encoded()?).map_err(|_| Fault::Truncated)
    }

    /// Reads bytes after their length-encoded length.
    pub(crate) fn length_encoded_bytes(&mut self) -> Checked<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_both_byte_orders() {
        let mut reader = Reader::new(&[1, 2, 3, 1, 2, 3, 252, 1, 1, 250]);
        assert_eq!(reader.uint(3), Ok(0x0003_0201));
        assert_eq!(reader.uint_big_endian(3), Ok(0x0001_0203));
        assert_eq!(reader.length_encoded(), Ok(257));
        assert_eq!(reader.length_encoded(), Ok(250));
        assert_eq!(reader.u8(), Err(Fault::Truncated));
    }

    #[test]
    fn a_length_beyond_the_end_is_a_fault() {
        assert_eq!(Reader::new(&[5, 1]).prefixed(1), Err(Fault::Truncated));
        assert_eq!(
            Reader::new(&[254, 255, 255, 255, 255, 255, 255, 255, 255]).length_encoded_bytes(),
            Err(Fault::Truncated)
        );
        assert!(Reader::new(&[255]).length_encoded().is_err());
    }
}
