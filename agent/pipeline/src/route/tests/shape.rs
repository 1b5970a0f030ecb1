use std::sync::Arc;

use bytes::BytesMut;
use sha2::{Digest, Sha256};
use sluice_core::{
    ChangeEvent, ColumnType, Reason, Row, RowOperation, TableSchema, Value,
    schema::ColumnDefault,
    value::{Bits, Interval},
};

use super::{assert_says, change, named, names, order, orders, route, router, table};
use crate::route::{Mask, RouteConfig, Router, mask::put_digest};

#[test]
fn without_routes_every_table_passes_untouched() {
    let mut router = Router::new(Vec::new()).unwrap();
    let schema = orders();
    assert!(router.selects(&schema.id));
    assert_eq!(router.target(&schema.id), schema.id);
    assert!(Arc::ptr_eq(
        &router.schema(&schema).unwrap().unwrap(),
        &schema
    ));
}

#[test]
fn an_identity_route_copies_nothing() {
    let mut router = router(route("shop.*"));
    let schema = orders();
    let row = order(1, "paid");
    let event = change(&schema, RowOperation::Insert { after: row.clone() });
    let Some(ChangeEvent::Row(change)) = router.event(event).unwrap() else {
        panic!("the row passes");
    };
    assert!(Arc::ptr_eq(&change.table, &schema));
    let RowOperation::Insert { after } = change.operation else {
        panic!("an insert stays one");
    };
    assert_eq!(after.as_bytes().as_ptr(), row.as_bytes().as_ptr());
    let same = Arc::new(TableSchema::clone(&schema));
    assert!(Arc::ptr_eq(&router.schema(&same).unwrap().unwrap(), &same));
}

#[test]
fn only_matching_tables_pass_each_by_its_first_route() {
    let target = RouteConfig {
        target: Some(table("sales.o")),
        ..route("shop.orders")
    };
    let mut router = Router::new(vec![target, route("shop.o*"), route("crm.cust?mers")]).unwrap();
    assert_eq!(router.target(&table("shop.orders")), table("sales.o"));
    assert_eq!(router.source(&table("sales.o")), Some(table("shop.orders")));
    assert_eq!(router.target(&table("shop.offers")), table("shop.offers"));
    assert_eq!(
        router.source(&table("shop.offers")),
        Some(table("shop.offers"))
    );
    assert_eq!(router.source(&table("shop.orders")), None);
    assert!(router.selects(&table("crm.customers")));
    assert!(!router.selects(&table("shop.users")));
    let users = named(&orders(), "shop.users");
    assert_eq!(router.schema(&users).unwrap(), None);
    let event = change(
        &users,
        RowOperation::Delete {
            before: order(1, None),
        },
    );
    assert!(router.event(event).unwrap().is_none());
}

#[test]
fn columns_are_left_out_renamed_and_masked() {
    let mut router = router(RouteConfig {
        target: Some(table("sales.o")),
        exclude_columns: names(&["note"]),
        rename_columns: [("status".to_owned(), "state".to_owned())].into(),
        mask_columns: [("email".to_owned(), Mask::Sha256)].into(),
        ..route("shop.orders")
    });
    let sink_schema = router.schema(&orders()).unwrap().unwrap();
    assert_eq!(sink_schema.id, table("sales.o"));
    assert_eq!(sink_schema.key, [0]);
    let column_names: Vec<_> = sink_schema
        .columns
        .iter()
        .map(|column| &column.name)
        .collect();
    assert_eq!(column_names, ["id", "state", "email"]);
    assert_eq!(sink_schema.columns[2].ty, ColumnType::Char { length: 64 });
    assert!(!sink_schema.columns[2].nullable);

    let after = Row::pack([
        Value::Int(1),
        Value::Null,
        Value::Text("abc"),
        Value::Unchanged,
    ]);
    let event = change(&orders(), RowOperation::Insert { after });
    let Some(ChangeEvent::Row(change)) = router.event(event).unwrap() else {
        panic!("the row passes");
    };
    assert!(
        Arc::ptr_eq(&change.table, &sink_schema),
        "one shape gives one schema"
    );
    let RowOperation::Insert { after } = change.operation else {
        panic!("an insert stays one");
    };
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(
        after.values().collect::<Vec<_>>(),
        [Value::Int(1), Value::Null, Value::Text(digest)]
    );
    assert_eq!(change.ordinal, 3);
}

