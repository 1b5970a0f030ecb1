//! The East Asian character sets.
//!
//! `encoding_rs` decodes what browsers mean by these names; where the server means another
//! character, a run of [`DEVIATIONS`](Deviation) says so. The runs are the difference between the
//! two over every one-, two- and three-byte code (and the four-byte codes of gb18030), taken from
//! MySQL 9.7; an integration test compares them with the server again.

use bytes::BufMut;
use encoding_rs::{BIG5, DecoderResult, EUC_JP, EUC_KR, Encoding, GB18030, GBK, SHIFT_JIS};

use super::{InvalidText, put_char};

/// Codes in a row whose characters are in a row: first code, first character, how many.
type Deviation = (u32, u32, u32);

/// How codes are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    /// A byte from 0x81 up begins a code of two bytes.
    Double,
    /// As `Double`, but four bytes when the second is a digit.
    Gb18030,
    /// As `Double`, but 0xA1 to 0xDF stand alone.
    ShiftJis,
    /// As `Double`, but 0x8F begins a code of three bytes.
    Euc,
}

/// A multi-byte character set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MultiByte {
    encoding: &'static Encoding,
    family: Family,
    deviations: &'static [Deviation],
}

impl MultiByte {
    /// Finds a character set by the server's name.
    pub(crate) fn find(charset: &str) -> Option<Self> {
        let (encoding, family, deviations) = match charset {
            "big5" => (BIG5, Family::Double, BIG5_DEVIATIONS),
            "cp932" => (SHIFT_JIS, Family::ShiftJis, &[][..]),
            "sjis" => (SHIFT_JIS, Family::ShiftJis, SJIS_DEVIATIONS),
            "eucjpms" => (EUC_JP, Family::Euc, EUCJPMS_DEVIATIONS),
            "ujis" => (EUC_JP, Family::Euc, UJIS_DEVIATIONS),
            "euckr" => (EUC_KR, Family::Double, &[][..]),
            "gbk" => (GBK, Family::Double, &[][..]),
            "gb2312" => (GBK, Family::Double, GB2312_DEVIATIONS),
            "gb18030" => (GB18030, Family::Gb18030, GB18030_DEVIATIONS),
            _ => return None,
        };
        Some(Self {
            encoding,
            family,
            deviations,
        })
    }

    /// Converts text to UTF-8 at the end of `out`.
    pub(crate) fn convert(self, bytes: &[u8], out: &mut impl BufMut) -> Result<(), InvalidText> {
        if self.deviations.is_empty() {
            return self.transcode(bytes, out);
        }
        let (mut start, mut at) = (0, 0);
        while at < bytes.len() {
            let length = self.code_bytes(&bytes[at..]).min(bytes.len() - at);
            let code = &bytes[at..at + length];
            if length > 1
                && let Some(char) = self.deviation(code)
            {
                self.transcode(&bytes[start..at], out)?;
                put_char(char, out);
                start = at + length;
            }
            at += length;
        }
        self.transcode(&bytes[start..], out)
    }

    fn code_bytes(self, bytes: &[u8]) -> usize {
        let (first, second) = (bytes[0], bytes.get(1));
        match self.family {
            _ if first < 0x81 => 1,
            Family::ShiftJis if (0xa1..=0xdf).contains(&first) => 1,
            Family::Gb18030 if second.is_some_and(u8::is_ascii_digit) => 4,
            Family::Euc if first == 0x8f => 3,
            _ => 2,
        }
    }

    fn deviation(self, code: &[u8]) -> Option<char> {
        let code = code
            .iter()
            .fold(0, |code, &byte| code << 8 | u32::from(byte));
        let after = self
            .deviations
            .partition_point(|&(first, _, _)| first <= code);
        let (first, char, count) = self.deviations[after.checked_sub(1)?];
        let offset = code - first;
        (offset < count).then(|| char::from_u32(char + offset))?
    }

