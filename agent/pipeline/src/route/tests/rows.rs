use sluice_core::{
    ChangeEvent, Class, Error, Row, RowOperation, SnapshotChunk, Value, event::ChunkMode,
};

use super::{assert_says, change, filtered, names, order, orders, route, router};
use crate::route::RouteConfig;

fn operation(config: RouteConfig, operation: RowOperation) -> Result<Option<RowOperation>, Error> {
    let routed = router(config).event(change(&orders(), operation))?;
    Ok(routed.map(|event| match event {
        ChangeEvent::Row(change) => change.operation,
        _ => panic!("a row change stays one"),
    }))
}

/// What an update becomes, by a letter, with the row that arrives.
fn update(before: Row, after: Row) -> Result<Option<(char, Row)>, Error> {
    let routed = operation(
        filtered("status <> 'draft'"),
        RowOperation::Update { before, after },
    )?;
    Ok(routed.map(|operation| match operation {
        RowOperation::Insert { after } => ('I', after),
        RowOperation::Update { after, .. } => ('U', after),
        RowOperation::Delete { before } => ('D', before),
    }))
}

fn key_only(id: i64) -> Row {
    Row::pack([
        Value::Int(id),
        Value::Unchanged,
        Value::Unchanged,
        Value::Unchanged,
    ])
}

#[test]
fn an_update_across_the_filters_edge_is_an_arrival_or_a_departure() {
    let (draft, paid, null) = (order(1, "draft"), order(1, "paid"), order(1, None));
    let sent = order(1, "sent");
    let cases = [
        (&paid, &sent, Some(('U', &sent))),
        (&paid, &draft, Some(('D', &paid))),
        (&draft, &paid, Some(('I', &paid))),
        (&null, &paid, Some(('I', &paid))),
        (&paid, &null, Some(('D', &paid))),
        (&draft, &null, None),
        (&draft, &draft, None),
    ];
    for (before, after, expected) in cases {
        let expected = expected.map(|(letter, row)| (letter, row.clone()));
        assert_eq!(update(before.clone(), after.clone()).unwrap(), expected);
    }
    let key = key_only(1);
    assert_eq!(
        update(key.clone(), paid.clone()).unwrap(),
        Some(('U', paid.clone()))
    );
    assert_eq!(update(key.clone(), draft).unwrap(), Some(('D', key)));
}

#[test]
fn what_the_after_image_leaves_out_comes_from_the_before_image() {
    let before = order(1, "draft");
    let after = Row::pack([
        Value::Int(1),
        Value::Text("paid"),
        Value::Unchanged,
        Value::Unchanged,
    ]);
    assert_eq!(
        update(before, after.clone()).unwrap(),
        Some(('I', order(1, "paid")))
    );
    // An update of a row that the sink has stays as small as it was.
    let routed = update(order(1, "sent"), after.clone()).unwrap();
    assert_eq!(routed, Some(('U', after)));
    // The filter's column is only in the before image.
    let after = Row::pack([
        Value::Int(1),
        Value::Unchanged,
        Value::Text("new"),
        Value::Unchanged,
    ]);
    assert_eq!(update(order(1, "draft"), after.clone()).unwrap(), None);
    assert!(matches!(
        update(order(1, "paid"), after),
        Ok(Some(('U', _)))
    ));
}

#[test]
fn a_row_that_the_log_does_not_hold_stops_the_table() {
    let partial = Row::pack([
        Value::Int(1),
        Value::Text("paid"),
        Value::Text("e"),
        Value::Unchanged,
    ]);
    let arrival = update(key_only(1), partial.clone()).unwrap_err();
    assert_says(
        &arrival,
        &["does not hold its column \"note\"", "binlog_row_image=FULL"],
    );
    let unknown = update(key_only(1), key_only(1)).unwrap_err();
    let insert = RowOperation::Insert { after: key_only(1) };
    let inserted = operation(filtered("status <> 'draft'"), insert).unwrap_err();
    for error in [&unknown, &inserted] {
        assert_says(
            error,
            &[
                "row filter needs column \"status\"",
                "binlog_row_image=FULL",
                "shop.orders",
            ],
        );
        assert_eq!(error.class(), Class::StopTable);
    }
    // A column that the sink does not get may be missing.
    let config = RouteConfig {
        exclude_columns: names(&["note"]),
        ..filtered("status <> 'draft'")
    };
    let before = key_only(1);
    let after = partial;
    let routed = operation(config, RowOperation::Update { before, after }).unwrap();
    assert!(matches!(routed, Some(RowOperation::Update { .. })));
}

#[test]
fn inserts_and_deletes_pass_by_their_only_image() {
    let config = || filtered("status <> 'draft'");
    let insert = |row| operation(config(), RowOperation::Insert { after: row }).unwrap();
    let delete = |row| operation(config(), RowOperation::Delete { before: row }).unwrap();
    assert!(insert(order(1, "paid")).is_some());
    assert!(insert(order(1, "draft")).is_none());
    assert!(delete(order(1, "paid")).is_some());
    assert!(delete(order(1, "draft")).is_none());
    assert!(
        delete(key_only(1)).is_some(),
        "deleting what is not there does no harm"
    );
}

#[test]
fn an_update_of_left_out_columns_alone_vanishes() {
    let config = || RouteConfig {
        exclude_columns: names(&["status"]),
        ..route("shop.orders")
    };
    let update = |before, after| {
        operation(config(), RowOperation::Update { before, after })
            .unwrap()
            .is_some()
    };
    assert!(!update(order(1, "a"), order(1, "b")));
    assert!(update(order(1, "a"), order(2, "a")));
}

#[test]
fn chunks_lose_the_rows_that_do_not_pass() {
    let chunk = |mode: &ChunkMode, statuses: &[&str]| {
        let rows = (0..).zip(statuses).map(|(id, &status)| order(id, status));
        let chunk = SnapshotChunk {
            table: orders(),
            rows: rows.collect(),
            origins: Vec::new(),
            mode: mode.clone(),
        };
        let config = RouteConfig {
            include_columns: Some(names(&["status", "id"])),
            ..filtered("status <> 'draft' and note = 'n'")
        };
        match router(config).event(ChangeEvent::Chunk(chunk)).unwrap() {
            Some(ChangeEvent::Chunk(chunk)) => Some(chunk),
            None => None,
            Some(_) => panic!("a chunk stays one"),
        }
    };
    let range = ChunkMode::ReplaceRange {
        after: Some(Row::pack([Value::Int(-1)])),
        until: None,
    };
    let routed = chunk(&range, &["draft", "paid"]).unwrap();
    assert_eq!(routed.table.columns.len(), 2);
    assert_eq!(
        routed.rows,
        [Row::pack([Value::Int(1), Value::Text("paid")])]
    );
    assert_eq!(routed.mode, range);
    // An empty range still says that the range is empty; an empty addition says nothing.
    for mode in [range, ChunkMode::ReplaceAll] {
        assert_eq!(
            chunk(&mode, &["draft"]).map(|chunk| chunk.rows.len()),
            Some(0)
        );
    }
    for mode in [ChunkMode::Append, ChunkMode::Upsert] {
        assert!(chunk(&mode, &["draft"]).is_none());
    }
}
