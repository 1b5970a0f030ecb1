//! Topics that are read: where each begins, what has come of them, and how far it is passed on.
//!
//! `record` makes events of records, `control` passes on what is no row when its time has come, `ends`
//! asks where the topics end, and `order` and `transactions` put whole transactions in line.

mod control;
mod ends;
mod order;
mod record;
mod transactions;
mod unreadable;

use std::{collections::BTreeMap, sync::Arc};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::OwnedMessage,
};
use sluice_agent_api::{
    SecretStore,
    kafka::{KafkaSourceConfig, KafkaTopics, OwnTopics},
};
use sluice_avro::Codec;
use sluice_core::{
    ChangeEvent, Error, LogPosition, Place, Reason, Result, TableSchema, TableSelection,
    Transaction, selection::matches,
};
use tokio::{sync::Notify, task::JoinHandle, time::Instant};

use crate::{
    barrier::Barrier,
    connect::{Context, client_config},
    format::codec,
    lookup::{Lookup, Read, blocking, finished, meet},
    probe::Probe,
    schemas::Shapes,
    topic::{Partition, ReadTopics, Topic},
};

use control::{Controls, parse};
use ends::Emptied;
use record::Taken;
use transactions::{Transactions, size_of};

/// How much one batch takes, about.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// How many records one batch takes.
const BATCH_RECORDS_MAX: usize = 20_000;

/// Offsets to begin at.
type Offsets = BTreeMap<(String, i32), i64>;

/// Topics that are being read.
pub(crate) struct Reading {
    pub(crate) consumer: Arc<BaseConsumer<Context>>,
    pub(crate) signal: Arc<Notify>,
    pub(crate) events: Vec<ChangeEvent>,
    pub(crate) size_bytes: usize,
    /// The newest transaction that was passed on.
    pub(crate) newest: Option<Arc<Transaction>>,
    /// Where the partitions ended when they were asked last.
    goals: Vec<((String, i32), i64)>,
    /// Whether the position moved without a record.
    pub(crate) moved: bool,
    pub(crate) discovered_at: Instant,
    lookup: Lookup,
    probe: Probe,
    codec: Codec,
    selection: TableSelection,
    shapes: Shapes,
    topics: ReadTopics,
    resume: Offsets,
    controls: Option<Controls>,
    /// The source's transactions, where they are passed on whole.
    transactions: Option<Transactions>,
    /// A record that waits for a schema of the registry or of the shapes' topic.
    stuck: Option<OwnedMessage>,
    /// Topics whose held records may go on.
    released: Vec<usize>,
    /// A look for records that is under way.
    probing: Option<JoinHandle<Result<Emptied>>>,
    /// The topic of shapes while it is read on.
    fetching: Option<Read>,
    /// When the pipeline was last told of anything.
    pub(crate) told_at: Instant,
    /// Topics that a control event names and the broker does not know, and since when.
    absent: BTreeMap<String, Instant>,
    /// What the agents wait for that share the topics.
    barrier: Barrier,
    /// Whether rows of snapshots are to say where their records lie.
    pub(crate) with_origins: bool,
}

impl Reading {
    /// Connects; nothing is read yet.
    pub(crate) async fn open(
        kafka: &KafkaSourceConfig,
        selection: TableSelection,
        secrets: &Arc<dyn SecretStore>,
        resume: Offsets,
        barrier: Barrier,
    ) -> Result<Self> {
        let cluster = &kafka.cluster;
        let brokers = &cluster.bootstrap_servers;
        let mut config = client_config(cluster, &**secrets, &kafka.group_id)?;
        config.set("isolation.level", "read_committed");
        config.set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false");
        config.set("auto.offset.reset", "error");
        let lookup = Lookup::committed(config.clone(), brokers)?;
        let is_whole = matches!(&kafka.topics, KafkaTopics::Own(own) if own.transactions);
        let probe = Probe::new(config.clone(), brokers)?;
        for (name, value) in [
            ("fetch.wait.max.ms", "100"),
            ("queued.max.messages.kbytes", "8192"),
            ("queued.min.messages", "20000"),
            // Once the queue was full, librdkafka waits a second by default before it fetches on.
            ("fetch.queue.backoff.ms", "5"),
        ] {
            if !cluster.properties.contains_key(name) {
                config.set(name, value);
            }
        }
        if is_whole && !cluster.properties.contains_key("max.partition.fetch.bytes") {
            // Partitions that come in small pieces need not wait long for each other.
            config.set("max.partition.fetch.bytes", "262144");
        }
        config.set("group.id", &kafka.group_id);
        let context = Context::new(brokers);
        let mut consumer: BaseConsumer<Context> =
            BaseConsumer::from_config_and_context(&config, context)
                .map_err(|error| Context::new(brokers).error("making a consumer", error))?;
        let signal = Arc::new(Notify::new());
        let notify = Arc::clone(&signal);
        consumer.set_nonempty_callback(move || notify.notify_one());
        let name = match &kafka.topics {
            KafkaTopics::Own(own) => &own.source,
            KafkaTopics::Foreign(_) => &kafka.group_id,
        };
        let codec = codec(&kafka.format, kafka.envelope, name, secrets)?;
        // A broker that can't be reached is to be told here, not by silence.
        lookup.brokers().await?;
        Ok(Self {
            consumer: Arc::new(consumer),
            signal,
            events: Vec::new(),
            size_bytes: 0,
            newest: None,
            goals: Vec::new(),
            moved: false,
            discovered_at: Instant::now(),
            lookup,
            probe,
            codec,
            selection,
            shapes: Shapes::default(),
            topics: ReadTopics::default(),
            resume,
            controls: None,
            transactions: None,
            stuck: None,
            released: Vec::new(),
            probing: None,
            fetching: None,
            told_at: Instant::now(),
            absent: BTreeMap::new(),
            barrier,
            with_origins: false,
        })
    }

