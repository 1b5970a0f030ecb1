//! The source as the pipeline sees it.
//!
//! Committed records only, from the offsets that the target holds. Rows of one partition keep their
//! order; a control event comes after every record before it and before every record behind it, over
//! all partitions. The position names the next offset of each partition and of the control topic.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{CommitMode, Consumer},
};
use sluice_agent_api::{
    SecretStore,
    config::Replicas,
    kafka::{KafkaSourceConfig, KafkaTopics},
};
use sluice_core::{
    ChangeEvent, Error, LogPosition, Peers, Reason, Result, SnapshotReader, Source, SourceBatch,
    TableSchema, TableSelection, Transaction, Watermark, source::LogEnd,
};
use tokio::time::{Instant, timeout};
use tracing::{debug, info};

use crate::{barrier::Barrier, consume::Reading, lookup::blocking};

/// How long an idle stream waits before it shows that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long the consumer's signal is waited for.
const TURN: Duration = Duration::from_millis(50);
/// How often topics that match are looked for.
const DISCOVERY: Duration = Duration::from_secs(10);

/// Reads changes from Kafka topics.
pub struct KafkaSource {
    kafka: KafkaSourceConfig,
    selection: TableSelection,
    secrets: Arc<dyn SecretStore>,
    replicas: Option<Replicas>,
    peers: Option<Arc<dyn Peers>>,
    live: Option<Reading>,
    with_origins: bool,
}

impl KafkaSource {
    /// A source that is not connected yet.
    pub fn new(
        kafka: KafkaSourceConfig,
        selection: TableSelection,
        secrets: Arc<dyn SecretStore>,
    ) -> Self {
        Self {
            kafka,
            selection,
            secrets,
            replicas: None,
            peers: None,
            live: None,
            with_origins: false,
        }
    }

    /// The same, telling of each row of a snapshot, too, where its record lies.
    pub fn with_origins(mut self) -> Self {
        self.with_origins = true;
        self
    }

    /// The same as one of several agents that share the topics.
    pub fn with_replicas(mut self, replicas: Option<Replicas>) -> Self {
        self.replicas = replicas;
        self
    }

    fn live(&mut self) -> Result<&mut Reading> {
        self.live
            .as_mut()
            .ok_or_else(|| Error::new(Reason::Unavailable, "the source is not open"))
    }
}

#[async_trait]
impl Source for KafkaSource {
    fn set_peers(&mut self, peers: Option<Arc<dyn Peers>>) {
        self.peers = peers;
    }

    async fn open(&mut self, resume: Option<&LogPosition>) -> Result<LogPosition> {
        if let Some(old) = self.live.take() {
            blocking(move || {
                drop(old);
                Ok(())
            })
            .await?;
        }
        let offsets = match resume {
            None => BTreeMap::new(),
            Some(LogPosition::Offsets(offsets)) => offsets.clone(),
            Some(_) => {
                let message = "the target follows another log than Kafka's topics";
                return Err(Error::new(Reason::PositionLost, message)
                    .with_hint("let the new path copy every table again, or use another target"));
            }
        };
        let barrier = Barrier::new(self.replicas, self.peers.clone());
        let selection = self.selection.clone();
        let mut reading =
            Reading::open(&self.kafka, selection, &self.secrets, offsets, barrier).await?;
        reading.with_origins = self.with_origins;
        match &self.kafka.topics {
            KafkaTopics::Own(own) => reading.begin_own(own).await?,
            KafkaTopics::Foreign(patterns) => reading.discover(patterns).await?,
        }
        let position = reading.position();
        info!(group = self.kafka.group_id, "reading topics");
        self.live = Some(reading);
        Ok(position)
    }

    fn can_snapshot(&self) -> bool {
        false
    }

    async fn tables(&mut self) -> Result<Vec<Arc<TableSchema>>> {
        Ok(self.live()?.tables())
    }

    async fn next(&mut self) -> Result<SourceBatch> {
        let patterns = match &self.kafka.topics {
            KafkaTopics::Foreign(patterns) => patterns.clone(),
            KafkaTopics::Own(_) => Vec::new(),
        };
        let reading = self.live()?;
        loop {
            reading.take().await?;
            if let Some(events) = reading.hand_on() {
                return Ok(ended(reading, events));
            }
            if !patterns.is_empty() && reading.discovered_at.elapsed() >= DISCOVERY {
                reading.discover(&patterns).await?;
            }
            if reading.look().await? {
                // Further than before without a record: control events, or the end of the log.
                continue;
            }
            let moved = !reading.is_inside() && std::mem::take(&mut reading.moved);
            if moved && reading.is_awaited() {
                // The end of a transaction, if only of an empty one, is stored at once.
                return Ok(ended(reading, Vec::new()));
            }
            if moved || reading.told_at.elapsed() >= HEARTBEAT {
                return Ok(batch_of(reading, Vec::new(), None));
            }
            // A signal that was missed costs a turn.
            let signal = Arc::clone(&reading.signal);
            timeout(TURN, signal.notified()).await.ok();
        }
    }

    async fn confirm(&mut self, position: &LogPosition) -> Result<()> {
        let reading = self.live()?;
        let LogPosition::Offsets(offsets) = position else {
            return Ok(());
        };
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for ((topic, partition), offset) in offsets {
            if *offset > 0 && reading.answers_for(topic, *partition) {
                let added = list.add_partition_offset(topic, *partition, Offset::Offset(*offset));
                added.map_err(|error| reading.error("committing offsets", error))?;
            }
        }
        if list.count() > 0
            && let Err(error) = reading.consumer.commit(&list, CommitMode::Async)
        {
            // The target holds the truth; the group's offsets are for people and tools.
            debug!(%error, "offsets were not committed to the group");
        }
        Ok(())
    }

    async fn snapshot_reader(&mut self) -> Result<Box<dyn SnapshotReader>> {
        Err(Error::new(
            Reason::InvalidConfig,
            "topics hold changes and no tables that could be read",
        )
        .with_hint("copy tables again at the source whose agent writes the topics"))
    }

    async fn log_end(&mut self) -> Result<LogEnd> {
        let reading = self.live()?;
        let offset = reading.ask_ends().await?;
        Ok(LogEnd {
            watermark: Watermark {
                server: reading.measure(),
                offset,
            },
            log_files: Vec::new(),
            partitions: reading.partition_ends(),
            retention_seconds: None,
        })
    }
}

/// A batch of events, ended by a boundary unless the last transaction goes on.
fn ended(reading: &mut Reading, mut events: Vec<ChangeEvent>) -> SourceBatch {
    if reading.is_inside() {
        return batch_of(reading, events, None);
    }
    let newest = reading.newest.clone();
    let end = newest.unwrap_or_else(|| {
        Arc::new(Transaction {
            id: String::new(),
            commit_time_micros: 0,
            start_offset: 0,
        })
    });
    let commit_time = reading.complete_until_micros();
    events.push(ChangeEvent::TransactionEnd(end));
    reading.moved = false;
    batch_of(reading, events, commit_time)
}

fn batch_of(
    reading: &mut Reading,
    events: Vec<ChangeEvent>,
    commit_time_micros: Option<i64>,
) -> SourceBatch {
    reading.told_at = Instant::now();
    // Inside of a transaction nothing may be stored.
    let is_boundary = !reading.is_inside();
    SourceBatch {
        events,
        position: is_boundary.then(|| reading.position()),
        watermark: is_boundary.then(|| Watermark {
            server: reading.measure(),
            offset: reading.passed(),
        }),
        commit_time_micros,
    }
}
