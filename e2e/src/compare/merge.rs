//! Streams both sides and finds what differs.

use std::{cmp::Ordering, collections::HashMap, pin::Pin};

use anyhow::{Context, Result};
use futures_util::StreamExt;
use mysql_async::{Conn, QueryResult, Row, TextProtocol, Value, prelude::Queryable};
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow, SimpleQueryStream};

use crate::compare::{Comparison, canonical::Canonical, columns::TablePlan};

/// Reads both sides to their ends.
pub(super) async fn run(conn: &mut Conn, client: &Client, plan: &TablePlan) -> Result<Comparison> {
    let left = Left {
        result: conn.query_iter(&plan.mysql_query).await.context("MySQL")?,
    };
    let stream = client
        .simple_query_raw(&plan.postgres_query)
        .await
        .context("PostgreSQL")?;
    let right = Right {
        stream: Box::pin(stream),
    };
    if plan.key.is_empty() {
        as_multisets(left, right, plan).await
    } else {
        in_key_order(left, right, plan).await
    }
}

struct Left<'a> {
    result: QueryResult<'a, 'static, TextProtocol>,
}

impl Left<'_> {
    async fn next(&mut self) -> Result<Option<LeftRow>> {
        let row: Option<Row> = self.result.next().await?;
        Ok(row.map(|row| LeftRow(row.unwrap_raw())))
    }
}

struct LeftRow(Vec<Option<Value>>);

impl LeftRow {
    /// MySQL's answer is UTF-8 by the connection's character set.
    fn get(&self, index: usize) -> Option<&str> {
        match &self.0[index] {
            Some(Value::Bytes(bytes)) => Some(std::str::from_utf8(bytes).unwrap_or("not UTF-8")),
            _ => None,
        }
    }
}

struct Right {
    stream: Pin<Box<SimpleQueryStream>>,
}

impl Right {
    async fn next(&mut self) -> Result<Option<SimpleQueryRow>> {
        while let Some(message) = self.stream.next().await {
            if let SimpleQueryMessage::Row(row) = message.context("PostgreSQL")? {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }
}

async fn in_key_order(
    mut left: Left<'_>,
    mut right: Right,
    plan: &TablePlan,
) -> Result<Comparison> {
    let mut found = Comparison::default();
    let (mut here, mut there) = (left.next().await?, right.next().await?);
    loop {
        let order = match (&here, &there) {
            (None, None) => return Ok(found),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(here), Some(there)) => compare_keys(here, there, plan),
        };
        match (order, &here, &there) {
            (Ordering::Less, Some(row), _) => {
                found.differ(|| {
                    format!(
                        "{} is missing in PostgreSQL",
                        key_of(plan, |at| row.get(at))
                    )
                });
            }
            (Ordering::Greater, _, Some(row)) => {
                found
                    .differ(|| format!("{} is only in PostgreSQL", key_of(plan, |at| row.get(at))));
            }
            (_, Some(here), Some(there)) => {
                let columns = different_columns(here, there, plan);
                if !columns.is_empty() {
                    found.differ(|| {
                        format!(
                            "{} differs in {}",
                            key_of(plan, |at| here.get(at)),
                            columns.join(", ")
                        )
                    });
                }
            }
            _ => {}
        }
        if order != Ordering::Greater {
            found.mysql_rows += 1;
            here = left.next().await?;
        }
        if order != Ordering::Less {
            found.postgres_rows += 1;
            there = right.next().await?;
        }
    }
}

fn compare_keys(here: &LeftRow, there: &SimpleQueryRow, plan: &TablePlan) -> Ordering {
    for &index in &plan.key {
        let kind = plan.columns[index].kind;
        let (left, right) = (here.get(index), there.get(index));
        if left != right {
            let (left, right) = (Canonical::read(kind, left), Canonical::read(kind, right));
            match left.partial_cmp(&right) {
                Some(Ordering::Equal) | None => {}
                Some(order) => return order,
            }
        }
    }
    Ordering::Equal
}

fn different_columns<'a>(
    here: &LeftRow,
    there: &SimpleQueryRow,
    plan: &'a TablePlan,
) -> Vec<&'a str> {
    let columns = plan.columns.iter().enumerate().filter(|(index, column)| {
        let (left, right) = (here.get(*index), there.get(*index));
        left != right && Canonical::read(column.kind, left) != Canonical::read(column.kind, right)
    });
    columns.map(|(_, column)| column.name.as_str()).collect()
}

fn key_of<'a>(plan: &TablePlan, cell: impl Fn(usize) -> Option<&'a str>) -> String {
    let pieces = plan.key.iter().map(|&index| {
        format!(
            "{}={}",
            plan.columns[index].name,
            cell(index).unwrap_or("NULL")
        )
    });
    pieces.collect::<Vec<_>>().join(" ")
}

async fn as_multisets(
    mut left: Left<'_>,
    mut right: Right,
    plan: &TablePlan,
) -> Result<Comparison> {
    let mut found = Comparison::default();
    let mut counts: HashMap<String, i64> = HashMap::new();
    while let Some(row) = left.next().await? {
        found.mysql_rows += 1;
        *counts
            .entry(whole_row(plan, |index| row.get(index)))
            .or_default() += 1;
    }
    while let Some(row) = right.next().await? {
        found.postgres_rows += 1;
        *counts
            .entry(whole_row(plan, |index| row.get(index)))
            .or_default() -= 1;
    }
    for count in counts.into_values().filter(|count| *count != 0) {
        let side = if count > 0 { "MySQL" } else { "PostgreSQL" };
        found.differ(|| format!("a row without key is {} times more in {side}", count.abs()));
    }
    Ok(found)
}

fn whole_row<'a>(plan: &TablePlan, cell: impl Fn(usize) -> Option<&'a str>) -> String {
    let columns = plan.columns.iter().enumerate();
    let cells = columns.map(|(index, column)| {
        let value = Canonical::read(column.kind, cell(index));
        let mark = if value == Canonical::Null { "" } else { "=" };
        format!("{mark}{value}")
    });
    cells.collect::<Vec<_>>().join("\u{1f}")
}