    pub(crate) fn error(&self, doing: &str, error: KafkaError) -> Error {
        self.consumer.context().error(doing, error)
    }

    /// Reads what Sluice says of a source's tables, and begins with their topics.
    pub(crate) async fn begin_own(&mut self, own: &OwnTopics) -> Result<()> {
        let (schemas_topic, topic) = (own.schemas(), own.control());
        if self.lookup.partitions(&topic).await?.is_none() {
            let message = format!("topic {topic} does not exist");
            return Err(Error::new(Reason::Unavailable, message)
                .with_hint("the agent of the source makes it; see whether it runs"));
        }
        let schemas = self.lookup.begin_read(&schemas_topic, 0);
        let controls = self.lookup.begin_read(&topic, 0);
        let (records, schemas_next) = finished(schemas.await)?;
        for record in &records {
            self.shapes
                .take(record.key.as_deref(), record.value.as_deref());
        }
        let (records, end) = finished(controls.await)?;
        let begin = self.resume.get(&(topic.clone(), 0)).copied().unwrap_or(0);
        let mut controls = Controls::new(topic.clone(), schemas_topic, schemas_next, begin);
        let mut names = Vec::new();
        for record in records {
            let control = parse(&topic, record.value.as_deref())?;
            names.extend(self.topics_of(&control));
            controls.take(record.offset, control, &self.shapes);
        }
        controls.read_until(end);
        let numbers = controls.numbers.clone();
        self.controls = Some(controls);
        self.assign(&[(topic, 0, Offset::Offset(end))])?;
        if own.transactions {
            self.begin_transactions(own).await?;
        }
        names.sort_unstable();
        names.dedup();
        for name in names {
            self.read_topic(&name, numbers.get(&name).copied().unwrap_or(0))
                .await?;
        }
        Ok(())
    }

    /// Begins with topics that match and are not read yet.
    pub(crate) async fn discover(&mut self, patterns: &[String]) -> Result<()> {
        self.discovered_at = Instant::now();
        let topics = self.lookup.topics().await?;
        for name in topics.keys() {
            let wanted = patterns.iter().any(|pattern| matches(pattern, name));
            if wanted && !self.topics.has(name) {
                self.read_topic(name, 0).await?;
            }
        }
        Ok(())
    }

    /// Begins to read a topic; one that does not exist holds nothing.
    /// Answers whether it exists.
    async fn read_topic(&mut self, name: &str, control: u64) -> Result<bool> {
        if self.topics.has(name) {
            return Ok(true);
        }
        let Some(count) = self.lookup.partitions(name).await? else {
            return Ok(false);
        };
        let (consumer, topic) = (Arc::clone(&self.consumer), name.to_owned());
        let met = blocking(move || Ok(meet(&consumer, &topic))).await?;
        met.map_err(|error| self.error("asking for a topic", error))?;
        // From here on nothing waits: a call that is dropped would leave the topic unread.
        let mut partitions = Vec::new();
        let mut places = Vec::new();
        let mut is_known = false;
        for number in 0..count {
            let from = self.resume.get(&(name.to_owned(), number)).copied();
            is_known |= from.is_some_and(|from| from > 0);
            let is_elsewhere = !self.barrier.has(name, number);
            let offset = match from {
                Some(from) if from > 0 => Offset::Offset(from),
                _ => Offset::Beginning,
            };
            if !is_elsewhere {
                places.push((name.to_owned(), number, offset));
            }
            let place = Place::of(name, number);
            partitions.push(Partition::new(place, from.unwrap_or(0), is_elsewhere));
        }
        self.topics.insert(Topic {
            name: name.into(),
            partitions,
            reader: self.codec.reader(name),
            control,
            seen: Vec::new(),
            is_known,
            is_read: false,
            unreadable: 0,
        });
        self.share_out();
        self.assign(&places)?;
        Ok(true)
    }

