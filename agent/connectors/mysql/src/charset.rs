//! MySQL's character sets: how a column's bytes become UTF-8, exactly as the server converts them.
//!
//! What a collation's number means is asked of the server ([`Charsets::QUERY`]), and so are the
//! tables of the many single-byte sets ([`Charsets::single_byte_table_query`]); Unicode sets are
//! decoded here and the East Asian ones by `encoding_rs` with the server's deviations laid over it
//! (`multibyte`). Bytes that are not valid text are an error, never replaced.

mod deviations;
mod multibyte;

use std::{collections::HashMap, fmt, sync::Arc};

use bytes::BufMut;

use multibyte::MultiByte;

/// The collation of bytes that are not text.
const BINARY_COLLATION: u16 = 63;

/// What the server's collations mean.
#[derive(Debug, Clone)]
pub struct Charsets {
    collations: HashMap<u16, (Arc<str>, u8)>,
    tables: HashMap<Arc<str>, Arc<SingleByteTable>>,
}

/// A collation that the server did not list, or whose character set can't be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownCharset {
    /// The server did not list the collation.
    #[error("collation {0} is not known")]
    Collation(u16),
    /// The set has no decoder and the server's table for it was not loaded.
    #[error("character set {0} is not known")]
    Charset(Arc<str>),
}

/// Bytes that are not valid in their character set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InvalidText;

impl Charsets {
    /// The query whose rows (collation id, character set, longest character in bytes) make
    /// [`new`](Self::new)'s list.
    pub const QUERY: &str = "SELECT l.id, l.character_set_name, c.maxlen \
         FROM information_schema.collations l \
         JOIN information_schema.character_sets c ON c.character_set_name = l.character_set_name";

    /// What a server's collations mean: id, character set, and its longest character in bytes.
    pub fn new(collations: Vec<(u16, String, u8)>) -> Self {
        let mut charsets = Self {
            collations: HashMap::new(),
            tables: HashMap::from([("latin1".into(), Arc::new(SingleByteTable::latin1()))]),
        };
        for (id, charset, char_bytes_max) in collations {
            let entry = (charset.into(), char_bytes_max.max(1));
            charsets.collations.insert(id, entry);
        }
        charsets
    }

