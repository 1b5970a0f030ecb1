use std::sync::Arc;

use sluice_core::{ChangeEvent, Class, Error, SchemaChange, TableSchema, Transaction};

use super::{assert_says, names, orders, route, router, table};
use crate::route::{Mask, RouteConfig, Router};

fn routed(router: &mut Router, change: SchemaChange) -> Result<Option<SchemaChange>, Error> {
    Ok(match router.event(ChangeEvent::Schema(change))? {
        None => None,
        Some(ChangeEvent::Schema(change)) => Some(change),
        Some(_) => panic!("a schema change stays one"),
    })
}

fn renamed_columns(
    config: RouteConfig,
    from: &str,
    to: &str,
) -> Result<Option<Vec<(String, String)>>, Error> {
    let rename = SchemaChange::RenameColumns {
        table: table("shop.orders"),
        columns: vec![(from.to_owned(), to.to_owned())],
    };
    Ok(match routed(&mut router(config), rename)? {
        None => None,
        Some(SchemaChange::RenameColumns { columns, .. }) => Some(columns),
        Some(_) => panic!("a rename stays one"),
    })
}

fn renamed_table(configs: Vec<RouteConfig>, from: &str, to: &str) -> Result<Option<String>, Error> {
    let rename = SchemaChange::RenameTable {
        from: table(from),
        to: table(to),
    };
    Ok(match routed(&mut Router::new(configs)?, rename)? {
        None => None,
        Some(SchemaChange::RenameTable { from, to }) => Some(format!("{from} {to}")),
        Some(_) => panic!("a rename stays one"),
    })
}

#[test]
fn definitions_arrive_in_the_sinks_shape_and_under_its_names() {
    let mut router = router(RouteConfig {
        target: Some(table("sales.o")),
        exclude_columns: names(&["note"]),
        ..route("shop.orders")
    });
    let sink_schema = router.schema(&orders()).unwrap().unwrap();
    let is_sinks = |schema: &Arc<TableSchema>| Arc::ptr_eq(schema, &sink_schema);
    let create = routed(&mut router, SchemaChange::Create(orders())).unwrap();
    assert!(matches!(create, Some(SchemaChange::Create(schema)) if is_sinks(&schema)));
    let alter = routed(&mut router, SchemaChange::Alter(orders())).unwrap();
    assert!(matches!(alter, Some(SchemaChange::Alter(schema)) if is_sinks(&schema)));
    let truncate = routed(&mut router, SchemaChange::Truncate(orders().id.clone())).unwrap();
    assert!(matches!(truncate, Some(SchemaChange::Truncate(id)) if id == table("sales.o")));
    let drop = routed(&mut router, SchemaChange::Drop(orders().id.clone())).unwrap();
    assert!(matches!(drop, Some(SchemaChange::Drop(id)) if id == table("sales.o")));
    let other = routed(&mut router, SchemaChange::Drop(table("shop.users"))).unwrap();
    assert!(other.is_none());
}

#[test]
fn a_transactions_end_always_passes() {
    let end = ChangeEvent::TransactionEnd(Arc::new(Transaction {
        id: "t".to_owned(),
        commit_time_micros: 1,
        start_offset: 0,
    }));
    assert!(router(route("x.y")).event(end).unwrap().is_some());
}

#[test]
fn a_renamed_column_keeps_what_the_route_says_of_it_or_stops_the_table() {
    let free = renamed_columns(route("shop.*"), "note", "remark").unwrap();
    assert_eq!(free, Some(vec![("note".to_owned(), "remark".to_owned())]));
    let included = || RouteConfig {
        include_columns: Some(names(&["id", "status"])),
        ..route("shop.orders")
    };
    assert_eq!(
        renamed_columns(included(), "note", "remark").unwrap(),
        None,
        "the sink does not have the column"
    );
    let renames = || RouteConfig {
        rename_columns: [("note".to_owned(), "remark".to_owned())].into(),
        ..route("shop.orders")
    };
    let masks = RouteConfig {
        mask_columns: [("note".to_owned(), Mask::Redact)].into(),
        ..route("shop.*")
    };
    let excludes = RouteConfig {
        exclude_columns: names(&["note"]),
        ..route("shop.*")
    };
    let filters = RouteConfig {
        row_filter: Some("note is null".to_owned()),
        ..route("shop.*")
    };
    let cases = [
        (renames(), "note", "x", "columns.rename names \"note\""),
        (
            renames(),
            "x",
            "remark",
            "the target's name of another column",
        ),
        (masks.clone(), "note", "x", "columns.mask names \"note\""),
        (masks, "x", "note", "columns.mask names \"note\""),
        (excludes, "note", "x", "columns.exclude names \"note\""),
        (filters, "note", "x", "where names \"note\""),
        (
            included(),
            "status",
            "x",
            "columns.include names \"status\"",
        ),
        (
            included(),
            "x",
            "status",
            "columns.include names \"status\"",
        ),
    ];
    for (config, from, to, expected) in cases {
        let error = renamed_columns(config, from, to).unwrap_err();
        assert_eq!(error.class(), Class::StopTable);
        assert_says(&error, &[expected, "shop.orders"]);
        assert!(error.hint().is_some());
    }
}

#[test]
fn a_renamed_table_is_followed_only_where_both_names_are_routed_alike() {
    let to_sales = |source: &str, target: &str| RouteConfig {
        target: Some(table(target)),
        ..route(source)
    };
    let both = vec![route("shop.*")];
    assert_eq!(
        renamed_table(both, "shop.a", "shop.b").unwrap().as_deref(),
        Some("shop.a shop.b")
    );
    let fixed = || vec![to_sales("shop.orders", "sales.o")];
    for (from, to) in [
        ("shop.orders", "shop._orders_del"),
        ("shop._orders_gho", "shop.orders"),
        ("x.a", "x.b"),
    ] {
        assert_eq!(renamed_table(fixed(), from, to).unwrap(), None);
    }
    let two = vec![to_sales("shop.a", "sales.a"), to_sales("shop.b", "sales.b")];
    assert_eq!(
        renamed_table(two, "shop.a", "shop.b").unwrap().as_deref(),
        Some("sales.a sales.b")
    );
    let masked = RouteConfig {
        mask_columns: [("email".to_owned(), Mask::Null)].into(),
        ..route("shop.a")
    };
    let error = renamed_table(vec![masked, route("shop.*")], "shop.a", "shop.b").unwrap_err();
    assert_eq!(error.class(), Class::StopTable);
    assert_says(&error, &["shop.a was renamed to shop.b", "new snapshot"]);
}

#[test]
fn a_table_that_took_anothers_name_takes_its_target() {
    let mut router = Router::new(vec![route("shop.*")]).unwrap();
    let (old, ghost) = (orders(), super::named(&orders(), "shop._orders_gho"));
    router.schema(&old).unwrap();
    router.schema(&ghost).unwrap();
    for (from, to) in [
        ("shop.orders", "shop._orders_del"),
        ("shop._orders_gho", "shop.orders"),
    ] {
        let rename = SchemaChange::RenameTable {
            from: table(from),
            to: table(to),
        };
        assert!(routed(&mut router, rename).unwrap().is_some());
    }
    assert!(router.schema(&old).unwrap().is_some());
}
