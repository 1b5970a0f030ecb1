//! Partitions that a made-up capture wrote, read in any order.

use std::collections::{BTreeMap, VecDeque};

use super::*;
use crate::schemas::Fingerprint;

/// A record of a made-up partition.
#[derive(Debug, Clone, PartialEq)]
struct Written {
    kind: Kind,
    number: u64,
    id: String,
}

fn written(kind: Kind, number: u64) -> Written {
    Written {
        kind,
        number,
        id: format!("u:{number}"),
    }
}

fn header(record: &Written) -> Header<'_> {
    Header {
        kind: record.kind,
        shape: Fingerprint::parse("0000000000000000").unwrap(),
        control: 0,
        transaction: Some((&record.id, 0)),
        number: record.number,
    }
}

fn end(number: u64, records: &[(&str, u64)]) -> Bound {
    let records = records
        .iter()
        .map(|(topic, count)| ((*topic).to_owned(), *count));
    Bound {
        number,
        end: Some(End {
            id: format!("u:{number}"),
            controls: 0,
            records: records.collect(),
        }),
    }
}

fn begin(number: u64) -> Bound {
    Bound { number, end: None }
}

fn fresh() -> Order {
    Order::new(0, Some((0, &begin(1))))
}

fn is_whole(order: &Order) -> bool {
    order
        .front()
        .is_some_and(|front| front.missing().next().is_none())
}

#[test]
fn a_row_waits_for_the_end_of_its_transaction_and_for_all_before() {
    let mut order = fresh();
    assert!(!order.allows(Turn::inside(1)) && order.allows(Turn::before(1)));
    order.take(1, end(1, &[("a", 2)]));
    order.take(3, end(2, &[("a", 1)]));
    assert!(order.allows(Turn::inside(1)) && !order.allows(Turn::before(2)));
    order.count(&header(&written(Kind::Create, 1)), "a");
    assert!(order.is_inside() && !is_whole(&order));
    order.count(&header(&written(Kind::Delete, 1)), "a");
    assert!(is_whole(&order));
    order.complete();
    assert_eq!((order.is_inside(), order.place()), (false, 1));
    assert!(order.allows(Turn::inside(2)) && !order.allows(Turn::before(3)));
}

#[test]
fn rows_of_a_snapshot_come_behind_the_transaction_before_and_wait_for_none_after() {
    let mut order = fresh();
    assert!(order.allows(Turn::of(&header(&written(Kind::Append, 1)))));
    let later = written(Kind::Upsert, 2);
    assert!(!order.allows(Turn::of(&header(&later))));
    order.take(1, end(1, &[]));
    order.complete();
    assert!(order.allows(Turn::of(&header(&later))));
    order.count(&header(&later), "a");
    assert!(!order.is_inside());
}

#[test]
fn tombstones_and_rows_of_a_broken_off_transaction_do_not_count() {
    let mut order = fresh();
    order.take(1, end(1, &[("a", 1)]));
    order.count(&header(&written(Kind::Tombstone, 1)), "a");
    let mut other = written(Kind::Create, 1);
    other.id = "u:gone".to_owned();
    order.count(&header(&other), "a");
    assert!(order.is_inside() && !is_whole(&order));
    order.count(&header(&written(Kind::Create, 1)), "a");
    assert!(is_whole(&order));
}

#[test]
fn an_agent_goes_on_behind_the_end_that_it_stored() {
    let stored = end(7, &[("a", 1)]);
    let mut order = Order::new(40, Some((40, &stored)));
    order.take(40, stored);
    assert!(order.front().is_none(), "what is stored is done");
    assert!(order.allows(Turn::before(8)) && !order.allows(Turn::inside(8)));
    // Retention took what was stored: what is older than the oldest bound has no bounds any more.
    let order = Order::new(40, Some((90, &begin(21))));
    assert!(order.allows(Turn::inside(20)) && !order.allows(Turn::inside(21)));
}

#[test]
fn without_any_bound_only_rows_of_transactions_wait() {
    let mut order = Order::new(0, None);
    assert!(order.allows(Turn::before(9)) && !order.allows(Turn::inside(9)));
    assert!(order.allows(Turn::NOW));
    order.take(5, begin(9));
    assert!(order.allows(Turn::before(9)) && !order.allows(Turn::before(10)));
}

/// A capture's partitions, and its bounds.
struct Capture {
    partitions: Vec<VecDeque<Written>>,
    bounds: VecDeque<Bound>,
}

const TOPICS: [&str; 2] = ["a", "b"];
const PARTITIONS: usize = 4;

impl Capture {
    fn random(rng: &mut impl FnMut(u64) -> u64, transactions: u64) -> Self {
        let mut partitions = vec![VecDeque::new(); PARTITIONS];
        let mut bounds = VecDeque::new();
        for number in 1..=transactions {
            if rng(3) == 0 {
                let partition = rng(PARTITIONS as u64) as usize;
                partitions[partition].push_back(written(Kind::Append, number));
            }
            let mut counts = BTreeMap::new();
            for _ in 0..=rng(6) {
                let partition = rng(PARTITIONS as u64) as usize;
                let kind = if rng(4) == 0 {
                    Kind::Delete
                } else {
                    Kind::Update
                };
                partitions[partition].push_back(written(kind, number));
                *counts.entry(topic_of(partition)).or_insert(0) += 1;
                if kind == Kind::Delete {
                    partitions[partition].push_back(written(Kind::Tombstone, number));
                }
            }
            let counts: Vec<_> = counts.into_iter().collect();
            bounds.push_back(begin(number));
            bounds.push_back(end(number, &counts));
        }
        Self { partitions, bounds }
    }
}

fn topic_of(partition: usize) -> &'static str {
    TOPICS[partition * TOPICS.len() / PARTITIONS]
}

#[test]
fn whatever_comes_first_transactions_are_passed_on_whole_and_in_order() {
    for seed in 1..200_u64 {
        let mut state = seed;
        let mut rng = move |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut capture = Capture::random(&mut rng, 30);
        let all: usize = capture.partitions.iter().map(VecDeque::len).sum();
        let mut order = fresh();
        let (mut passed, mut offset, mut done) = (0, 0, 0);
        let mut idle = 0;
        while passed < all {
            idle += 1;
            assert!(idle < 10_000, "seed {seed}: nothing passes any more");
            let from = rng(PARTITIONS as u64 + 1) as usize;
            if from == PARTITIONS {
                if let Some(bound) = capture.bounds.pop_front() {
                    order.take(offset, bound);
                    offset += 1;
                }
            } else if let Some(record) = capture.partitions[from].front() {
                let said = header(record);
                if !order.allows(Turn::of(&said)) {
                    continue;
                }
                let is_row = !matches!(record.kind, Kind::Append | Kind::Tombstone);
                assert!(
                    !is_row || record.number == done + 1,
                    "seed {seed}: {record:?} at {done}"
                );
                assert!(
                    record.number <= done + 1,
                    "seed {seed}: {record:?} at {done}"
                );
                order.count(&said, topic_of(from));
                capture.partitions[from].pop_front();
                passed += 1;
                idle = 0;
            }
            while is_whole(&order) {
                order.complete();
                done += 1;
            }
        }
        assert_eq!(done, 30, "seed {seed}");
        assert!(!order.is_inside());
    }
}
