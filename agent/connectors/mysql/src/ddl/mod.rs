//! What a statement in the log does to tables.
//!
//! This is a classifier, not a parser: it finds out which tables a statement names and whether
//! columns or tables get new names, and never what a table looks like; that the log says itself.
//! A statement that it does not understand is [`Statement::Other`], which stops nothing.

pub(crate) mod alter;
pub(crate) mod token;

use sluice_core::TableId;

use crate::ddl::{
    alter::read_alter,
    token::{Token, tokens},
};

/// What a statement does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Statement {
    /// Begins a transaction.
    Begin,
    /// Ends a transaction.
    Commit,
    /// Undoes a transaction, or a part of it.
    Rollback,
    /// Has to do with a transaction in two phases.
    Xa(Xa),
    /// Changes tables' definitions, in this order.
    Tables(Vec<TableStatement>),
    /// Changes rows, and the log holds the statement instead of the rows.
    Rows {
        /// The statement's first word.
        verb: &'static str,
        /// The tables that it changes; empty when it does not say.
        targets: Vec<TableId>,
    },
    /// Anything else.
    Other,
}

/// A step of a transaction in two phases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Xa {
    /// `XA START`.
    Start,
    /// `XA END`.
    End,
    /// `XA COMMIT` or `XA ROLLBACK`: a transaction of its own in the log.
    Finish,
}

/// What a statement does to one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TableStatement {
    /// The table is made.
    Create {
        /// The table.
        table: TableId,
        /// Whether its rows follow in the same transaction (`CREATE TABLE … SELECT`).
        has_rows: bool,
    },
    /// The table is dropped.
    Drop(TableId),
    /// Every table of the database is dropped.
    DropDatabase(String),
    /// The table is emptied.
    Truncate(TableId),
    /// The table has a new name.
    Rename {
        /// The old name.
        from: TableId,
        /// The new name.
        to: TableId,
    },
    /// The table's definition changes.
    Alter {
        /// The table.
        table: TableId,
        /// Columns' old and new names.
        columns: Vec<(String, String)>,
        /// Whether rows come or go that the log does not show (partitions).
        moves_rows: bool,
    },
}

/// Classifies a statement; `database` is the session's default.
pub(crate) fn classify(text: &str, database: &str, sql_mode: u64) -> Statement {
    let tokens = tokens(text, sql_mode);
    Reader {
        tokens: &tokens,
        database,
    }
    .statement()
}

/// A place among the tokens.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    tokens: &'a [Token],
    database: &'a str,
}

impl<'a> Reader<'a> {
    fn statement(mut self) -> Statement {
        let Some(Token::Word(first)) = self.next() else {
            return Statement::Other;
        };
        match first.to_ascii_uppercase().as_str() {
            "BEGIN" => Statement::Begin,
            "START" if self.take("TRANSACTION") => Statement::Begin,
            "COMMIT" => Statement::Commit,
            "ROLLBACK" => Statement::Rollback,
            "XA" => self.xa(),
            "CREATE" => self.create(),
            "DROP" => self.drop_tables(),
            "TRUNCATE" => {
                self.take("TABLE");
                self.table().map_or(Statement::Other, |table| {
                    one(TableStatement::Truncate(table))
                })
            }
            "RENAME" => self.rename(),
            "ALTER" => read_alter(self),
            "INSERT" => self.insert("INSERT"),
            "REPLACE" => self.insert("REPLACE"),
            "UPDATE" => self.update(),
            "DELETE" => self.delete(),
            "LOAD" => self.load(),
            "CALL" => rows("CALL", vec![]),
            "SELECT" => rows("SELECT", vec![]),
            "DO" => rows("DO", vec![]),
            "WITH" => rows("WITH", vec![]),
            _ => Statement::Other,
        }
    }

    /// Whether nothing is left.
    pub(crate) fn is_at_end(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The next token, left where it is.
    pub(crate) fn peek(&self) -> Option<&'a Token> {
        self.tokens.first()
    }

    /// The next token.
    pub(crate) fn next(&mut self) -> Option<&'a Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    /// Skips the keyword if it is next.
    pub(crate) fn take(&mut self, keyword: &str) -> bool {
        self.take_if(|token| token.is(keyword))
    }

    /// Skips the sign if it is next.
    pub(crate) fn take_sign(&mut self, sign: char) -> bool {
        self.take_if(|token| *token == Token::Sign(sign))
    }

    fn take_if(&mut self, test: impl Fn(&Token) -> bool) -> bool {
        let found = self.peek().is_some_and(test);
        if found {
            self.next();
        }
        found
    }

    /// Skips any of the keywords, in whatever order.
    pub(crate) fn take_all(&mut self, keywords: &[&str]) {
        while keywords.iter().any(|keyword| self.take(keyword)) {}
    }

