//! Row filters: a SQL condition that decides which rows a sink gets.
//!
//! The text is parsed once per configuration ([`parse()`]), bound once per schema ([`Filter::new`])
//! and evaluated per row without an allocation ([`Filter::decide`]).
//!
//! The language: `=` `<>` `!=` `<` `<=` `>` `>=`, `AND` `OR` `NOT`, `IS [NOT] NULL|TRUE|FALSE`,
//! `[NOT] IN (…)`, `[NOT] BETWEEN … AND …`, `[NOT] LIKE '…' [ESCAPE '…']`, parentheses, and a
//! truth-valued column by itself. Names may be quoted with `"…"` or `` `…` `` and are matched
//! exactly. A row passes when the condition is true, not when it is false or NULL.
//!
//! * Numbers compare exactly; a float column compares with the nearest float of its own width.
//! * Text compares and matches by its bytes, whatever the column's collation: case, accents and
//!   trailing spaces count. A backslash in a string stands for itself; in a LIKE pattern it escapes.
//! * Dates and times are strings; `TIMESTAMP` columns compare in UTC unless the string names an
//!   offset. Impossible dates order by year, month and day: `'0000-00-00'` is before all others.
//! * JSON, geometries, arrays, vectors and intervals know only `IS [NOT] NULL`.
//!
//! Functions and arithmetic are refused, as is anything that would need a guess about types; every
//! error says at which character.

use std::fmt;

use sluice_core::{Row, TableSchema};

mod bind;
mod evaluate;
mod lex;
mod moment;
mod order;
mod parse;
#[cfg(test)]
mod tests;

pub(in crate::route) use parse::{Expression, parse};

use evaluate::{Images, Outcomes, Test};

/// What is wrong with a filter, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::route) struct Fault {
    at: usize,
    message: String,
}

impl Fault {
    fn new(at: usize, message: String) -> Self {
        Self { at, message }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} at character {}", self.message, self.at)
    }
}

/// Whether a row passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::route) enum Decision {
    Pass,
    Skip,
    /// The condition depends on a column that the log left out.
    Unknown,
}

/// A filter for the rows of one schema.
#[derive(Debug, Clone)]
pub(in crate::route) struct Filter {
    test: Test,
    columns: Vec<usize>,
}

impl Filter {
    /// Binds a parsed filter to a table.
    pub(in crate::route) fn new(
        expression: &Expression,
        table: &TableSchema,
    ) -> Result<Self, Fault> {
        let test = bind::bind(expression, table)?;
        let mut columns = Vec::new();
        test.columns(&mut columns);
        Ok(Self { test, columns })
    }

    /// Decides about a row; what it leaves unchanged is taken from `older`.
    pub(in crate::route) fn decide(&self, row: &Row, older: Option<&Row>) -> Decision {
        let outcomes = self.test.evaluate(Images { row, older });
        match outcomes {
            Outcomes::TRUE => Decision::Pass,
            outcomes if outcomes.has(Outcomes::TRUE) => Decision::Unknown,
            _ => Decision::Skip,
        }
    }

    /// The first column of the condition that neither row holds.
    pub(in crate::route) fn missing(&self, row: &Row, older: Option<&Row>) -> Option<usize> {
        let images = Images { row, older };
        let mut columns = self.columns.iter().copied();
        columns.find(|&column| images.get(column).is_unchanged())
    }
}
