//! The laws of netting: applied as sets, the netted changes do what the changes did one by one.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;
use sluice_core::{TableId, TableSchema, Transaction, Value};

use super::*;

type State = BTreeMap<i64, [i64; 2]>;

/// One step of a random history; what it does depends on whether the key is there.
#[derive(Debug, Clone)]
enum Step {
    Put {
        key: i64,
        values: [i64; 2],
    },
    /// Which of the two columns the update logs and changes.
    Change {
        key: i64,
        values: [i64; 2],
        logged: [bool; 2],
    },
    Move {
        key: i64,
        to: i64,
        full: bool,
    },
    Remove {
        key: i64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..6_i64;
    let values = || [0..3_i64, 0..3_i64];
    prop_oneof![
        (key(), values()).prop_map(|(key, values)| Step::Put { key, values }),
        (key(), values(), any::<[bool; 2]>()).prop_map(|(key, values, logged)| Step::Change {
            key,
            values,
            logged
        }),
        (key(), key(), any::<bool>()).prop_map(|(key, to, full)| Step::Move { key, to, full }),
        key().prop_map(|key| Step::Remove { key }),
    ]
}

fn row(key: i64, values: [Option<i64>; 2]) -> Row {
    let values = values.map(|value| value.map_or(Value::Unchanged, Value::Int));
    Row::pack([Value::Int(key), values[0], values[1]])
}

fn full(key: i64, values: [i64; 2]) -> Row {
    row(key, values.map(Some))
}

/// Makes a history possible: answers the changes and the state after them.
fn history(start: &State, steps: &[Step]) -> (Vec<RowOperation>, State) {
    let mut state = start.clone();
    let mut operations = Vec::new();
    for step in steps {
        match *step {
            Step::Put { key, values } if !state.contains_key(&key) => {
                state.insert(key, values);
                operations.push(RowOperation::Insert {
                    after: full(key, values),
                });
            }
            Step::Change {
                key,
                values,
                logged,
            } => {
                let Some(old) = state.get(&key).copied() else {
                    continue;
                };
                let choose = |at: usize| if logged[at] { values[at] } else { old[at] };
                let new = [choose(0), choose(1)];
                state.insert(key, new);
                let image = |values: [i64; 2]| {
                    let value = |at: usize| logged[at].then_some(values[at]);
                    row(key, [value(0), value(1)])
                };
                operations.push(RowOperation::Update {
                    before: image(old),
                    after: image(new),
                });
            }
            Step::Move {
                key,
                to,
                full: logged,
            } if !state.contains_key(&to) => {
                let Some(values) = state.remove(&key) else {
                    continue;
                };
                state.insert(to, values);
                let image = |key| {
                    let values = values.map(|value| logged.then_some(value));
                    row(key, values)
                };
                operations.push(RowOperation::Update {
                    before: image(key),
                    after: image(to),
                });
            }
            Step::Remove { key } => {
                let Some(values) = state.remove(&key) else {
                    continue;
                };
                operations.push(RowOperation::Delete {
                    before: full(key, values),
                });
            }
            Step::Put { .. } | Step::Move { .. } => {}
        }
    }
    (operations, state)
}

fn number(value: Value<'_>) -> i64 {
    match value {
        Value::Int(value) => value,
        other => panic!("a number, not {other:?}"),
    }
}

/// Applies netted changes the way the target does; panics where a set would touch a key twice.
fn apply(start: &State, netted: &Netted<'_>) -> State {
    let mut state = start.clone();
    for removal in &netted.deletes {
        assert!(state.remove(&number(removal.key.get(0))).is_some());
    }
    let mut touched = std::collections::BTreeSet::new();
    for update in &netted.updates {
        let key = number(update.before.get(0));
        assert!(touched.insert(key), "one update per key");
        let values = state.get_mut(&key).expect("the row is there");
        for &place in &netted.patterns[update.pattern as usize] {
            values[place - 1] = number(update.after.get(place));
        }
    }
    for addition in &netted.inserts {
        let key = number(addition.row.get(0));
        let values = [1, 2].map(|at| number(addition.row.get(at)));
        assert!(state.insert(key, values).is_none(), "the row is new");
    }
    state
}

fn events(operations: Vec<RowOperation>) -> Vec<RowChange> {
    let table = Arc::new(TableSchema {
        id: TableId::new("s", "t"),
        columns: Vec::new(),
        key: vec![0],
    });
    let transaction = Arc::new(Transaction {
        id: String::new(),
        start_offset: 0,
        commit_time_micros: 0,
    });
    let change = |operation| RowChange {
        table: Arc::clone(&table),
        operation,
        transaction: Arc::clone(&transaction),
        ordinal: 0,
        origin: None,
    };
    operations.into_iter().map(change).collect()
}

const LAYOUT: Layout<'static> = Layout {
    key: &[0],
    columns: &[0, 1, 2],
    moves: true,
};

proptest! {
    #[test]
    fn netted_changes_do_what_the_changes_did_one_by_one(
        start in prop::collection::btree_map(0..6_i64, [0..3_i64, 0..3_i64], 0..6),
        steps in prop::collection::vec(step(), 0..40),
    ) {
        let (operations, end) = history(&start, &steps);
        let changes = events(operations);
        let references: Vec<_> = changes.iter().collect();
        // Moves of rows that are known in part can't be netted, and say so.
        if let Ok(netted) = net(LAYOUT, &references) {
            prop_assert_eq!(apply(&start, &netted), end);
        }
    }
}

#[test]
fn what_comes_and_goes_leaves_nothing() {
    let changes = events(vec![
        RowOperation::Insert {
            after: full(1, [0, 0]),
        },
        RowOperation::Update {
            before: full(1, [0, 0]),
            after: full(1, [1, 0]),
        },
        RowOperation::Delete {
            before: full(1, [1, 0]),
        },
        RowOperation::Update {
            before: full(2, [0, 0]),
            after: full(2, [1, 0]),
        },
        RowOperation::Update {
            before: full(2, [1, 0]),
            after: full(2, [0, 0]),
        },
    ]);
    let references: Vec<_> = changes.iter().collect();
    let netted = net(LAYOUT, &references).unwrap();
    assert!(netted.deletes.is_empty() && netted.inserts.is_empty() && netted.updates.is_empty());
}

#[test]
fn rare_combinations_of_columns_share_a_statement() {
    let update = |key: i64, at: usize| {
        let mut after = [0, 0];
        after[at] = 1;
        RowOperation::Update {
            before: full(key, [0, 0]),
            after: full(key, after),
        }
    };
    let common = (0..100).map(|key| update(key, 0));
    let rare = [update(100, 1), update(101, 1)];
    let both = RowOperation::Update {
        before: full(102, [0, 0]),
        after: full(102, [1, 1]),
    };
    let changes = events(common.chain(rare).chain([both]).collect());
    let references: Vec<_> = changes.iter().collect();
    let netted = net(LAYOUT, &references).unwrap();
    let columns = |at: usize| &*netted.patterns[netted.updates[at].pattern as usize];
    assert_eq!(columns(0), [1]);
    assert_eq!(columns(100), [1, 2]);
    assert_eq!(columns(102), [1, 2]);
}
