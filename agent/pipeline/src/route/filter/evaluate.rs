//! Evaluates a bound filter, in SQL's three-valued logic. Columns that the log left out make a
//! result uncertain rather than wrong: a test answers with the set of results that are possible.

use std::{cmp::Ordering, str::Chars};

use sluice_core::{Row, Value};

use crate::route::filter::order::{Comparison, Literal, order_literal, order_values, text, truth};

/// A condition over ordinals.
#[derive(Debug, Clone)]
pub(super) enum Test {
    Constant(Outcomes),
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
    IsTrue(Box<Self>),
    IsNull(usize),
    Truth(usize),
    Compare(usize, Comparison, Literal),
    Columns(usize, Comparison, usize),
    /// The flag says whether the list holds NULL.
    In(usize, Vec<Literal>, bool),
    Like(usize, Pattern),
}

/// Which of true, false and NULL a condition may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcomes(u8);

impl Outcomes {
    pub(super) const FALSE: Self = Self(1);
    pub(super) const NULL: Self = Self(2);
    pub(super) const TRUE: Self = Self(4);
    const ANY: Self = Self(7);

    pub(super) fn has(self, outcome: Self) -> bool {
        self.0 & outcome.0 != 0
    }

    fn not(self) -> Self {
        Self((self.0 & 1) << 2 | self.0 & 2 | self.0 >> 2)
    }

    /// With false < NULL < true, OR is the greater of both, for each pair that is possible.
    fn or(self, other: Self) -> Self {
        let not_above = |set: u8, limit: u8| set & (2 * limit - 1) != 0;
        let bits = [1, 2, 4].into_iter().filter(|&bit| {
            (self.0 & bit != 0 && not_above(other.0, bit))
                || (other.0 & bit != 0 && not_above(self.0, bit))
        });
        Self(bits.sum())
    }

    fn and(self, other: Self) -> Self {
        self.not().or(other.not()).not()
    }

    fn is_true(self) -> Self {
        Self(self.0 & 4 | u8::from(self.0 & 3 != 0))
    }
}

impl From<bool> for Outcomes {
    fn from(value: bool) -> Self {
        if value { Self::TRUE } else { Self::FALSE }
    }
}

/// A row, and an older one that holds what the row leaves unchanged.
#[derive(Clone, Copy)]
pub(super) struct Images<'a> {
    pub(super) row: &'a Row,
    pub(super) older: Option<&'a Row>,
}

impl<'a> Images<'a> {
    pub(super) fn get(self, column: usize) -> Value<'a> {
        match (self.row.get(column), self.older) {
            (Value::Unchanged, Some(older)) => older.get(column),
            (value, _) => value,
        }
    }
}

impl Test {
    /// What the condition is, or may be, for a row.
    pub(super) fn evaluate(&self, images: Images<'_>) -> Outcomes {
        match self {
            Self::Constant(outcomes) => *outcomes,
            Self::And(parts) => all(parts, images),
            Self::Or(parts) => any(parts, images),
            Self::Not(inner) => inner.evaluate(images).not(),
            Self::IsTrue(inner) => inner.evaluate(images).is_true(),
            Self::IsNull(column) => match images.get(*column) {
                Value::Unchanged => Outcomes(Outcomes::TRUE.0 | Outcomes::FALSE.0),
                value => value.is_null().into(),
            },
            Self::Truth(column) => known(images.get(*column), truth),
            Self::Compare(column, comparison, literal) => known(images.get(*column), |value| {
                order_literal(value, literal).map(|order| comparison.holds(order))
            }),
            Self::Columns(left, comparison, right) => {
                compare_columns(images.get(*left), *comparison, images.get(*right))
            }
            Self::In(column, list, has_null) => known(images.get(*column), |value| {
                let order = |literal| order_literal(value, literal);
                let is_in = list
                    .iter()
                    .any(|item| order(item).is_some_and(Ordering::is_eq));
                (is_in || !has_null).then_some(is_in)
            }),
            Self::Like(column, pattern) => known(images.get(*column), |value| {
                text(value).map(|text| pattern.matches(text))
            }),
        }
    }

