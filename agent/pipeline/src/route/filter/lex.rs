//! Cuts the text of a row filter into words. Positions count characters from one.

use crate::route::filter::Fault;

/// One word of the text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    /// Where it begins.
    pub(super) at: usize,
    pub(super) kind: TokenKind,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenKind {
    /// A keyword or an unquoted name.
    Word(String),
    /// A name in double quotes or backticks.
    Name(String),
    /// A string in single quotes.
    Text(String),
    /// `X'…'`.
    Bytes(Vec<u8>),
    /// Digits, perhaps with a point and an exponent; never signed.
    Number(String),
    Symbol(&'static str),
    End,
}

/// Longer ones first, so that `<=` is not read as `<` and `=`.
const SYMBOLS: [&str; 12] = [
    "<>", "!=", "<=", ">=", "=", "<", ">", "(", ")", ",", "-", "+",
];

/// Cuts the whole text; the last token is [`TokenKind::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Fault> {
    let mut lexer = Lexer {
        characters: text.chars().collect(),
        next: 0,
    };
    let mut tokens = Vec::new();
    loop {
        let token = lexer.token()?;
        let is_end = token.kind == TokenKind::End;
        tokens.push(token);
        if is_end {
            return Ok(tokens);
        }
    }
}

struct Lexer {
    characters: Vec<char>,
    next: usize,
}

impl Lexer {
    fn token(&mut self) -> Result<Token, Fault> {
        self.take_while(char::is_whitespace);
        let at = self.next + 1;
        let kind = match self.peek(0) {
            None => TokenKind::End,
            Some('\'') => TokenKind::Text(self.quoted('\'')?),
            Some(quote @ ('"' | '`')) => TokenKind::Name(self.quoted(quote)?),
            Some('x' | 'X') if self.peek(1) == Some('\'') => {
                self.next += 1;
                TokenKind::Bytes(bytes(&self.quoted('\'')?).ok_or_else(|| {
                    Fault::new(at, "X'…' takes pairs of hexadecimal digits".to_owned())
                })?)
            }
            Some(first) if is_word_start(first) => {
                TokenKind::Word(self.take_while(|next| is_word_start(next) || next.is_numeric()))
            }
            Some('.' | '0'..='9') => TokenKind::Number(self.number(at)?),
            Some(other) => TokenKind::Symbol(self.symbol().ok_or_else(|| {
                Fault::new(at, format!("unexpected {other:?} (a filter compares columns with constants; it does not compute)"))
            })?),
        };
        Ok(Token { at, kind })
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.characters.get(self.next + ahead).copied()
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> String {
        let start = self.next;
        while self.peek(0).is_some_and(&accept) {
            self.next += 1;
        }
        self.characters[start..self.next].iter().collect()
    }

    /// Reads up to the closing quote; the quote twice stands for itself.
    fn quoted(&mut self, quote: char) -> Result<String, Fault> {
        let at = self.next + 1;
        let mut content = String::new();
        loop {
            self.next += 1;
            match self.peek(0) {
                None => return Err(Fault::new(at, format!("no closing {quote}"))),
                Some(found) if found != quote => content.push(found),
                Some(_) if self.peek(1) == Some(quote) => {
                    content.push(quote);
                    self.next += 1;
                }
                Some(_) => {
                    self.next += 1;
                    return Ok(content);
                }
            }
        }
    }

    fn number(&mut self, at: usize) -> Result<String, Fault> {
        let mut text = self.take_while(|next| next.is_ascii_digit() || next == '.');
        if matches!(self.peek(0), Some('e' | 'E')) {
            self.next += 1;
            text.push('e');
            if let Some(sign @ ('-' | '+')) = self.peek(0) {
                self.next += 1;
                text.push(sign);
            }
            text.push_str(&self.take_while(|next| next.is_ascii_digit()));
        }
        // `12abc` is a slip of the keyboard, not a number and a name.
        let well_formed = text.parse::<f64>().is_ok() && !self.peek(0).is_some_and(is_word_start);
        if well_formed {
            Ok(text)
        } else {
            Err(Fault::new(at, format!("{text:?} begins no number")))
        }
    }

    fn symbol(&mut self) -> Option<&'static str> {
        let symbol = SYMBOLS.into_iter().find(|symbol| {
            let mut wanted = symbol.chars().enumerate();
            wanted.all(|(ahead, character)| self.peek(ahead) == Some(character))
        })?;
        self.next += symbol.len();
        Some(symbol)
    }
}

fn is_word_start(character: char) -> bool {
    character.is_alphabetic() || character == '_' || character == '$'
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    if !digits.is_ascii() || !digits.len().is_multiple_of(2) {
        return None;
    }
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok())
        .collect()
}