#[test]
fn masks_keep_null_and_unchanged_and_hide_defaults() {
    let mut schema = TableSchema::clone(&orders());
    schema.columns[3].default = Some(ColumnDefault::Literal("secret".to_owned()));
    let schema = Arc::new(schema);
    let images = [
        (Value::Text("x"), [Value::Null, Value::Text("***")]),
        (Value::Null, [Value::Null, Value::Null]),
        (Value::Unchanged, [Value::Unchanged, Value::Unchanged]),
    ];
    for (index, mask) in [Mask::Null, Mask::Redact].into_iter().enumerate() {
        let mut router = router(RouteConfig {
            mask_columns: [("note".to_owned(), mask), ("email".to_owned(), mask)].into(),
            ..route("shop.*")
        });
        let sink_schema = router.schema(&schema).unwrap().unwrap();
        assert_eq!(sink_schema.columns[3].default, None);
        assert_eq!(sink_schema.columns[2].nullable, mask == Mask::Null);
        for (value, expected) in images {
            let after = Row::pack([Value::Int(1), Value::Null, Value::Text("e"), value]);
            let event = change(&schema, RowOperation::Insert { after });
            let Some(ChangeEvent::Row(change)) = router.event(event).unwrap() else {
                panic!("the row passes");
            };
            let RowOperation::Insert { after } = change.operation else {
                panic!("an insert stays one");
            };
            assert_eq!(after.get(3), expected[index], "{mask:?}");
        }
    }
}

#[test]
fn digests_are_of_the_text_that_the_database_prints() {
    let day = 86_400_000_000;
    let elements = Row::pack([Value::Int(1), Value::Null, Value::Text("a,b")]);
    let text = ColumnType::Text;
    let date_time = |precision| ColumnType::DateTime { precision };
    let cases = [
        (Value::Int(-5), text.clone(), "-5"),
        (Value::UInt(u64::MAX), text.clone(), "18446744073709551615"),
        (Value::Double(1.5), text.clone(), "1.5"),
        (Value::Float(0.1), text.clone(), "0.1"),
        (Value::Bool(true), text.clone(), "true"),
        (Value::Decimal("1.20"), text.clone(), "1.20"),
        (Value::Bytes(b"raw"), text.clone(), "raw"),
        (Value::Date(19_782), text.clone(), "2024-02-29"),
        (
            Value::DateTime(day - 1),
            date_time(0),
            "1970-01-01 23:59:59",
        ),
        (
            Value::Timestamp(-day + 1_500_000),
            date_time(3),
            "1969-12-31 00:00:01.500",
        ),
        (
            Value::Time(-3_020_399_000_000),
            ColumnType::Time { precision: 6 },
            "-838:59:59.000000",
        ),
        (Value::Impossible("0000-00-00"), text.clone(), "0000-00-00"),
        (
            Value::Uuid([0xab; 16]),
            text.clone(),
            "abababab-abab-abab-abab-abababababab",
        ),
        (
            Value::Bits(Bits {
                length: 10,
                bytes: &[0b1000_0001, 0b0100_0000],
            }),
            text.clone(),
            "1000000101",
        ),
        (
            Value::Interval(Interval {
                months: 1,
                days: 2,
                micros: 3,
            }),
            text.clone(),
            "1 mons 2 days 3 us",
        ),
        (Value::Array(elements.view()), text, "{1,NULL,3:a,b}"),
    ];
    for (value, ty, text) in cases {
        let mut digest = BytesMut::new();
        put_digest(value, &ty, &mut digest);
        let expected = format!("{:x}", Sha256::digest(text));
        assert_eq!(digest, expected.as_bytes(), "{text}");
    }
}

#[test]
fn routes_that_can_never_work_are_refused_at_once() {
    let rename = |from: &str, to: &str| [(from.to_owned(), to.to_owned())].into();
    let base = route("shop.orders");
    let with = |change: &dyn Fn(&mut RouteConfig)| {
        let mut config = base.clone();
        change(&mut config);
        vec![config]
    };
    let target = |config: &mut RouteConfig| config.target = Some(table("x.y"));
    let cases = [
        (vec![route("orders")], "schema.table"),
        (
            vec![RouteConfig {
                target: Some(table("x.y")),
                ..route("shop.*")
            }],
            "a pattern may match many tables",
        ),
        (vec![base.clone(), base.clone()], "two routes"),
        (
            [
                with(&target),
                vec![RouteConfig {
                    target: Some(table("x.y")),
                    ..route("shop.b")
                }],
            ]
            .concat(),
            "that of route \"shop.orders\"",
        ),
        (
            with(&|config| config.include_columns = Some(Vec::new())),
            "columns.include is empty",
        ),
        (
            with(&|config| {
                config.include_columns = Some(names(&["a"]));
                config.exclude_columns = names(&["a"]);
            }),
            "\"a\" is included and excluded",
        ),
        (
            with(&|config| {
                config.exclude_columns = names(&["a"]);
                config.rename_columns = rename("a", "b");
            }),
            "\"a\" is left out and renamed",
        ),
        (
            with(&|config| {
                config.include_columns = Some(names(&["a"]));
                config.mask_columns = [("b".to_owned(), Mask::Null)].into();
            }),
            "\"b\" is left out and masked",
        ),
        (
            with(&|config| config.rename_columns = rename("a", "")),
            "the new name of column \"a\" is empty",
        ),
        (
            with(&|config| config.row_filter = Some("status <>".to_owned())),
            "where: expected a column or a constant, found the end at character 10",
        ),
    ];
    for (configs, expected) in cases {
        let error = Router::new(configs).unwrap_err();
        assert_eq!(error.reason(), Reason::InvalidConfig);
        assert_says(&error, &["route \"", expected]);
    }
}

