//! Cuts a statement into words, names, strings and signs, as far as a classifier needs.

/// `sql_mode`: double quotes enclose names.
pub(crate) const ANSI_QUOTES: u64 = 1 << 2;
/// `sql_mode`: a backslash in a string is a backslash.
pub(crate) const NO_BACKSLASH_ESCAPES: u64 = 1 << 20;

/// A piece of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    /// A bare word or number: a keyword or a name.
    Word(String),
    /// A quoted name, without its quotes.
    Name(String),
    /// A string, of which only its being there matters.
    Text,
    /// Any other sign.
    Sign(char),
}

impl Token {
    /// Whether this is the keyword.
    pub(crate) fn is(&self, keyword: &str) -> bool {
        matches!(self, Self::Word(word) if word.eq_ignore_ascii_case(keyword))
    }
}

/// Cuts a statement. What it does not understand becomes signs; it never fails.
pub(crate) fn tokens(text: &str, sql_mode: u64) -> Vec<Token> {
    let mut lexer = Lexer {
        rest: text,
        sql_mode,
        is_in_versioned_comment: false,
    };
    std::iter::from_fn(|| lexer.next()).collect()
}

struct Lexer<'a> {
    rest: &'a str,
    sql_mode: u64,
    /// Inside `/*! … */`, whose content counts.
    is_in_versioned_comment: bool,
}

impl Lexer<'_> {
    fn next(&mut self) -> Option<Token> {
        loop {
            self.rest = self
                .rest
                .trim_start_matches(|sign: char| sign.is_whitespace() || sign == '\0');
            if !self.skip_comment() {
                break;
            }
        }
        let first = self.rest.chars().next()?;
        Some(match first {
            '`' => Token::Name(self.quoted('`', false)),
            '"' if self.sql_mode & ANSI_QUOTES != 0 => Token::Name(self.quoted('"', false)),
            '"' | '\'' => {
                self.quoted(first, self.sql_mode & NO_BACKSLASH_ESCAPES == 0);
                Token::Text
            }
            _ if is_word(first) => {
                let end = self
                    .rest
                    .find(|sign| !is_word(sign))
                    .unwrap_or(self.rest.len());
                let (word, rest) = self.rest.split_at(end);
                self.rest = rest;
                Token::Word(word.to_owned())
            }
            _ => {
                self.rest = &self.rest[first.len_utf8()..];
                Token::Sign(first)
            }
        })
    }

    fn skip_comment(&mut self) -> bool {
        let rest = self.rest;
        if self.is_in_versioned_comment && rest.starts_with("*/") {
            self.is_in_versioned_comment = false;
            self.rest = &rest[2..];
            return true;
        }
        for start in ["/*!", "/*M!"] {
            if let Some(inside) = rest.strip_prefix(start) {
                self.is_in_versioned_comment = true;
                self.rest = inside.trim_start_matches(|sign: char| sign.is_ascii_digit());
                return true;
            }
        }
        if let Some(inside) = rest.strip_prefix("/*") {
            self.rest = inside.split_once("*/").map_or("", |(_, after)| after);
            return true;
        }
        let dashes = rest.strip_prefix("--").filter(|after| {
            after.is_empty()
                || after.starts_with(|sign: char| sign.is_whitespace() || sign.is_control())
        });
        if let Some(line) = dashes.or_else(|| rest.strip_prefix('#')) {
            self.rest = line.split_once('\n').map_or("", |(_, after)| after);
            return true;
        }
        false
    }

    fn quoted(&mut self, quote: char, has_escapes: bool) -> String {
        let mut content = String::new();
        let mut signs = self.rest.char_indices().skip(1).peekable();
        let mut end = self.rest.len();
        while let Some((at, sign)) = signs.next() {
            if sign == quote {
                if signs.peek().is_some_and(|&(_, next)| next == quote) {
                    signs.next();
                } else {
                    end = at + quote.len_utf8();
                    break;
                }
            } else if sign == '\\' && has_escapes {
                signs.next();
            }
            content.push(sign);
        }
        self.rest = &self.rest[end..];
        content
    }
}

fn is_word(sign: char) -> bool {
    sign.is_alphanumeric() || sign == '_' || sign == '$' || !sign.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_comments_are_seen_through() {
        let word = |text: &str| Token::Word(text.into());
        assert_eq!(
            tokens(
                "/* x */ ALTER /*!80000 TABLE*/ `a``b` -- rest\n# more\n, 'it''s \\' x' \"y\"",
                0
            ),
            [
                word("ALTER"),
                word("TABLE"),
                Token::Name("a`b".into()),
                Token::Sign(','),
                Token::Text,
                Token::Text
            ]
        );
        assert_eq!(
            tokens("\"a\"\"b\"", ANSI_QUOTES),
            [Token::Name("a\"b".into())]
        );
        assert_eq!(
            tokens("'\\' x", NO_BACKSLASH_ESCAPES),
            [Token::Text, word("x")]
        );
        assert_eq!(tokens("'never closed", 0), [Token::Text]);
        assert_eq!(tokens("/* never closed", 0), []);
        assert_eq!(tokens("a--b", 0).len(), 4);
    }
}