    fn assign(&self, places: &[(String, i32, Offset)]) -> Result<()> {
        let doing = "beginning to read";
        let mut list = TopicPartitionList::with_capacity(places.len());
        for (topic, partition, offset) in places {
            list.add_partition_offset(topic, *partition, *offset)
                .map_err(|error| self.error(doing, error))?;
        }
        self.consumer
            .incremental_assign(&list)
            .map_err(|error| self.error(doing, error))
    }

    /// The next offset of every partition, and of the control topic.
    pub(crate) fn position(&self) -> LogPosition {
        let mut offsets = self.resume.clone();
        for (topic, number, partition) in self.topics.own_partitions() {
            // Others wait for the place; that no record lies before it is as good as having passed one.
            let place = if self.barrier.is_shared() {
                partition.passed()
            } else {
                partition.next
            };
            offsets.insert((topic.to_string(), number), place);
        }
        if let Some(controls) = &self.controls {
            offsets.insert((controls.topic.clone(), 0), controls.next);
        }
        if let Some(transactions) = &self.transactions {
            let place = transactions.order.place();
            offsets.insert((transactions.topic.clone(), 0), place);
        }
        LogPosition::Offsets(offsets)
    }

    /// How many offsets are passed, over all partitions. While a control event waits, that is not the
    /// end, whatever the partitions say.
    pub(crate) fn passed(&self) -> u128 {
        let partitions = self.topics.own_partitions();
        let passed = partitions.map(|(_, _, partition)| partition.passed().max(0) as u128);
        let passed = passed.sum::<u128>();
        let Some(controls) = &self.controls else {
            return passed;
        };
        let waits = u128::from(!controls.pending.is_empty());
        (passed + controls.read_until.max(0) as u128).saturating_sub(waits)
    }

    /// Names what the sums of offsets are of: of other topics they do not compare.
    pub(crate) fn measure(&self) -> Arc<str> {
        format!("kafka {}", self.topics.count()).into()
    }

    /// Whether others may wait for this agent's position.
    pub(crate) fn is_awaited(&self) -> bool {
        let waits = |controls: &Controls| !controls.pending.is_empty();
        self.barrier.is_shared() && self.controls.as_ref().is_some_and(waits)
    }

    /// Whether this agent says how far the group is in a partition.
    pub(crate) fn answers_for(&self, topic: &str, partition: i32) -> bool {
        match &self.controls {
            Some(controls) if controls.topic == topic => self.barrier.is_leader(),
            _ => self.barrier.has(topic, partition),
        }
    }

    /// The shapes of the selected tables, where the reading stands.
    pub(crate) fn tables(&self) -> Vec<Arc<TableSchema>> {
        let tables = self
            .controls
            .iter()
            .flat_map(|controls| controls.tables.values());
        tables
            .filter(|table| self.selection.contains(&table.id))
            .cloned()
            .collect()
    }

    /// Everything that the source committed before this moment was passed on.
    pub(crate) fn complete_until_micros(&self) -> Option<i64> {
        self.topics.complete_until_micros()
    }

    /// Takes what has come, up to a batch. A dropped call loses nothing.
    pub(crate) async fn take(&mut self) -> Result<()> {
        self.unstick().await?;
        loop {
            self.release().await?;
            self.take_new()?;
            if self.stuck.is_some() {
                self.unstick().await?;
                continue;
            }
            if self.is_full() {
                return Ok(());
            }
            if self.is_due() {
                continue;
            }
            if self.pass_controls().await? {
                self.advance();
                continue;
            }
            self.read_on()?;
            if !self.settle() {
                self.close();
                return Ok(());
            }
        }
    }

    fn is_full(&self) -> bool {
        let (records, size_bytes) = (self.events.len(), self.size_bytes);
        match &self.transactions {
            Some(transactions) => transactions.is_full(records, size_bytes),
            None => records >= BATCH_RECORDS_MAX || size_bytes >= BATCH_BYTES_MAX,
        }
    }

    /// Whether the source's transaction goes on behind what was taken.
    pub(crate) fn is_inside(&self) -> bool {
        let transactions = self.transactions.as_ref();
        transactions.is_some_and(|transactions| transactions.order.is_inside())
    }

