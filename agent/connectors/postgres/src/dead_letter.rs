//! Records that the target refuses for their content, kept in `sluice.dead_letters`.
//!
//! They are written in the transaction that goes on without them, so that a record is either
//! applied or kept, never both and never neither.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json};
use sluice_core::{Row, RowChange, RowOperation, TableSchema};
use tokio_postgres::Client;

use crate::json;

/// Beyond this a value is named by its size only; a dead letter is for reading.
const VALUE_BYTES_MAX: usize = 1 << 20;
/// Letters per statement.
const LETTERS_PER_STATEMENT: usize = 200;

/// A refused record.
#[derive(Debug, Clone)]
pub(crate) struct DeadLetter {
    table: String,
    operation: &'static str,
    position: String,
    reason: String,
    sqlstate: String,
    key: Option<String>,
    before: Option<String>,
    after: Option<String>,
}

/// Why, in words and as SQLSTATE.
#[derive(Debug, Clone)]
pub(crate) struct Cause {
    pub(crate) reason: String,
    pub(crate) sqlstate: String,
}

impl DeadLetter {
    /// A letter about a change.
    pub(crate) fn of_change(event: &RowChange, after: Option<&Row>, cause: Cause) -> Self {
        let schema = &event.table;
        let (operation, before, logged) = match &event.operation {
            RowOperation::Insert { after } => ("insert", None, Some(after)),
            RowOperation::Update { before, after } => ("update", Some(before), Some(after)),
            RowOperation::Delete { before } => ("delete", Some(before), None),
        };
        let after = after.or(logged);
        let position = event.transaction.id.clone();
        Self::new(schema, operation, position, (before, after), cause)
    }

    /// A letter about a row that a snapshot read.
    pub(crate) fn of_row(schema: &TableSchema, row: &Row, cause: Cause) -> Self {
        Self::new(schema, "read", "snapshot".into(), (None, Some(row)), cause)
    }

    fn new(
        schema: &TableSchema,
        operation: &'static str,
        position: String,
        (before, after): (Option<&Row>, Option<&Row>),
        cause: Cause,
    ) -> Self {
        let key = before.or(after).filter(|_| schema.has_key());
        Self {
            table: schema.id.to_string(),
            operation,
            position,
            reason: cause.reason.replace('\0', ""),
            sqlstate: cause.sqlstate,
            key: key.map(|row| object(schema, row, &schema.key)),
            before: before.map(|row| whole(schema, row)),
            after: after.map(|row| whole(schema, row)),
        }
    }
}

fn whole(schema: &TableSchema, row: &Row) -> String {
    let all: Vec<_> = (0..schema.columns.len()).collect();
    object(schema, row, &all)
}

/// Columns by name; those that the source did not log are left out.
fn object(schema: &TableSchema, row: &Row, columns: &[usize]) -> String {
    let mut object = Map::new();
    for &at in columns {
        if let Some(value) = json::value(&row.get(at), VALUE_BYTES_MAX) {
            object.insert(schema.columns[at].name.clone(), value);
        }
    }
    Json::Object(object).to_string()
}

/// Writes letters in the open transaction.
pub(crate) async fn store(
    client: &Client,
    sink: &str,
    letters: &[DeadLetter],
) -> Result<(), tokio_postgres::Error> {
    for piece in letters.chunks(LETTERS_PER_STATEMENT) {
        let mut statement = String::from(
            "INSERT INTO sluice.dead_letters
             (sink, source_table, operation, position, reason, sqlstate, key, before, after) VALUES ",
        );
        for (index, letter) in piece.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            let optional = |json: &Option<String>| match json {
                Some(json) => format!("{}::jsonb", crate::sql::literal(json)),
                None => "NULL".to_owned(),
            };
            let fields = [sink, &letter.table, letter.operation, &letter.position];
            let reasons = [letter.reason.as_str(), &letter.sqlstate];
            let texts = fields.into_iter().chain(reasons).map(crate::sql::literal);
            let images = [&letter.key, &letter.before, &letter.after];
            let all = texts.chain(images.into_iter().map(optional));
            write!(statement, "{comma}({})", crate::sql::list(all))
                .expect("writing to a string cannot fail");
        }
        client.batch_execute(&statement).await?;
    }
    Ok(())
}