#[test]
fn a_table_that_does_not_fit_its_route_fails_alone() {
    let base = route("shop.orders");
    let rename = |from: &str, to: &str| [(from.to_owned(), to.to_owned())].into();
    let cases = [
        (
            RouteConfig {
                exclude_columns: names(&["nope"]),
                ..base.clone()
            },
            "columns.exclude names column \"nope\"",
        ),
        (
            RouteConfig {
                exclude_columns: names(&["id"]),
                ..base.clone()
            },
            "\"id\" is part of the key and is left out",
        ),
        (
            RouteConfig {
                mask_columns: [("id".to_owned(), Mask::Sha256)].into(),
                ..base.clone()
            },
            "\"id\" is part of the key and is masked",
        ),
        (
            RouteConfig {
                rename_columns: rename("note", "email"),
                ..base.clone()
            },
            "two columns would be named \"email\"",
        ),
        (
            RouteConfig {
                include_columns: Some(names(&["x"])),
                ..route("shop.*")
            },
            "no column is left",
        ),
        (
            RouteConfig {
                row_filter: Some("state = 'x'".to_owned()),
                ..route("shop.*")
            },
            "row filter: no column \"state\" at character 1",
        ),
        (
            RouteConfig {
                row_filter: Some("id = 'x'".to_owned()),
                ..base
            },
            "row filter: column \"id\" compares with a number",
        ),
    ];
    for (config, expected) in cases {
        let mut router = router(config);
        for _ in 0..2 {
            let error = router.schema(&orders()).unwrap_err();
            assert_eq!(error.reason(), Reason::TargetIncompatible);
            assert_eq!(error.table(), Some(&table("shop.orders")));
            assert_says(&error, &[expected]);
            assert!(error.hint().is_some(), "{error} has a hint");
        }
    }
}

#[test]
fn a_pattern_leaves_out_renames_and_masks_where_the_column_exists() {
    let mut router = router(RouteConfig {
        exclude_columns: names(&["card_number"]),
        mask_columns: [("phone".to_owned(), Mask::Null)].into(),
        ..route("shop.*")
    });
    let schema = orders();
    assert!(Arc::ptr_eq(
        &router.schema(&schema).unwrap().unwrap(),
        &schema
    ));
}

#[test]
fn two_tables_never_share_a_target() {
    let moved = RouteConfig {
        target: Some(table("shop.archive")),
        ..route("shop.orders")
    };
    let mut router = Router::new(vec![moved, route("shop.*")]).unwrap();
    router.schema(&orders()).unwrap();
    let archive = named(&orders(), "shop.archive");
    let error = router.schema(&archive).unwrap_err();
    assert_says(
        &error,
        &["shop.archive and shop.orders would both be written to"],
    );
}

#[test]
fn equal_schemas_share_one_routed_schema() {
    let mut router = router(RouteConfig {
        exclude_columns: names(&["note"]),
        ..route("shop.orders")
    });
    let mut with_default = TableSchema::clone(&orders());
    with_default.columns[1].default = Some(ColumnDefault::Literal("draft".to_owned()));
    let (log, catalog) = (orders(), Arc::new(with_default));
    let first = router.schema(&log).unwrap().unwrap();
    let other = router.schema(&catalog).unwrap().unwrap();
    assert!(first.same_shape(&other));
    assert_eq!(other.columns[1].default, catalog.columns[1].default);
    for source in [&log, &orders()] {
        assert!(Arc::ptr_eq(
            &router.schema(source).unwrap().unwrap(),
            &first
        ));
    }
}