    /// A name.
    pub(crate) fn name(&mut self) -> Option<&'a str> {
        match self.next()? {
            Token::Word(name) | Token::Name(name) => Some(name),
            Token::Text | Token::Sign(_) => None,
        }
    }

    /// A table's name, with its database before it or without.
    pub(crate) fn table(&mut self) -> Option<TableId> {
        if self.take_sign('.') {
            return Some(TableId::new(self.database, self.name()?));
        }
        let first = self.name()?;
        if self.take_sign('.') {
            Some(TableId::new(first, self.name()?))
        } else {
            Some(TableId::new(self.database, first))
        }
    }

    fn tables(&mut self) -> Vec<TableId> {
        let mut tables = Vec::new();
        while let Some(table) = self.table() {
            tables.push(table);
            if !self.take_sign(',') {
                break;
            }
        }
        tables
    }

    fn xa(mut self) -> Statement {
        let word = match self.next() {
            Some(Token::Word(word)) => word.to_ascii_uppercase(),
            _ => return Statement::Other,
        };
        match word.as_str() {
            "START" | "BEGIN" => Statement::Xa(Xa::Start),
            "END" => Statement::Xa(Xa::End),
            "COMMIT" | "ROLLBACK" => Statement::Xa(Xa::Finish),
            _ => Statement::Other,
        }
    }

    fn create(mut self) -> Statement {
        if self.take("OR") {
            self.take("REPLACE");
        }
        self.take_all(&["UNIQUE", "FULLTEXT", "SPATIAL", "ONLINE", "OFFLINE"]);
        if self.take("INDEX") {
            return self.index();
        }
        // A temporary table is never in the log with its rows.
        if !self.take("TABLE") {
            return Statement::Other;
        }
        self.take_all(&["IF", "NOT", "EXISTS"]);
        let Some(table) = self.table() else {
            return Statement::Other;
        };
        let has_rows = matches!(self.tokens, [.., start, transaction]
            if start.is("START") && transaction.is("TRANSACTION"));
        one(TableStatement::Create { table, has_rows })
    }

    /// `… ON table`: an index may be the key of a table that has no better one.
    fn index(mut self) -> Statement {
        while let Some(token) = self.next() {
            if token.is("ON") {
                return self.table().map_or(Statement::Other, |table| {
                    one(TableStatement::Alter {
                        table,
                        columns: vec![],
                        moves_rows: false,
                    })
                });
            }
        }
        Statement::Other
    }

    fn drop_tables(mut self) -> Statement {
        if self.take("INDEX") {
            return self.index();
        }
        if self.take("DATABASE") || self.take("SCHEMA") {
            self.take_all(&["IF", "EXISTS"]);
            return self.name().map_or(Statement::Other, |name| {
                one(TableStatement::DropDatabase(name.to_owned()))
            });
        }
        if !self.take("TABLE") && !self.take("TABLES") {
            return Statement::Other;
        }
        self.take_all(&["IF", "EXISTS"]);
        Statement::Tables(
            self.tables()
                .into_iter()
                .map(TableStatement::Drop)
                .collect(),
        )
    }

    fn rename(mut self) -> Statement {
        if !self.take("TABLE") && !self.take("TABLES") {
            return Statement::Other;
        }
        self.take_all(&["IF", "EXISTS"]);
        let mut renames = Vec::new();
        while let Some(from) = self.table() {
            let (true, Some(to)) = (self.take("TO"), self.table()) else {
                break;
            };
            renames.push(TableStatement::Rename { from, to });
            if !self.take_sign(',') {
                break;
            }
        }
        Statement::Tables(renames)
    }

    fn insert(mut self, verb: &'static str) -> Statement {
        self.take_all(&["LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "IGNORE", "INTO"]);
        rows(verb, self.table().into_iter().collect())
    }

    fn update(mut self) -> Statement {
        self.take_all(&["LOW_PRIORITY", "IGNORE"]);
        let mut targets: Vec<_> = self.table().into_iter().collect();
        while let Some(token) = self.next() {
            match token {
                token if token.is("SET") => break,
                token if token.is("JOIN") || *token == Token::Sign(',') => {
                    targets.extend(self.table());
                }
                // A derived table: whoever is behind it, the statement does not say plainly.
                Token::Sign('(') => return rows("UPDATE", vec![]),
                _ => {}
            }
        }
        rows("UPDATE", targets)
    }

    fn delete(mut self) -> Statement {
        self.take_all(&["LOW_PRIORITY", "QUICK", "IGNORE"]);
        if !self.take("FROM") {
            return rows("DELETE", vec![]); // Several tables, by alias.
        }
        let target = self.table();
        if self.take_sign(',') || self.take("USING") || self.take_sign('.') {
            return rows("DELETE", vec![]);
        }
        rows("DELETE", target.into_iter().collect())
    }

    fn load(mut self) -> Statement {
        while let Some(token) = self.next() {
            if token.is("INTO") && self.take("TABLE") {
                return rows("LOAD DATA", self.table().into_iter().collect());
            }
        }
        Statement::Other
    }
}

fn one(statement: TableStatement) -> Statement {
    Statement::Tables(vec![statement])
}

fn rows(verb: &'static str, targets: Vec<TableId>) -> Statement {
    Statement::Rows { verb, targets }
}

#[cfg(test)]
mod tests;