    fn transcode(self, mut bytes: &[u8], out: &mut impl BufMut) -> Result<(), InvalidText> {
        let mut decoder = self.encoding.new_decoder_without_bom_handling();
        let mut piece = [0; 2048];
        loop {
            let (result, read, written) =
                decoder.decode_to_utf8_without_replacement(bytes, &mut piece, true);
            out.put_slice(&piece[..written]);
            bytes = &bytes[read..];
            match result {
                DecoderResult::InputEmpty => return Ok(()),
                DecoderResult::OutputFull => {}
                DecoderResult::Malformed(..) => return Err(InvalidText),
            }
        }
    }
}

/// big5 without the Hong Kong supplement, with ETEN symbols.
#[rustfmt::skip]
const BIG5_DEVIATIONS: &[Deviation] = &[
    (0xa145, 0x2022, 1), (0xa14e, 0xff64, 1), (0xa15a, 0xfffd, 1), (0xa1c2, 0x203e, 1),
    (0xa1c3, 0xfffd, 1), (0xa1c5, 0xfffd, 1), (0xa1e3, 0x223c, 1), (0xa1f2, 0x2641, 1),
    (0xa1f3, 0x2609, 1), (0xa1fe, 0xfffd, 1), (0xa240, 0xfffd, 1), (0xa241, 0xff0f, 1),
    (0xa242, 0xff3c, 1), (0xa244, 0xa5, 1), (0xa246, 0xa2, 2), (0xa2cc, 0xfffd, 1),
    (0xa2ce, 0xfffd, 1), (0xc6a1, 0x30fe, 1), (0xc6a2, 0x309d, 2), (0xc6a4, 0x3005, 1),
    (0xc6a5, 0x3041, 83), (0xc6f8, 0x30a1, 7), (0xc740, 0x30a8, 63), (0xc7a1, 0x30e7, 16),
    (0xc7b1, 0x414, 2), (0xc7b3, 0x401, 1), (0xc7b4, 0x416, 7), (0xc7bb, 0x423, 19),
    (0xc7ce, 0x451, 1), (0xc7cf, 0x436, 26), (0xc7e9, 0x2460, 10), (0xc7f3, 0x2474, 10),
];

/// sjis is JIS X 0208, not Microsoft's variant of it.
#[rustfmt::skip]
const SJIS_DEVIATIONS: &[Deviation] = &[
    (0x815f, 0x5c, 1), (0x8160, 0x301c, 1), (0x8161, 0x2016, 1), (0x817c, 0x2212, 1),
    (0x8191, 0xa2, 2), (0x81ca, 0xac, 1),
];

