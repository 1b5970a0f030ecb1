//! Routing as a sink sees it.

mod definition;
mod rows;
mod shape;
mod stream;

use std::sync::Arc;

use sluice_core::{
    ChangeEvent, Column, ColumnType, Error, Row, RowChange, RowOperation, TableId, TableSchema,
    Transaction, Value,
};

use crate::route::{RouteConfig, Router};

/// `shop.orders(id, status, email, note)`, key `id`.
fn orders() -> Arc<TableSchema> {
    let column = |name: &str, ty, nullable| Column {
        name: name.to_owned(),
        ty,
        nullable,
        generated: false,
        boolean: false,
        default: None,
    };
    let int = ColumnType::Int {
        bits: 64,
        unsigned: false,
    };
    Arc::new(TableSchema {
        id: table("shop.orders"),
        columns: vec![
            column("id", int, false),
            column("status", ColumnType::Varchar { length: 20 }, true),
            column("email", ColumnType::Varchar { length: 200 }, false),
            column("note", ColumnType::Text, true),
        ],
        key: vec![0],
    })
}

fn named(schema: &TableSchema, name: &str) -> Arc<TableSchema> {
    Arc::new(TableSchema {
        id: table(name),
        ..schema.clone()
    })
}

fn table(name: &str) -> TableId {
    name.parse().unwrap()
}

fn order<'a>(id: i64, status: impl Into<Option<&'a str>>) -> Row {
    let status = status.into().map_or(Value::Null, Value::Text);
    Row::pack([
        Value::Int(id),
        status,
        Value::Text("a@b.c"),
        Value::Text("n"),
    ])
}

fn change(schema: &Arc<TableSchema>, operation: RowOperation) -> ChangeEvent {
    ChangeEvent::Row(RowChange {
        table: Arc::clone(schema),
        operation,
        transaction: Arc::new(Transaction {
            id: "t".to_owned(),
            commit_time_micros: 1,
            start_offset: 0,
        }),
        ordinal: 3,
        origin: None,
    })
}

fn route(source: &str) -> RouteConfig {
    RouteConfig {
        source: source.to_owned(),
        ..RouteConfig::default()
    }
}

fn filtered(filter: &str) -> RouteConfig {
    RouteConfig {
        row_filter: Some(filter.to_owned()),
        ..route("shop.orders")
    }
}

fn router(config: RouteConfig) -> Router {
    Router::new(vec![config]).unwrap()
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|&name| name.to_owned()).collect()
}

/// Asserts that the error names each piece in its message or hint.
fn assert_says(error: &Error, pieces: &[&str]) {
    let text = format!("{error} {}", error.hint().unwrap_or_default());
    for piece in pieces {
        assert!(text.contains(piece), "{text:?} lacks {piece:?}");
    }
}
