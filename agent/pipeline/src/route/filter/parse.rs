//! The grammar of row filters: words become an expression that still holds names.
//!
//! ```text
//! or        = and { OR and }
//! and       = not { AND not }
//! not       = { NOT } predicate
//! predicate = "(" or ")" | operand [ comparison operand
//!           | IS [NOT] (NULL | TRUE | FALSE) | [NOT] IN "(" operand { "," operand } ")"
//!           | [NOT] BETWEEN operand AND operand | [NOT] LIKE text [ESCAPE text] ]
//! operand   = column | number | text | TRUE | FALSE | NULL | (DATE | TIMESTAMP | TIME) text
//! ```

use crate::route::filter::{
    Fault,
    lex::{Token, TokenKind, tokens},
    order::Comparison,
};

/// How deep parentheses and NOTs may nest, so that no text exhausts the stack.
const DEPTH_MAX: usize = 64;

const KEYWORDS: [&str; 11] = [
    "AND", "OR", "NOT", "IS", "IN", "BETWEEN", "LIKE", "ESCAPE", "NULL", "TRUE", "FALSE",
];

/// A condition whose columns are names.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::route) enum Expression {
    Or(Vec<Self>),
    And(Vec<Self>),
    Not(Box<Self>),
    /// True where the condition is, else false; never NULL.
    IsTrue(Box<Self>),
    /// A truth value by itself.
    Operand(Operand),
    Compare(Operand, Comparison, Operand),
    IsNull(Operand),
    In(Operand, Vec<Operand>),
    Like {
        operand: Operand,
        pattern: String,
        escape: char,
    },
}

/// A column or a constant, and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::route) struct Operand {
    pub(super) at: usize,
    pub(super) kind: OperandKind,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum OperandKind {
    Column(String),
    Number(String),
    Text(String),
    Bytes(Vec<u8>),
    Bool(bool),
    Null,
}

/// Reads a filter's text.
pub(in crate::route) fn parse(text: &str) -> Result<Expression, Fault> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        next: 0,
        depth: 0,
    };
    let expression = parser.or()?;
    match parser.peek().kind {
        TokenKind::End => Ok(expression),
        _ => Err(parser.unexpected("AND, OR or the end")),
    }
}

impl Expression {
    /// The names of the columns that the condition reads.
    pub(in crate::route) fn column_names<'a>(&'a self, names: &mut Vec<&'a str>) {
        let mut add = |operand: &'a Operand| {
            if let OperandKind::Column(name) = &operand.kind {
                names.push(name);
            }
        };
        match self {
            Self::Or(parts) | Self::And(parts) => {
                for part in parts {
                    part.column_names(names);
                }
            }
            Self::Not(inner) | Self::IsTrue(inner) => inner.column_names(names),
            Self::Operand(operand) | Self::IsNull(operand) | Self::Like { operand, .. } => {
                add(operand);
            }
            Self::Compare(left, _, right) => [left, right].into_iter().for_each(add),
            Self::In(operand, list) => {
                add(operand);
                list.iter().for_each(add);
            }
        }
    }
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
}

impl Parser {
    fn or(&mut self) -> Result<Expression, Fault> {
        let mut parts = vec![self.and()?];
        while self.take_word("OR") {
            parts.push(self.and()?);
        }
        Ok(single_or(parts, Expression::Or))
    }

    fn and(&mut self) -> Result<Expression, Fault> {
        let mut parts = vec![self.not()?];
        while self.take_word("AND") {
            parts.push(self.not()?);
        }
        Ok(single_or(parts, Expression::And))
    }

    fn not(&mut self) -> Result<Expression, Fault> {
        let mut is_negated = false;
        while self.take_word("NOT") {
            is_negated = !is_negated;
        }
        Ok(negated_if(is_negated, self.predicate()?))
    }

    fn predicate(&mut self) -> Result<Expression, Fault> {
        if !self.take_symbol("(") {
            let operand = self.operand()?;
            return self.tail(operand);
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let message = format!("more than {DEPTH_MAX} parentheses inside each other");
            return Err(Fault::new(self.peek().at, message));
        }
        let inner = self.or()?;
        self.expect_symbol(")")?;
        self.depth -= 1;
        match inner {
            // `(status) = 'x'`: the parentheses mean nothing.
            Expression::Operand(operand) => self.tail(operand),
            inner if self.take_word("IS") => {
                let is_negated = self.take_word("NOT");
                self.is_truth(is_negated, inner)
            }
            inner => Ok(inner),
        }
    }

    /// What follows an operand.
    fn tail(&mut self, operand: Operand) -> Result<Expression, Fault> {
        if let Some(comparison) = self.take_comparison() {
            let right = self.operand()?;
            return Ok(Expression::Compare(operand, comparison, right));
        }
        if self.take_word("IS") {
            let is_negated = self.take_word("NOT");
            if self.take_word("NULL") {
                return Ok(negated_if(is_negated, Expression::IsNull(operand)));
            }
            return self.is_truth(is_negated, Expression::Operand(operand));
        }
        let is_negated = self.take_word("NOT");
        let test = if self.take_word("IN") {
            self.list(operand)?
        } else if self.take_word("BETWEEN") {
            let low = self.operand()?;
            if !self.take_word("AND") {
                return Err(self.unexpected("AND"));
            }
            let high = self.operand()?;
            Expression::And(vec![
                Expression::Compare(operand.clone(), Comparison::AtLeast, low),
                Expression::Compare(operand, Comparison::AtMost, high),
            ])
        } else if self.take_word("LIKE") {
            self.like(operand)?
        } else if is_negated {
            return Err(self.unexpected("IN, BETWEEN or LIKE"));
        } else {
            Expression::Operand(operand)
        };
        Ok(negated_if(is_negated, test))
    }

