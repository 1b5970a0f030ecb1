//! The East Asian character sets.
//!
//! `encoding_rs` decodes what browsers mean by these names; where the server means another
//! character, a [`Deviation`] says so.

use bytes::BufMut;
use encoding_rs::{BIG5, DecoderResult, EUC_JP, EUC_KR, Encoding, GB18030, GBK, SHIFT_JIS};

use super::{
    InvalidText,
    deviations::{
        BIG5_DEVIATIONS, Deviation, EUCJPMS_DEVIATIONS, GB2312_DEVIATIONS, GB18030_DEVIATIONS,
        SJIS_DEVIATIONS, UJIS_DEVIATIONS,
    },
    put_char,
};

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

#[cfg(test)]
mod tests {
    use super::*;

    fn text(charset: &str, bytes: &[u8]) -> Result<String, InvalidText> {
        let mut out = Vec::new();
        MultiByte::find(charset).unwrap().convert(bytes, &mut out)?;
        String::from_utf8(out).or(Err(InvalidText))
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
