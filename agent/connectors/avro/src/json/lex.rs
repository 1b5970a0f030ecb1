//! JSON text, piece by piece, without a tree.

/// How deep a value that is passed over may be nested.
const DEPTH_MAX: usize = 128;

/// A place in a JSON text. `None` means that the text is no JSON there.
#[derive(Debug, Clone)]
pub(crate) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
}

/// A value, or the beginning of one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Piece<'a> {
    Null,
    Bool(bool),
    Number(&'a str),
    Text(Quoted<'a>),
    /// `{` is passed; members follow.
    Object,
    /// `[` is passed; elements follow.
    Array,
}

/// What stands between a string's quotes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Quoted<'a> {
    pub(crate) raw: &'a str,
    pub(crate) escaped: bool,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// Where the next piece begins.
    pub(crate) fn place(&mut self) -> usize {
        self.space();
        self.at
    }

    /// Goes to where a piece begins.
    pub(crate) fn jump(&mut self, place: usize) {
        self.at = place;
    }

    pub(crate) fn slice(&self, from: usize) -> &'a [u8] {
        &self.text[from..self.at]
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.text.get(self.at) {
            self.at += 1;
        }
    }

    /// Whether nothing but the end of what is around follows.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.eat(b'}');
        self.space();
        self.at == self.text.len()
    }

    fn eat(&mut self, byte: u8) -> bool {
        self.space();
        let there = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(there);
        there
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        let end = self.at + word.len();
        (self.text.get(self.at..end)? == word).then(|| self.at = end)
    }

    /// The next value, or the beginning of an object or array.
    pub(crate) fn piece(&mut self) -> Option<Piece<'a>> {
        self.space();
        Some(match self.text.get(self.at)? {
            b'"' => Piece::Text(self.quoted()?),
            b'{' => {
                self.at += 1;
                Piece::Object
            }
            b'[' => {
                self.at += 1;
                Piece::Array
            }
            b'n' => {
                self.word(b"null")?;
                Piece::Null
            }
            b't' => {
                self.word(b"true")?;
                Piece::Bool(true)
            }
            b'f' => {
                self.word(b"false")?;
                Piece::Bool(false)
            }
            b'-' | b'0'..=b'9' => {
                let start = self.at;
                self.at += 1;
                while let Some(b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-') =
                    self.text.get(self.at)
                {
                    self.at += 1;
                }
                Piece::Number(std::str::from_utf8(&self.text[start..self.at]).ok()?)
            }
            _ => return None,
        })
    }

    fn quoted(&mut self) -> Option<Quoted<'a>> {
        let start = self.at + 1;
        let mut at = start;
        let mut escaped = false;
        loop {
            match self.text.get(at)? {
                b'"' => break,
                b'\\' => {
                    escaped = true;
                    at += 2;
                }
                0..0x20 => return None,
                _ => at += 1,
            }
        }
        let raw = std::str::from_utf8(&self.text[start..at]).ok()?;
        self.at = at + 1;
        Some(Quoted { raw, escaped })
    }

    /// The name of the object's next member (its value follows), or `Some(None)` at its end.
    #[expect(
        clippy::option_option,
        reason = "damaged and at its end are two things"
    )]
    pub(crate) fn member(&mut self, first: &mut bool) -> Option<Option<Quoted<'a>>> {
        if self.eat(b'}') {
            return Some(None);
        }
        if !std::mem::take(first) && !self.eat(b',') {
            return None;
        }
        self.space();
        if self.text.get(self.at) != Some(&b'"') {
            return None;
        }
        let name = self.quoted()?;
        self.eat(b':').then_some(Some(name))
    }

    /// Whether another element of the array follows.
    pub(crate) fn element(&mut self, first: &mut bool) -> Option<bool> {
        if self.eat(b']') {
            return Some(false);
        }
        (std::mem::take(first) || self.eat(b',')).then_some(true)
    }

    /// Passes over a value.
    pub(crate) fn skip(&mut self) -> Option<()> {
        let piece = self.piece()?;
        self.skip_rest(piece, 0)
    }

    /// Passes over the rest of a value whose beginning was read.
    pub(crate) fn skip_rest(&mut self, piece: Piece<'a>, depth: usize) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        let mut first = true;
        match piece {
            Piece::Object => {
                while self.member(&mut first)?.is_some() {
                    let piece = self.piece()?;
                    self.skip_rest(piece, depth + 1)?;
                }
            }
            Piece::Array => {
                while self.element(&mut first)? {
                    let piece = self.piece()?;
                    self.skip_rest(piece, depth + 1)?;
                }
            }
            _ => {}
        }
        Some(())
    }
}

impl<'a> Quoted<'a> {
    /// The string itself; unescaped into `room` where it has to be.
    pub(crate) fn text<'b>(self, room: &'b mut String) -> Option<&'b str>
    where
        'a: 'b,
    {
        if !self.escaped {
            return Some(self.raw);
        }
        room.clear();
        let mut rest = self.raw;
        while let Some(at) = rest.find('\\') {
            room.push_str(&rest[..at]);
            let code = *rest.as_bytes().get(at + 1)?;
            rest = rest.get(at + 2..)?;
            room.push(match code {
                b'"' => '"',
                b'\\' => '\\',
                b'/' => '/',
                b'n' => '\n',
                b'r' => '\r',
                b't' => '\t',
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                b'u' => {
                    let high = hex(&mut rest)?;
                    if (0xd800..0xdc00).contains(&high) {
                        rest = rest.strip_prefix("\\u")?;
                        let low = hex(&mut rest)?.checked_sub(0xdc00)?;
                        char::from_u32(0x10000 + ((high - 0xd800) << 10) + low)?
                    } else {
                        char::from_u32(high)?
                    }
                }
                _ => return None,
            });
        }
        room.push_str(rest);
        Some(room)
    }

    /// Whether this is the name, without escapes.
    pub(crate) fn is(self, name: &str) -> bool {
        !self.escaped && self.raw == name
    }
}

fn hex(rest: &mut &str) -> Option<u32> {
    let digits = rest.get(..4)?;
    *rest = &rest[4..];
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn strings_survive(text: String) {
            let mut out = Vec::new();
            crate::json::write::put_text(&text, &mut out);
            let Some(Piece::Text(quoted)) = Lexer::new(&out).piece() else { panic!("no string") };
            let mut room = String::new();
            prop_assert_eq!(quoted.text(&mut room), Some(text.as_str()));
            let other: String = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(other, text);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = Lexer::new(&bytes).skip();
        }
    }

    #[test]
    fn escapes_are_read() {
        let mut room = String::new();
        let Some(Piece::Text(quoted)) = Lexer::new(br#""a\u00e4\ud83d\ude00\/""#).piece() else {
            panic!("no string")
        };
        assert_eq!(quoted.text(&mut room), Some("aä😀/"));
    }
}
