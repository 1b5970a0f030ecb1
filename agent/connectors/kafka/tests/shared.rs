//! Several agents share the topics: each row is one agent's, and control events keep their place among
//! the rows of all.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use sluice_agent_api::config::Replicas;
use sluice_core::{
    ChangeEvent, LogPosition, Peers, Result, RowOperation, SchemaChange, Sink, Source,
    event::ChunkMode,
};
use tokio::{task::JoinSet, time::timeout};

use crate::support::{Events, Stand, ids, notes, position, row};

const AGENTS: u32 = 3;

/// A target: what was committed, in order, and each agent's position.
#[derive(Default)]
struct Board {
    events: Vec<(u32, ChangeEvent)>,
    positions: BTreeMap<u32, LogPosition>,
}

struct Shared(Arc<Mutex<Board>>);

#[async_trait]
impl Peers for Shared {
    async fn progress(&self) -> Result<LogPosition> {
        let mut all = LogPosition::Offsets(BTreeMap::new());
        for position in self.0.lock().unwrap().positions.values() {
            all.add(position);
        }
        Ok(all)
    }
}

/// Applies until every row and every truncation is there. With `restarts`, begins again and again where
/// the target stands.
async fn agent(
    stand: Arc<Stand>,
    index: u32,
    board: Arc<Mutex<Board>>,
    rows: usize,
    restarts: bool,
) {
    let replicas = Replicas {
        count: AGENTS,
        generation: None,
        index,
    };
    let mut source = stand.source().with_replicas(Some(replicas));
    let mut batches = 0;
    loop {
        if batches % 3 == 0 {
            let begin = board.lock().unwrap().positions.get(&index).cloned();
            source.set_peers(Some(Arc::new(Shared(Arc::clone(&board)))));
            source.open(begin.as_ref()).await.unwrap();
        }
        batches += usize::from(restarts || batches == 0);
        let batch = source.next().await.unwrap();
        let mut board = board.lock().unwrap();
        let events = batch
            .events
            .into_iter()
            .filter(|event| !matches!(event, ChangeEvent::TransactionEnd(_)));
        board.events.extend(events.map(|event| (index, event)));
        board.positions.insert(index, batch.position.unwrap());
        let emptied = |(agent, event): &&(u32, ChangeEvent)| *agent == index && empties(event);
        let is_through = board.events.iter().filter(emptied).count() == 2;
        let count = board
            .events
            .iter()
            .filter(|(_, event)| matches!(event, ChangeEvent::Row(_)));
        if is_through && count.count() == rows {
            return;
        }
    }
}

fn empties(event: &ChangeEvent) -> bool {
    match event {
        ChangeEvent::Schema(SchemaChange::Truncate(_)) => true,
        ChangeEvent::Chunk(chunk) => chunk.mode == ChunkMode::ReplaceAll,
        _ => false,
    }
}

async fn shared(restarts: bool) {
    let stand = Arc::new(Stand::new());
    let table = notes();
    let mut sink = stand.ready(&table).await;
    let mut id = 0;
    let mut number = 1;
    // Several of Kafka's transactions each, so that their marks lie among the rows.
    for stretch in 0..3 {
        for _ in 0..4 {
            let mut events = Events::default();
            for ordinal in 0..10 {
                let after = row(id, "x");
                events = events.change(&table, number, ordinal, RowOperation::Insert { after });
                id += 1;
            }
            sink.write(&events.end(number).0).await.unwrap();
            sink.commit(&position(number, &table)).await.unwrap();
            number += 1;
        }
        let events = Events::default();
        let events = match stretch {
            0 => events.schema(SchemaChange::Truncate(table.id.clone())),
            1 => events.chunk(&table, ChunkMode::ReplaceAll, Vec::new()),
            _ => continue,
        };
        sink.write(&events.end(number).0).await.unwrap();
        sink.commit(&position(number, &table)).await.unwrap();
        number += 1;
    }
    let board = Arc::new(Mutex::new(Board::default()));
    let mut agents = JoinSet::new();
    for index in 0..AGENTS {
        let (stand, board) = (Arc::clone(&stand), Arc::clone(&board));
        agents.spawn(agent(stand, index, board, 120, restarts));
    }
    let joined = timeout(Duration::from_secs(90), agents.join_all()).await;
    let board = board.lock().unwrap();
    assert!(joined.is_ok(), "stuck: {:?}", board.positions);

    let leads: Vec<usize> = (0..board.events.len())
        .filter(|&at| board.events[at].0 == 0 && empties(&board.events[at].1))
        .collect();
    let events: Vec<ChangeEvent> = board
        .events
        .iter()
        .map(|(_, event)| event.clone())
        .collect();
    let mut begin = 0;
    for (stretch, end) in leads.into_iter().chain([events.len()]).enumerate() {
        let rows: Vec<ChangeEvent> = events[begin..end]
            .iter()
            .filter(|event| matches!(event, ChangeEvent::Row(_)))
            .cloned()
            .collect();
        let mut found = ids(&rows);
        found.sort_unstable();
        let first = stretch as i64 * 40;
        assert_eq!(
            found,
            (first..first + 40).collect::<Vec<_>>(),
            "stretch {stretch}"
        );
        begin = end;
    }
    for index in 0..AGENTS {
        let is_own = |(agent, event): &&(u32, ChangeEvent)| {
            *agent == index && matches!(event, ChangeEvent::Row(_))
        };
        assert!(
            board.events.iter().any(|pair| is_own(&pair)),
            "agent {index} had nothing to do"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_table_events_come_between_the_rows_of_all_agents() {
    shared(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_that_begin_again_keep_the_order_and_do_nothing_twice() {
    shared(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_passes_a_table_event_while_one_agent_is_missing() {
    let stand = Stand::new();
    let table = notes();
    let mut sink = stand.ready(&table).await;
    let mut events = Events::default();
    for ordinal in 0..40 {
        let after = row(ordinal as i64, "x");
        events = events.change(&table, 1, ordinal, RowOperation::Insert { after });
    }
    let events = events
        .end(1)
        .schema(SchemaChange::Truncate(table.id.clone()));
    sink.write(&events.end(2).0).await.unwrap();
    sink.commit(&position(2, &table)).await.unwrap();
    // The last agent never starts, and it has rows.
    let (stand, board) = (Arc::new(stand), Arc::new(Mutex::new(Board::default())));
    let mut agents = JoinSet::new();
    for index in 0..AGENTS - 1 {
        agents.spawn(agent(
            Arc::clone(&stand),
            index,
            Arc::clone(&board),
            40,
            false,
        ));
    }
    let ended = timeout(Duration::from_secs(4), agents.join_all()).await;
    assert!(ended.is_err(), "an agent has seen the end of everything");
    let board = board.lock().unwrap();
    let (emptied, rows): (Vec<_>, Vec<_>) = board
        .events
        .iter()
        .map(|(_, event)| event)
        .filter(|event| !matches!(event, ChangeEvent::Schema(SchemaChange::Create(_))))
        .partition(|event| empties(event));
    assert!(
        !rows.is_empty() && emptied.is_empty(),
        "{} rows",
        rows.len()
    );
}
