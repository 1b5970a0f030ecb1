//! `ALTER TABLE`: which columns and tables get new names, and which statements move rows that the
//! log does not show.

use sluice_core::TableId;

use crate::ddl::{Reader, Statement, TableStatement, token::Token};

/// Reads what follows `ALTER`.
pub(crate) fn read_alter(mut reader: Reader<'_>) -> Statement {
    reader.take_all(&["ONLINE", "OFFLINE", "IGNORE"]);
    if !reader.take("TABLE") {
        return Statement::Other;
    }
    reader.take_all(&["IF", "EXISTS"]);
    let Some(table) = reader.table() else {
        return Statement::Other;
    };
    let mut found = Found::default();
    while !reader.is_at_end() {
        found.read_part(&mut reader);
        skip_part(&mut reader);
    }
    let Found {
        columns,
        new_name,
        moves_rows,
        other_table,
    } = found;
    let mut statements = vec![TableStatement::Alter {
        table: table.clone(),
        columns,
        moves_rows,
    }];
    if let Some(other) = other_table {
        statements.push(TableStatement::Alter {
            table: other,
            columns: vec![],
            moves_rows: true,
        });
    }
    if let Some(to) = new_name {
        statements.push(TableStatement::Rename { from: table, to });
    }
    Statement::Tables(statements)
}

#[derive(Default)]
struct Found {
    columns: Vec<(String, String)>,
    new_name: Option<TableId>,
    moves_rows: bool,
    /// The table that a partition is exchanged with.
    other_table: Option<TableId>,
}

impl Found {
    /// Reads the head of one of the statement's parts; what it does not know it leaves.
    fn read_part(&mut self, reader: &mut Reader<'_>) {
        if reader.take("RENAME") {
            self.read_rename(reader);
        } else if reader.take("CHANGE") {
            reader.take("COLUMN");
            reader.take_all(&["IF", "EXISTS"]);
            if let (Some(from), Some(to)) = (reader.name(), reader.name())
                && from != to
            {
                self.columns.push((from.to_owned(), to.to_owned()));
            }
        } else if reader.take("EXCHANGE") {
            self.moves_rows = true;
            while let Some(token) = reader.next() {
                if token.is("TABLE") {
                    self.other_table = reader.table();
                    break;
                }
            }
        } else if ["TRUNCATE", "DROP", "DISCARD", "IMPORT"]
            .iter()
            .any(|verb| reader.take(verb))
        {
            self.moves_rows |= reader.take("PARTITION") || reader.take("TABLESPACE");
        }
    }

    fn read_rename(&mut self, reader: &mut Reader<'_>) {
        if reader.take("COLUMN") {
            reader.take_all(&["IF", "EXISTS"]);
            if let (Some(from), true, Some(to)) = (reader.name(), reader.take("TO"), reader.name())
            {
                self.columns.push((from.to_owned(), to.to_owned()));
            }
        } else if !reader.take("INDEX") && !reader.take("KEY") {
            if !reader.take("TO") && !reader.take("AS") {
                reader.take_sign('=');
            }
            self.new_name = reader.table();
        }
    }
}

/// Skips to behind the next comma that separates parts.
fn skip_part(reader: &mut Reader<'_>) {
    let mut depth = 0_u32;
    while let Some(token) = reader.next() {
        match token {
            Token::Sign('(') => depth += 1,
            Token::Sign(')') => depth = depth.saturating_sub(1),
            Token::Sign(',') if depth == 0 => return,
            _ => {}
        }
    }
}