    /// The single-byte character sets of the server's list whose table is not set yet.
    pub fn single_byte_charsets_needing_table(&self) -> Vec<&str> {
        let mut names: Vec<_> = self
            .collations
            .values()
            .filter(|(name, char_bytes_max)| {
                *char_bytes_max == 1
                    && !matches!(&**name, "binary" | "ascii")
                    && !self.tables.contains_key(name)
            })
            .map(|(name, _)| &**name)
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The query whose only value is the table of a single-byte character set as a text of 256
    /// characters, for [`parse_single_byte_table`](Self::parse_single_byte_table).
    pub fn single_byte_table_query(charset: &str) -> String {
        debug_assert!(charset.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        // One text of each byte would be shorter than 256 characters if the server refused one, so
        // that a byte without a meaning is seen.
        format!(
            "WITH RECURSIVE bytes (b) AS (SELECT 0 UNION ALL SELECT b + 1 FROM bytes WHERE b < 255) \
             SELECT /*+ SET_VAR(group_concat_max_len = 8192) */ GROUP_CONCAT(CONVERT(CHAR(b USING {charset}) USING utf8mb4) ORDER BY b SEPARATOR '') \
             FROM bytes"
        )
    }

    /// Reads the answer to [`single_byte_table_query`](Self::single_byte_table_query).
    pub fn parse_single_byte_table(text: &str) -> Option<[char; 256]> {
        text.chars().collect::<Vec<_>>().try_into().ok()
    }

    /// Sets what the bytes of a single-byte character set mean. A byte other than `?` that means
    /// `?` has no meaning: the server prints one where it can't convert.
    pub fn set_single_byte_table(&mut self, charset: &str, table: [char; 256]) {
        let table = SingleByteTable::new(&table);
        self.tables.insert(charset.into(), Arc::new(table));
    }

    /// How text of a collation is decoded, and its longest character in bytes.
    pub(crate) fn resolve(&self, collation: u16) -> Result<(TextCodec, u8), UnknownCharset> {
        if collation == BINARY_COLLATION {
            return Ok((TextCodec::Binary, 1));
        }
        let (charset, char_bytes_max) = self
            .collations
            .get(&collation)
            .ok_or(UnknownCharset::Collation(collation))?;
        let codec = match &**charset {
            "utf8mb4" | "utf8mb3" | "utf8" => TextCodec::Utf8,
            "binary" => TextCodec::Binary,
            "ascii" => TextCodec::Ascii,
            "ucs2" => TextCodec::Ucs2,
            "utf16" => TextCodec::Utf16,
            "utf16le" => TextCodec::Utf16Le,
            "utf32" => TextCodec::Utf32,
            name => match (MultiByte::find(name), self.tables.get(name)) {
                (Some(multibyte), _) => TextCodec::MultiByte(multibyte),
                (None, Some(table)) => TextCodec::SingleByte(Arc::clone(table)),
                (None, None) => return Err(UnknownCharset::Charset(Arc::clone(charset))),
            },
        };
        Ok((codec, *char_bytes_max))
    }
}

/// The default collations of utf8mb4, utf8mb3, latin1, ascii and binary, for tests; a server's
/// list is longer.
impl Default for Charsets {
    fn default() -> Self {
        let collations = [
            (255, "utf8mb4", 4),
            (45, "utf8mb4", 4),
            (46, "utf8mb4", 4),
            (33, "utf8mb3", 3),
            (8, "latin1", 1),
            (11, "ascii", 1),
            (BINARY_COLLATION, "binary", 1),
        ];
        let own = |(id, name, max): (u16, &str, u8)| (id, name.to_owned(), max);
        Self::new(collations.into_iter().map(own).collect())
    }
}

/// How the bytes of a column become UTF-8.
#[derive(Debug, Clone)]
pub(crate) enum TextCodec {
    /// Not text.
    Binary,
    Utf8,
    Ascii,
    Ucs2,
    Utf16,
    Utf16Le,
    Utf32,
    SingleByte(Arc<SingleByteTable>),
    MultiByte(MultiByte),
}

impl TextCodec {
    /// The text, when it is the same bytes in UTF-8; `None` when it has to be converted.
    #[inline]
    pub(crate) fn borrow<'a>(&self, bytes: &'a [u8]) -> Result<Option<&'a str>, InvalidText> {
        let same = match self {
            Self::Utf8 => true,
            Self::Ascii => bytes.is_ascii().then_some(true).ok_or(InvalidText)?,
            Self::SingleByte(table) => table.extends_ascii && bytes.is_ascii(),
            Self::MultiByte(_) => bytes.is_ascii(),
            Self::Binary | Self::Ucs2 | Self::Utf16 | Self::Utf16Le | Self::Utf32 => false,
        };
        if same {
            return std::str::from_utf8(bytes).map(Some).or(Err(InvalidText));
        }
        Ok(None)
    }

    /// Converts text to UTF-8 at the end of `out`. What it wrote before an error is to be discarded.
    pub(crate) fn convert(&self, bytes: &[u8], out: &mut impl BufMut) -> Result<(), InvalidText> {
        match self {
            Self::Binary => Err(InvalidText),
            Self::Utf8 | Self::Ascii => {
                let text = self.borrow(bytes)?.ok_or(InvalidText)?;
                out.put_slice(text.as_bytes());
                Ok(())
            }
            Self::SingleByte(table) => table.convert(bytes, out),
            Self::MultiByte(multibyte) => multibyte.convert(bytes, out),
            Self::Ucs2 | Self::Utf16 => convert_utf16(bytes, u16::from_be_bytes, out),
            Self::Utf16Le => convert_utf16(bytes, u16::from_le_bytes, out),
            Self::Utf32 => convert_utf32(bytes, out),
        }
    }

    /// Converts a short text, such as an enum's label.
    pub(crate) fn to_text(&self, bytes: &[u8]) -> Result<String, InvalidText> {
        let mut text = Vec::with_capacity(bytes.len());
        self.convert(bytes, &mut text)?;
        String::from_utf8(text).or(Err(InvalidText))
    }
}

fn convert_utf16(
    bytes: &[u8],
    unit: fn([u8; 2]) -> u16,
    out: &mut impl BufMut,
) -> Result<(), InvalidText> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(InvalidText);
    }
    for char in char::decode_utf16(pairs.iter().map(|&pair| unit(pair))) {
        put_char(char.or(Err(InvalidText))?, out);
    }
    Ok(())
}

fn convert_utf32(bytes: &[u8], out: &mut impl BufMut) -> Result<(), InvalidText> {
    let (groups, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(InvalidText);
    }
    for group in groups {
        put_char(
            char::from_u32(u32::from_be_bytes(*group)).ok_or(InvalidText)?,
            out,
        );
    }
    Ok(())
}

fn put_char(char: char, out: &mut impl BufMut) {
    out.put_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
}