    /// What was taken, if it can be handed on.
    pub(crate) fn hand_on(&mut self) -> Option<Vec<ChangeEvent>> {
        let waits = self.is_inside() && !self.is_full();
        if self.events.is_empty() || waits {
            return None;
        }
        self.size_bytes = 0;
        if let Some(transactions) = &mut self.transactions {
            transactions.handed_on();
        }
        Some(std::mem::take(&mut self.events))
    }

    /// Takes new records until there is none, the batch is full, or one is stuck.
    fn take_new(&mut self) -> Result<()> {
        let consumer = Arc::clone(&self.consumer);
        let mut records = 0;
        while !self.is_full()
            && records < BATCH_RECORDS_MAX
            && self.stuck.is_none()
            && !self.is_due()
        {
            let Some(polled) = consumer.poll(std::time::Duration::ZERO) else {
                return Ok(());
            };
            records += 1;
            let message = polled.map_err(|error| self.error("reading", error))?;
            if let Some(controls) = &mut self.controls
                && message.topic() == controls.topic
            {
                let control = parse(&controls.topic, message.payload())?;
                controls.pending.push_back((message.offset(), control));
                controls.read_until(message.offset() + 1);
                continue;
            }
            let Some(index) = self.topics.find(message.topic()) else {
                if self.is_bound(message.topic()) {
                    self.take_bound(&message)?;
                }
                continue;
            };
            let number = message.partition() as usize;
            let partition = &self.topics.get(index).partitions[number];
            if !partition.held.is_empty() {
                self.hold(index, number, message.detach())?;
                continue;
            }
            match self.record(index, &message)? {
                Taken::Done => {}
                Taken::Stuck => self.stuck = Some(message.detach()),
                Taken::Held => self.hold(index, number, message.detach())?,
            }
        }
        Ok(())
    }

    /// Keeps a record that waits; pauses a partition that holds more than its share.
    fn hold(&mut self, index: usize, number: usize, message: OwnedMessage) -> Result<()> {
        let share = self.share();
        let partition = &mut self.topics.get_mut(index).partitions[number];
        if partition.held.is_empty() {
            partition.empty_until = partition.empty_until.max(message.offset());
        }
        partition.held_bytes += size_of(&message);
        partition.held.push_back(message);
        if partition.held_bytes > share && !partition.is_paused {
            partition.is_paused = true;
            let name = Arc::clone(&self.topics.get(index).name);
            self.pause(&name, number as i32, true)?;
        }
        Ok(())
    }

    fn pause(&self, topic: &str, partition: i32, pause: bool) -> Result<()> {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition(topic, partition);
        let done = if pause {
            self.consumer.pause(&list)
        } else {
            self.consumer.resume(&list)
        };
        done.map_err(|error| self.error("holding a partition", error))
    }

    /// Takes records whose wait is over.
    async fn release(&mut self) -> Result<()> {
        while let Some(&index) = self.released.last() {
            for number in 0..self.topics.get(index).partitions.len() {
                while !self.drain(index, number)? {
                    self.unstick().await?;
                }
            }
            self.released.pop();
        }
        while !self.is_full()
            && let Some((index, number)) = self.next_due()
        {
            while !self.drain(index, number)? {
                self.unstick().await?;
            }
        }
        Ok(())
    }

    /// Takes a partition's held records as far as they may go on now; `false` when one is stuck.
    fn drain(&mut self, index: usize, number: usize) -> Result<bool> {
        loop {
            let is_full = self.transactions.is_some() && self.is_full();
            let partition = &mut self.topics.get_mut(index).partitions[number];
            let Some(message) = partition.held.pop_front() else {
                break;
            };
            if is_full {
                partition.held.push_front(message);
                self.wait_for_room(index, number);
                break;
            }
            let size = size_of(&message);
            let taken = self.record(index, &message)?;
            let partition = &mut self.topics.get_mut(index).partitions[number];
            if matches!(taken, Taken::Held) {
                partition.empty_until = partition.empty_until.max(message.offset());
                partition.held.push_front(message);
                break;
            }
            partition.held_bytes -= size;
            if matches!(taken, Taken::Stuck) {
                // In one place only: the wait for what it lacks may be broken off.
                self.stuck = Some(message);
                self.wait_for_room(index, number);
                return Ok(false);
            }
        }
        self.resume_fetching(index, number)?;
        Ok(true)
    }

    /// Fetches a paused partition again once it holds little.
    fn resume_fetching(&mut self, index: usize, number: usize) -> Result<()> {
        let share = self.share();
        let topic = self.topics.get_mut(index);
        let partition = &mut topic.partitions[number];
        if !partition.is_paused || partition.held_bytes > share / 2 {
            return Ok(());
        }
        partition.is_paused = false;
        let name = Arc::clone(&topic.name);
        self.pause(&name, number as i32, false)
    }
}
