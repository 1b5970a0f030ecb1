//! A random stream of changes, routed and applied to a model of the sink, leaves there what the
//! filter makes of the source's final state.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sluice_core::{ChangeEvent, Class, Row, RowOperation, Value};

use super::{change, filtered, names, orders};
use crate::route::{RouteConfig, Router};

/// A row of `orders` without its email: id, status, note.
type Order = (i64, Option<String>, Option<String>);
type Orders = BTreeMap<i64, Order>;
/// Status and note by id.
type Sink = BTreeMap<i64, Vec<Option<String>>>;

#[derive(Debug, Clone)]
enum Step {
    /// Writes a row: an insert, or an update of the row with that id.
    Put(Order),
    /// Updates the row with the first id, perhaps to another id.
    Change(i64, Order),
    Delete(i64),
}

/// How much of a row the source logs.
#[derive(Debug, Clone, Copy)]
enum Images {
    /// Everything, always.
    Full,
    /// The before image holds the key alone (PostgreSQL's default).
    KeyBefore,
    /// The note only where it changed (NOBLOB).
    NoBlob,
    /// Key before, changed columns after (MINIMAL).
    Minimal,
}

/// A filter and what it means.
type Oracle = (&'static str, fn(&Order) -> bool);

const FILTERS: [Oracle; 7] = [
    ("status <> 'draft'", |(_, status, _)| {
        status.as_deref().is_some_and(|status| status != "draft")
    }),
    ("status = 'draft' or note is null", |(_, status, note)| {
        status.as_deref() == Some("draft") || note.is_none()
    }),
    (
        "id between 1 and 3 and status is not null",
        |(id, status, _)| (1..=3).contains(id) && status.is_some(),
    ),
    ("id in (0, 2, 4)", |(id, _, _)| [0, 2, 4].contains(id)),
    (
        "note like '%b' and not status = 'paid'",
        |(_, status, note)| {
            note.as_deref().is_some_and(|note| note.ends_with('b'))
                && status.as_deref().is_some_and(|status| status != "paid")
        },
    ),
    ("(status = note) is not true", |(_, status, note)| {
        status.is_none() || status != note
    }),
    ("true", |_| true),
];

fn an_order() -> impl Strategy<Value = Order> {
    let text = |values: &'static [&'static str]| {
        prop::option::of(prop::sample::select(values).prop_map(str::to_owned))
    };
    (
        0_i64..6,
        text(&["draft", "paid", "ab"]),
        text(&["ab", "b", "c"]),
    )
}

fn a_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        an_order().prop_map(Step::Put),
        (0_i64..6, an_order()).prop_map(|(id, order)| Step::Change(id, order)),
        (0_i64..6).prop_map(Step::Delete),
    ]
}

/// Makes the step in the source; `None` when it has nothing to work on.
fn make(step: &Step, source: &mut Orders) -> Option<(Option<Order>, Option<Order>)> {
    match step {
        Step::Put(order) => Some((source.insert(order.0, order.clone()), Some(order.clone()))),
        Step::Change(id, order) => {
            if !source.contains_key(id) || (*id != order.0 && source.contains_key(&order.0)) {
                return None;
            }
            let before = source.remove(id);
            source.insert(order.0, order.clone());
            Some((before, Some(order.clone())))
        }
        Step::Delete(id) => source.remove(id).map(|before| (Some(before), None)),
    }
}

fn pack(order: &Order, logged: [bool; 4]) -> Row {
    let (id, status, note) = order;
    let values = [
        Value::Int(*id),
        status.as_deref().map_or(Value::Null, Value::Text),
        Value::Text("e"),
        note.as_deref().map_or(Value::Null, Value::Text),
    ];
    let cells = values.into_iter().zip(logged);
    Row::pack(cells.map(|(value, logged)| if logged { value } else { Value::Unchanged }))
}

fn logged(before: Option<Order>, after: Option<Order>, images: Images) -> RowOperation {
    const ALL: [bool; 4] = [true; 4];
    const KEY: [bool; 4] = [true, false, false, false];
    let before_columns = match images {
        Images::Full => ALL,
        Images::NoBlob => [true, true, true, false],
        Images::KeyBefore | Images::Minimal => KEY,
    };
    match (before, after) {
        (Some(old), Some(new)) => {
            let changed = [old.0 != new.0, old.1 != new.1, false, old.2 != new.2];
            let after_columns = match images {
                Images::Full | Images::KeyBefore => ALL,
                Images::NoBlob => [true, true, true, changed[3]],
                Images::Minimal => changed,
            };
            // The log's reader fills the key in where a MINIMAL after image leaves it out.
            let after_columns = [true, after_columns[1], after_columns[2], after_columns[3]];
            RowOperation::Update {
                before: pack(&old, before_columns),
                after: pack(&new, after_columns),
            }
        }
        (None, Some(new)) => RowOperation::Insert {
            after: pack(&new, ALL),
        },
        (Some(old), None) => RowOperation::Delete {
            before: pack(&old, before_columns),
        },
        (None, None) => unreachable!("a step has an image"),
    }
}

/// Applies a change as a sink does; what is unchanged stays.
fn apply(sink: &mut Sink, operation: &RowOperation) {
    let id = |row: &Row| match row.get(0) {
        Value::Int(id) => id,
        _ => panic!("a key column is always there"),
    };
    let put = |sink: &mut Sink, older: Option<Vec<Option<String>>>, after: &Row| {
        let cell = |(index, value): (usize, Value<'_>)| match value {
            Value::Unchanged => older.as_ref().expect("the sink has the row")[index].clone(),
            Value::Text(text) => Some(text.to_owned()),
            _ => None,
        };
        let row: Vec<_> = after.values().skip(1).enumerate().map(cell).collect();
        sink.insert(id(after), row);
    };
    match operation {
        RowOperation::Insert { after } => {
            assert!(!sink.contains_key(&id(after)), "an arrival is new");
            put(sink, None, after);
        }
        RowOperation::Update { before, after } => {
            let older = sink.remove(&id(before));
            put(sink, older, after);
        }
        RowOperation::Delete { before } => {
            sink.remove(&id(before));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn routing_a_stream_equals_filtering_the_final_state(
        steps in prop::collection::vec(a_step(), 1..40),
        images in prop::sample::select(vec![
            Images::Full, Images::KeyBefore, Images::NoBlob, Images::Minimal,
        ]),
        (filter, passes) in prop::sample::select(FILTERS.to_vec()),
    ) {
        let mut router = Router::new(vec![RouteConfig {
            exclude_columns: names(&["email"]),
            ..filtered(filter)
        }]).unwrap();
        let (schema, mut source, mut sink) = (orders(), Orders::new(), Sink::new());
        let mut expected = source.clone();
        for step in &steps {
            let Some((before, after)) = make(step, &mut source) else { continue };
            match router.event(change(&schema, logged(before, after, images))) {
                Ok(Some(ChangeEvent::Row(change))) => apply(&mut sink, &change.operation),
                Ok(_) => {}
                // The table stops, at the last state that the log told in full.
                Err(error) => {
                    prop_assert_eq!(error.class(), Class::StopTable);
                    prop_assert!(!matches!(images, Images::Full));
                    break;
                }
            }
            expected.clone_from(&source);
        }
        let expected: BTreeMap<_, _> = expected
            .into_iter()
            .filter(|(_, order)| passes(order))
            .map(|(id, (_, status, note))| (id, vec![status, note]))
            .collect();
        prop_assert_eq!(sink, expected);
    }
}