/// eucjpms: user-defined rows, and IBM extensions in three bytes.
#[rustfmt::skip]
const EUCJPMS_DEVIATIONS: &[Deviation] = &[
    (0xf5a1, 0xe000, 94), (0xf6a1, 0xe05e, 94), (0xf7a1, 0xe0bc, 94), (0xf8a1, 0xe11a, 94),
    (0xf9a1, 0xe178, 94), (0xfaa1, 0xe1d6, 94), (0xfba1, 0xe234, 94), (0xfca1, 0xe292, 94),
    (0xfda1, 0xe2f0, 94), (0xfea1, 0xe34e, 94), (0x8fa2c3, 0xffe4, 1), (0x8ff3f3, 0x2170, 10),
    (0x8ff3fd, 0x2160, 2), (0x8ff4a1, 0x2162, 8), (0x8ff4a9, 0xff07, 1), (0x8ff4aa, 0xff02, 1),
    (0x8ff4ab, 0x3231, 1), (0x8ff4ac, 0x2116, 1), (0x8ff4ad, 0x2121, 1), (0x8ff4ae, 0x70bb, 1),
    (0x8ff4af, 0x4efc, 1), (0x8ff4b0, 0x50f4, 1), (0x8ff4b1, 0x51ec, 1), (0x8ff4b2, 0x5307, 1),
    (0x8ff4b3, 0x5324, 1), (0x8ff4b4, 0xfa0e, 1), (0x8ff4b5, 0x548a, 1), (0x8ff4b6, 0x5759, 1),
    (0x8ff4b7, 0xfa0f, 2), (0x8ff4b9, 0x589e, 1), (0x8ff4ba, 0x5bec, 1), (0x8ff4bb, 0x5cf5, 1),
    (0x8ff4bc, 0x5d53, 1), (0x8ff4bd, 0xfa11, 1), (0x8ff4be, 0x5fb7, 1), (0x8ff4bf, 0x6085, 1),
    (0x8ff4c0, 0x6120, 1), (0x8ff4c1, 0x654e, 1), (0x8ff4c2, 0x663b, 1), (0x8ff4c3, 0x6665, 1),
    (0x8ff4c4, 0xfa12, 1), (0x8ff4c5, 0xf929, 1), (0x8ff4c6, 0x6801, 1), (0x8ff4c7, 0xfa13, 2),
    (0x8ff4c9, 0x6a6b, 1), (0x8ff4ca, 0x6ae2, 1), (0x8ff4cb, 0x6df8, 1), (0x8ff4cc, 0x6df2, 1),
    (0x8ff4cd, 0x7028, 1), (0x8ff4ce, 0xfa15, 2), (0x8ff4d0, 0x7501, 1), (0x8ff4d1, 0x7682, 1),
    (0x8ff4d2, 0x769e, 1), (0x8ff4d3, 0xfa17, 1), (0x8ff4d4, 0x7930, 1), (0x8ff4d5, 0xfa18, 4),
    (0x8ff4d9, 0x7ae7, 1), (0x8ff4da, 0xfa1c, 2), (0x8ff4dc, 0x7da0, 1), (0x8ff4dd, 0x7dd6, 1),
    (0x8ff4de, 0xfa1e, 1), (0x8ff4df, 0x8362, 1), (0x8ff4e0, 0xfa1f, 1), (0x8ff4e1, 0x85b0, 1),
    (0x8ff4e2, 0xfa20, 2), (0x8ff4e4, 0x8807, 1), (0x8ff4e5, 0xfa22, 1), (0x8ff4e6, 0x8b7f, 1),
    (0x8ff4e7, 0x8cf4, 1), (0x8ff4e8, 0x8d76, 1), (0x8ff4e9, 0xfa23, 3), (0x8ff4ec, 0x90de, 1),
    (0x8ff4ed, 0xfa26, 1), (0x8ff4ee, 0x9115, 1), (0x8ff4ef, 0xfa27, 2), (0x8ff4f1, 0x9592, 1),
    (0x8ff4f2, 0xf9dc, 1), (0x8ff4f3, 0xfa29, 1), (0x8ff4f4, 0x973b, 1), (0x8ff4f5, 0x974d, 1),
    (0x8ff4f6, 0x9751, 1), (0x8ff4f7, 0xfa2a, 3), (0x8ff4fa, 0x999e, 1), (0x8ff4fb, 0x9ad9, 1),
    (0x8ff4fc, 0x9b72, 1), (0x8ff4fd, 0xfa2d, 1), (0x8ff4fe, 0x9ed1, 1), (0x8ff5a1, 0xe3ac, 94),
    (0x8ff6a1, 0xe40a, 94), (0x8ff7a1, 0xe468, 94), (0x8ff8a1, 0xe4c6, 94), (0x8ff9a1, 0xe524, 94),
    (0x8ffaa1, 0xe582, 94), (0x8ffba1, 0xe5e0, 94), (0x8ffca1, 0xe63e, 94), (0x8ffda1, 0xe69c, 94),
    (0x8ffea1, 0xe6fa, 94),
];