/// What the bytes of a single-byte character set mean.
pub(crate) struct SingleByteTable {
    /// Each byte's UTF-8 and its length; zero for a byte without a meaning.
    chars: [([u8; 4], u8); 256],
    extends_ascii: bool,
}

impl SingleByteTable {
    fn new(table: &[char; 256]) -> Self {
        let mut chars = [([0; 4], 0); 256];
        for (byte, (&char, entry)) in table.iter().zip(&mut chars).enumerate() {
            if char != '?' || byte == usize::from(b'?') {
                entry.1 = char.encode_utf8(&mut entry.0).len() as u8;
            }
        }
        let extends_ascii = (0..128)
            .zip(table)
            .all(|(byte, &char)| char::from(byte) == char);
        Self {
            chars,
            extends_ascii,
        }
    }

    /// The server's latin1: Windows-1252, whose five holes are control characters.
    fn latin1() -> Self {
        let mut table: [char; 256] = std::array::from_fn(|byte| char::from(byte as u8));
        let high = "€\u{81}‚ƒ„…†‡ˆ‰Š‹Œ\u{8d}Ž\u{8f}\u{90}‘’“”•–—˜™š›œ\u{9d}žŸ";
        for (entry, char) in table[0x80..].iter_mut().zip(high.chars()) {
            *entry = char;
        }
        Self::new(&table)
    }

    fn convert(&self, bytes: &[u8], out: &mut impl BufMut) -> Result<(), InvalidText> {
        // In pieces through the stack: growing `out` byte by byte costs several times as much.
        const PIECE: usize = 256;
        let mut piece = [0; PIECE * 4];
        for bytes in bytes.chunks(PIECE) {
            let mut end = 0;
            for &byte in bytes {
                let (utf8, length) = self.chars[usize::from(byte)];
                if length == 0 {
                    return Err(InvalidText);
                }
                piece[end..end + 4].copy_from_slice(&utf8);
                end += usize::from(length);
            }
            out.put_slice(&piece[..end]);
        }
        Ok(())
    }
}

impl fmt::Debug for SingleByteTable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SingleByteTable")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codec(charset: &str, char_bytes_max: u8) -> TextCodec {
        let charsets = Charsets::new(vec![(7, charset.to_owned(), char_bytes_max)]);
        charsets.resolve(7).unwrap().0
    }

    #[test]
    fn latin1_is_windows_1252_with_its_holes_filled() {
        let codec = codec("latin1", 1);
        assert_eq!(codec.to_text(b"\x80\x81\xe9\xff").unwrap(), "€\u{81}éÿ");
        assert_eq!(codec.borrow(b"plain"), Ok(Some("plain")));
        assert_eq!(codec.borrow(b"\xe9"), Ok(None));
    }

    #[test]
    fn wide_unicode_sets_are_decoded() {
        let text = "a\u{e9}\u{1f600}";
        let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(codec("utf16", 4).to_text(&wide).unwrap(), text);
        let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(codec("utf16le", 4).to_text(&little).unwrap(), text);
        let whole: Vec<u8> = text
            .chars()
            .flat_map(|char| (char as u32).to_be_bytes())
            .collect();
        assert_eq!(codec("utf32", 4).to_text(&whole).unwrap(), text);
        assert_eq!(codec("ucs2", 2).to_text(b"\0a").unwrap(), "a");
    }

    #[test]
    fn invalid_text_is_refused() {
        assert_eq!(codec("utf8mb4", 4).borrow(b"\xff"), Err(InvalidText));
        assert_eq!(codec("ascii", 1).borrow(b"\x80"), Err(InvalidText));
        assert!(codec("utf16", 4).to_text(b"\xd8\x00").is_err());
        assert!(codec("utf16", 4).to_text(b"a").is_err());
        assert!(codec("utf32", 4).to_text(b"\0\x11\0\0").is_err());
    }

    #[test]
    fn tables_of_single_byte_sets_come_from_the_server() {
        let mut charsets = Charsets::new(vec![(25, "greek".into(), 1), (28, "gbk".into(), 2)]);
        assert_eq!(charsets.single_byte_charsets_needing_table(), ["greek"]);
        assert!(charsets.resolve(25).is_err());
        let mut table: [char; 256] = std::array::from_fn(|byte| char::from(byte as u8));
        table[0xe1] = 'α';
        table[0xff] = '?';
        charsets.set_single_byte_table("greek", table);
        assert!(charsets.single_byte_charsets_needing_table().is_empty());
        let (codec, _) = charsets.resolve(25).unwrap();
        assert_eq!(codec.to_text(b"\xe1?").unwrap(), "α?");
        assert_eq!(codec.to_text(b"\xff"), Err(InvalidText));
    }
}