    /// The ordinals of the columns that the condition reads.
    pub(super) fn columns(&self, columns: &mut Vec<usize>) {
        match self {
            Self::Constant(_) => {}
            Self::And(parts) | Self::Or(parts) => {
                for part in parts {
                    part.columns(columns);
                }
            }
            Self::Not(inner) | Self::IsTrue(inner) => inner.columns(columns),
            Self::Columns(left, _, right) => columns.extend([left, right]),
            Self::IsNull(column)
            | Self::Truth(column)
            | Self::Compare(column, ..)
            | Self::In(column, ..)
            | Self::Like(column, _) => columns.push(*column),
        }
    }
}

fn all(parts: &[Test], images: Images<'_>) -> Outcomes {
    let mut outcomes = Outcomes::TRUE;
    for part in parts {
        outcomes = outcomes.and(part.evaluate(images));
        if outcomes == Outcomes::FALSE {
            break;
        }
    }
    outcomes
}

fn any(parts: &[Test], images: Images<'_>) -> Outcomes {
    let mut outcomes = Outcomes::FALSE;
    for part in parts {
        outcomes = outcomes.or(part.evaluate(images));
        if outcomes == Outcomes::TRUE {
            break;
        }
    }
    outcomes
}

fn compare_columns(left: Value<'_>, comparison: Comparison, right: Value<'_>) -> Outcomes {
    if left.is_null() || right.is_null() {
        return Outcomes::NULL;
    }
    if left.is_unchanged() || right.is_unchanged() {
        return Outcomes::ANY;
    }
    match order_values(left, right) {
        Some(order) => comparison.holds(order).into(),
        None => Outcomes::NULL,
    }
}

/// Answers for NULL and for what the log left out, and asks `test` about anything else.
fn known<'a>(value: Value<'a>, test: impl FnOnce(Value<'a>) -> Option<bool>) -> Outcomes {
    match value {
        Value::Null => Outcomes::NULL,
        Value::Unchanged => Outcomes::ANY,
        value => test(value).map_or(Outcomes::NULL, Outcomes::from),
    }
}

/// A LIKE pattern.
#[derive(Debug, Clone)]
pub(super) struct Pattern(Vec<Piece>);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Piece {
    /// `%`
    Run,
    /// `_`
    One,
    Just(char),
}

impl Pattern {
    pub(super) fn new(text: &str, escape: char) -> Self {
        let mut characters = text.chars();
        let mut pieces = Vec::new();
        while let Some(character) = characters.next() {
            pieces.push(match character {
                // An escape at the very end stands for itself.
                _ if character == escape => Piece::Just(characters.next().unwrap_or(character)),
                '%' => Piece::Run,
                '_' => Piece::One,
                _ => Piece::Just(character),
            });
        }
        Self(pieces)
    }

    /// Whether the whole text matches. On a mismatch the last `%` takes one character more.
    fn matches(&self, text: &str) -> bool {
        let (mut rest, mut piece) = (text.chars(), 0);
        let mut retry: Option<(Chars<'_>, usize)> = None;
        loop {
            if self.0.get(piece) == Some(&Piece::Run) {
                piece += 1;
                retry = Some((rest.clone(), piece));
                continue;
            }
            let mut after = rest.clone();
            let fits = match (self.0.get(piece), after.next()) {
                (None, None) => return true,
                (Some(Piece::One), Some(_)) => true,
                (Some(Piece::Just(wanted)), Some(found)) => *wanted == found,
                _ => false,
            };
            if fits {
                (rest, piece) = (after, piece + 1);
                continue;
            }
            let Some((start, after_run)) = &mut retry else {
                return false;
            };
            if start.next().is_none() {
                return false;
            }
            (rest, piece) = (start.clone(), *after_run);
        }
    }
}