/// ujis is JIS X 0208, with user-defined rows.
#[rustfmt::skip]
const UJIS_DEVIATIONS: &[Deviation] = &[
    (0xa1c0, 0x5c, 1), (0xa1c1, 0x301c, 1), (0xa1c2, 0x2016, 1), (0xa1dd, 0x2212, 1),
    (0xa1f1, 0xa2, 2), (0xa2cc, 0xac, 1), (0xf5a1, 0xe000, 94), (0xf6a1, 0xe05e, 94),
    (0xf7a1, 0xe0bc, 94), (0xf8a1, 0xe11a, 94), (0xf9a1, 0xe178, 94), (0xfaa1, 0xe1d6, 94),
    (0xfba1, 0xe234, 94), (0xfca1, 0xe292, 94), (0xfda1, 0xe2f0, 94), (0xfea1, 0xe34e, 94),
    (0x8fa2b7, 0x7e, 1), (0x8ff5a1, 0xe3ac, 94), (0x8ff6a1, 0xe40a, 94), (0x8ff7a1, 0xe468, 94),
    (0x8ff8a1, 0xe4c6, 94), (0x8ff9a1, 0xe524, 94), (0x8ffaa1, 0xe582, 94), (0x8ffba1, 0xe5e0, 94),
    (0x8ffca1, 0xe63e, 94), (0x8ffda1, 0xe69c, 94), (0x8ffea1, 0xe6fa, 94),
];

/// gb2312: two symbols.
#[rustfmt::skip]
const GB2312_DEVIATIONS: &[Deviation] = &[
    (0xa1a4, 0x30fb, 1), (0xa1aa, 0x2015, 1),
];

/// gb18030 as of 2005: private-use characters.
#[rustfmt::skip]
const GB18030_DEVIATIONS: &[Deviation] = &[
    (0xa3a0, 0xe5e5, 1), (0xa6d9, 0xe78d, 7), (0xa6ec, 0xe794, 2), (0xa6f3, 0xe796, 1),
    (0xfe59, 0xe81e, 1), (0xfe61, 0xe826, 1), (0xfe66, 0xe82b, 2), (0xfe6d, 0xe832, 1),
    (0xfe7e, 0xe843, 1), (0xfe90, 0xe854, 1), (0xfea0, 0xe864, 1),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn text(charset: &str, bytes: &[u8]) -> Result<String, InvalidText> {
        let mut out = Vec::new();
        MultiByte::find(charset).unwrap().convert(bytes, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn common_text_is_decoded() {
        assert_eq!(text("gbk", b"\xc4\xe3a").unwrap(), "你a");
        assert_eq!(text("big5", b"\xa7\x41a").unwrap(), "你a");
        assert_eq!(text("euckr", b"\xb0\xa1").unwrap(), "가");
        assert_eq!(text("cp932", b"\x81\x60\xb1").unwrap(), "\u{ff5e}ｱ");
        assert_eq!(text("gb18030", b"\x95\x32\x82\x36").unwrap(), "\u{20000}");
    }

    #[test]
    fn the_server_s_own_characters_win() {
        assert_eq!(text("sjis", b"a\x81\x60\xb1").unwrap(), "a\u{301c}ｱ");
        assert_eq!(
            text("ujis", b"\xa4\xa2\xf5\xa2\xa4\xa2").unwrap(),
            "あ\u{e001}あ"
        );
        assert_eq!(text("eucjpms", b"\x8f\xf3\xf3").unwrap(), "\u{2170}");
        assert_eq!(text("big5", b"\xc6\xe7").unwrap(), "ゃ");
        assert_eq!(text("gb2312", b"\xa1\xa4").unwrap(), "\u{30fb}");
    }

    #[test]
    fn codes_that_end_early_are_refused() {
        for charset in ["gbk", "big5", "sjis", "ujis", "euckr", "gb18030"] {
            assert_eq!(text(charset, b"a\x8f"), Err(InvalidText), "{charset}");
        }
    }

    #[test]
    fn long_text_passes_in_pieces() {
        let bytes = b"\xc4\xe3".repeat(5_000);
        assert_eq!(text("gb18030", &bytes).unwrap(), "你".repeat(5_000));
    }
}