    fn is_truth(&mut self, is_negated: bool, inner: Expression) -> Result<Expression, Fault> {
        let inner = if self.take_word("TRUE") {
            inner
        } else if self.take_word("FALSE") {
            Expression::Not(Box::new(inner))
        } else {
            return Err(self.unexpected("NULL, TRUE or FALSE"));
        };
        Ok(negated_if(is_negated, Expression::IsTrue(Box::new(inner))))
    }

    fn list(&mut self, operand: Operand) -> Result<Expression, Fault> {
        self.expect_symbol("(")?;
        let mut list = vec![self.operand()?];
        while self.take_symbol(",") {
            list.push(self.operand()?);
        }
        self.expect_symbol(")")?;
        Ok(Expression::In(operand, list))
    }

    fn like(&mut self, operand: Operand) -> Result<Expression, Fault> {
        let pattern = self.text("a pattern in single quotes")?;
        let mut escape = '\\';
        if self.take_word("ESCAPE") {
            let at = self.peek().at;
            let text = self.text("one character in single quotes")?;
            let mut characters = text.chars();
            escape = match (characters.next(), characters.next()) {
                (Some(only), None) => only,
                _ => return Err(Fault::new(at, "ESCAPE takes one character".to_owned())),
            };
        }
        Ok(Expression::Like {
            operand,
            pattern,
            escape,
        })
    }

    fn operand(&mut self) -> Result<Operand, Fault> {
        let Token { at, kind } = self.peek().clone();
        let kind = match kind {
            TokenKind::Word(word) => return self.word_operand(at, word),
            TokenKind::Name(name) => OperandKind::Column(name),
            TokenKind::Text(text) => OperandKind::Text(text),
            TokenKind::Bytes(bytes) => OperandKind::Bytes(bytes),
            TokenKind::Number(number) => OperandKind::Number(number),
            TokenKind::Symbol(sign @ ("-" | "+")) => {
                self.next += 1;
                let TokenKind::Number(number) = self.peek().kind.clone() else {
                    return Err(self.unexpected("a number"));
                };
                OperandKind::Number(if sign == "-" {
                    format!("-{number}")
                } else {
                    number
                })
            }
            TokenKind::Symbol(_) | TokenKind::End => {
                return Err(self.unexpected("a column or a constant"));
            }
        };
        self.next += 1;
        Ok(Operand { at, kind })
    }

    fn word_operand(&mut self, at: usize, word: String) -> Result<Operand, Fault> {
        let is = |keyword: &str| word.eq_ignore_ascii_case(keyword);
        let kind = if is("TRUE") || is("FALSE") {
            OperandKind::Bool(is("TRUE"))
        } else if is("NULL") {
            OperandKind::Null
        } else if KEYWORDS.into_iter().any(is) {
            return Err(self.unexpected("a column or a constant"));
        } else {
            match &self.tokens[self.next + 1].kind {
                TokenKind::Symbol("(") => {
                    let message = format!("{word}(…): functions are not supported");
                    return Err(Fault::new(at, message));
                }
                TokenKind::Text(text) if is("DATE") || is("TIMESTAMP") || is("TIME") => {
                    let text = text.clone();
                    self.next += 1;
                    OperandKind::Text(text)
                }
                _ => OperandKind::Column(word),
            }
        };
        self.next += 1;
        Ok(Operand { at, kind })
    }

    fn text(&mut self, expected: &str) -> Result<String, Fault> {
        match self.peek().kind.clone() {
            TokenKind::Text(text) => {
                self.next += 1;
                Ok(text)
            }
            _ => Err(self.unexpected(expected)),
        }
    }

    fn peek(&self) -> &Token {
        &self.tokens[self.next]
    }

    fn take_word(&mut self, keyword: &str) -> bool {
        let found = matches!(&self.peek().kind, TokenKind::Word(word) if word.eq_ignore_ascii_case(keyword));
        self.next += usize::from(found);
        found
    }

    fn take_symbol(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek().kind, TokenKind::Symbol(found) if found == symbol);
        self.next += usize::from(found);
        found
    }

    fn take_comparison(&mut self) -> Option<Comparison> {
        let TokenKind::Symbol(symbol) = self.peek().kind else {
            return None;
        };
        let comparison = Comparison::from_symbol(symbol)?;
        self.next += 1;
        Some(comparison)
    }

    fn expect_symbol(&mut self, symbol: &str) -> Result<(), Fault> {
        if self.take_symbol(symbol) {
            Ok(())
        } else {
            Err(self.unexpected(symbol))
        }
    }

    fn unexpected(&self, expected: &str) -> Fault {
        let Token { at, kind } = self.peek();
        let found = match kind {
            TokenKind::Word(word) => word.clone(),
            TokenKind::Name(name) => format!("{name:?}"),
            TokenKind::Text(text) => format!("'{text}'"),
            TokenKind::Bytes(_) => "X'…'".to_owned(),
            TokenKind::Number(number) => number.clone(),
            TokenKind::Symbol(symbol) => (*symbol).to_owned(),
            TokenKind::End => "the end".to_owned(),
        };
        Fault::new(*at, format!("expected {expected}, found {found}"))
    }
}

fn single_or(
    mut parts: Vec<Expression>,
    join: impl FnOnce(Vec<Expression>) -> Expression,
) -> Expression {
    match parts.len() {
        1 => parts.remove(0),
        _ => join(parts),
    }
}

fn negated_if(is_negated: bool, expression: Expression) -> Expression {
    if is_negated {
        Expression::Not(Box::new(expression))
    } else {
        expression
    }
}
