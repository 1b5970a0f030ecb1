//! Records to events, and control events in between.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use futures_util::FutureExt as _;
use rdkafka::{
    Message, Offset, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::{Headers, OwnedMessage},
};
use sluice_agent_api::{
    SecretStore,
    kafka::{KafkaSourceConfig, KafkaTopics, OwnTopics},
};
use sluice_avro::{Codec, Decoded, Operation};
use sluice_core::{
    ChangeEvent, Error, LogPosition, Reason, Result, RowChange, RowOperation, SchemaChange,
    SnapshotChunk, TableId, TableSchema, TableSelection, Transaction, event::ChunkMode,
    selection::matches,
};
use tokio::{
    sync::Notify,
    task::{JoinHandle, spawn_blocking},
    time::Instant,
};

use crate::{
    barrier::Barrier,
    connect::{Context, client_config},
    control::{Control, What, shape_after},
    format::codec,
    header::{self, Header, Kind},
    lookup::{Lookup, Read, finished},
    probe::{Probe, Range},
    schemas::{Fingerprint, Shapes},
    topic::{Partition, ReadTopics, Topic},
};

/// How much one batch takes, about.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// How many records one batch takes.
const BATCH_RECORDS_MAX: usize = 20_000;

/// Offsets to begin at.
type Offsets = BTreeMap<(String, i32), i64>;

/// What is known of the control topic.
struct Controls {
    topic: String,
    schemas_topic: String,
    /// Where the shapes' topic is to be read on.
    schemas_next: i64,
    /// Events that were read and not passed on, with their offsets.
    pending: VecDeque<(i64, Control)>,
    /// The offset behind the last event that was passed on.
    next: i64,
    /// Each table's shape there.
    tables: BTreeMap<TableId, Arc<TableSchema>>,
}

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
    /// A record that waits for a schema of the registry or of the shapes' topic.
    stuck: Option<OwnedMessage>,
    /// Topics whose held records may go on.
    released: Vec<usize>,
    /// A look for records that is under way.
    probing: Option<JoinHandle<Result<Vec<(String, i32, i64)>>>>,
    /// The topic of shapes while it is read on.
    fetching: Option<Read>,
    /// When the pipeline was last told of anything.
    pub(crate) told_at: Instant,
    /// What the agents wait for that share the topics.
    barrier: Barrier,
}

/// What became of a record.
enum Taken {
    /// It is an event now, or nothing.
    Done,
    /// It waits for a control event.
    Held,
    /// It waits for a schema.
    Stuck,
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
        let probe = Probe::new(config.clone(), brokers)?;
        for (name, value) in [
            ("fetch.wait.max.ms", "100"),
            ("queued.max.messages.kbytes", "16384"),
            ("queued.min.messages", "50000"),
        ] {
            if !cluster.properties.contains_key(name) {
                config.set(name, value);
            }
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
            stuck: None,
            released: Vec::new(),
            probing: None,
            fetching: None,
            told_at: Instant::now(),
            barrier,
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
        let (records, schemas_next) = self.lookup.read(&schemas_topic, 0).await?;
        for record in &records {
            self.shapes
                .take(record.key.as_deref(), record.value.as_deref());
        }
        let (records, end) = self.lookup.read(&topic, 0).await?;
        let begin = self.resume.get(&(topic.clone(), 0)).copied().unwrap_or(0);
        let mut controls = Controls {
            topic: topic.clone(),
            schemas_topic,
            schemas_next,
            pending: VecDeque::new(),
            next: begin,
            tables: BTreeMap::new(),
        };
        let mut numbers = HashMap::new();
        let mut names = Vec::new();
        for record in records {
            let control = parse(&topic, record.value.as_deref())?;
            names.extend(self.topics_of(&control));
            if record.offset < begin {
                controls.note(&control, &self.shapes);
                note_number(&mut numbers, &control);
            } else {
                controls.pending.push_back((record.offset, control));
            }
        }
        self.controls = Some(controls);
        self.assign(&[(topic, 0, Offset::Offset(end))])?;
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

    /// The topics of an event's table, as far as it is selected.
    fn topics_of(&self, control: &Control) -> Vec<String> {
        let mut names = Vec::new();
        if self.selection.contains(&control.table) {
            names.push(control.topic.clone());
        }
        if let What::RenameTable { to, topic, .. } = &control.event
            && self.selection.contains(to)
        {
            names.push(topic.clone());
        }
        names
    }

    /// Begins to read a topic; one that does not exist holds nothing.
    async fn read_topic(&mut self, name: &str, control: u64) -> Result<()> {
        if self.topics.has(name) {
            return Ok(());
        }
        let Some(count) = self.lookup.partitions(name).await? else {
            return Ok(());
        };
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
            partitions.push(Partition {
                is_elsewhere,
                next: from.unwrap_or(0),
                ..Partition::default()
            });
        }
        self.topics.insert(Topic {
            name: name.into(),
            partitions,
            reader: self.codec.reader(name),
            control,
            seen: Vec::new(),
            is_known,
        });
        self.assign(&places)
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
        LogPosition::Offsets(offsets)
    }

    /// How many offsets are passed, over all partitions. While a control event waits, that is not the
    /// end, whatever the partitions say.
    pub(crate) fn passed(&self) -> u128 {
        let partitions = self.topics.own_partitions();
        let passed = partitions.map(|(_, _, partition)| partition.passed().max(0) as u128);
        let waits = self
            .controls
            .as_ref()
            .is_some_and(|controls| !controls.pending.is_empty());
        passed.sum::<u128>().saturating_sub(u128::from(waits))
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

    /// Asks where the partitions end; answers with the sum of the offsets.
    pub(crate) async fn ask_ends(&mut self) -> Result<u128> {
        let ends = self.ends().await?;
        for ((name, number), end) in &ends {
            self.topics.set_end(name, *number, *end);
        }
        let sum = ends.values().map(|end| (*end).max(0) as u128).sum();
        self.goals = ends.into_iter().collect();
        Ok(sum)
    }

    async fn ends(&self) -> Result<BTreeMap<(String, i32), i64>> {
        let partitions = self.topics.own_partitions();
        let places = partitions.map(|(topic, number, _)| (topic.to_string(), number));
        self.lookup.ends_of(places.collect()).await
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
            if self.is_full() || !self.pass_controls().await? {
                return Ok(());
            }
        }
    }

    fn is_full(&self) -> bool {
        self.events.len() >= BATCH_RECORDS_MAX || self.size_bytes >= BATCH_BYTES_MAX
    }

    /// Takes new records until there is none, the batch is full, or one is stuck.
    fn take_new(&mut self) -> Result<()> {
        let consumer = Arc::clone(&self.consumer);
        let mut records = 0;
        while !self.is_full() && records < BATCH_RECORDS_MAX && self.stuck.is_none() {
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
                continue;
            }
            let Some(index) = self.topics.find(message.topic()) else {
                continue;
            };
            let number = message.partition() as usize;
            let partition = &mut self.topics.get_mut(index).partitions[number];
            if !partition.held.is_empty() {
                partition.held.push_back(message.detach());
                continue;
            }
            match self.record(index, &message)? {
                Taken::Done => {}
                Taken::Stuck => self.stuck = Some(message.detach()),
                Taken::Held => {
                    let partition = &mut self.topics.get_mut(index).partitions[number];
                    partition.empty_until = partition.empty_until.max(message.offset());
                    partition.held.push_back(message.detach());
                    self.pause(index, number, true)?;
                }
            }
        }
        Ok(())
    }

    fn pause(&self, index: usize, number: usize, pause: bool) -> Result<()> {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition(&self.topics.get(index).name, number as i32);
        let done = if pause {
            self.consumer.pause(&list)
        } else {
            self.consumer.resume(&list)
        };
        done.map_err(|error| self.error("holding a partition", error))
    }

    /// Takes records that waited for a control event.
    async fn release(&mut self) -> Result<()> {
        while let Some(&index) = self.released.last() {
            for number in 0..self.topics.get(index).partitions.len() {
                while let Some(message) = self.front(index, number) {
                    match self.record(index, &message)? {
                        Taken::Done => {}
                        Taken::Held => break,
                        Taken::Stuck => {
                            self.stuck = Some(message);
                            self.unstick().await?;
                        }
                    }
                    let partition = &mut self.topics.get_mut(index).partitions[number];
                    partition.held.pop_front();
                    if partition.held.is_empty() {
                        self.pause(index, number, false)?;
                    }
                }
            }
            self.released.pop();
        }
        Ok(())
    }

    fn front(&self, index: usize, number: usize) -> Option<OwnedMessage> {
        let partition = &self.topics.get(index).partitions[number];
        partition.held.front().cloned()
    }

    /// Makes an event of a record, if nothing is missing for it.
    fn record<M: Message>(&mut self, index: usize, message: &M) -> Result<Taken> {
        let (said, lost) = headers(message);
        let said = said.and_then(Header::parse);
        let mut known = None;
        if let Some(said) = &said {
            if said.control > self.topics.get(index).control && self.controls.is_some() {
                return Ok(Taken::Held);
            }
            known = self.shapes.get(said.shape).cloned();
            if known.is_none() && self.controls.is_some() {
                return Ok(Taken::Stuck);
            }
        }
        let is_tombstone = said
            .as_ref()
            .is_some_and(|said| said.kind == Kind::Tombstone);
        let mut decoded = None;
        if !is_tombstone {
            let reader = &mut self.topics.get_mut(index).reader;
            let decoding = reader.decode(message.key(), message.payload(), known.as_ref(), lost);
            match decoding.now_or_never() {
                Some(done) => decoded = done.map_err(|error| placed(error, message))?,
                None => return Ok(Taken::Stuck),
            }
        }
        self.pass_on(index, message, said, decoded);
        Ok(Taken::Done)
    }

    /// Waits for what a record lacks, and takes it. The record stays until then.
    async fn unstick(&mut self) -> Result<()> {
        let Some(message) = self.stuck.clone() else {
            return Ok(());
        };
        let Some(index) = self.topics.find(message.topic()) else {
            self.stuck = None;
            return Ok(());
        };
        let (text, lost) = headers(&message);
        let said = text.and_then(Header::parse);
        let known = match &said {
            Some(said) if self.controls.is_some() => Some(self.shape(said.shape).await?),
            _ => None,
        };
        let reader = &mut self.topics.get_mut(index).reader;
        let decoded = reader
            .decode(message.key(), message.payload(), known.as_ref(), lost)
            .await
            .map_err(|error| placed(error, &message))?;
        self.stuck = None;
        self.pass_on(index, &message, said, decoded);
        Ok(())
    }

    /// A shape; it was written with or before the first record that has it.
    async fn shape(&mut self, shape: Fingerprint) -> Result<Arc<TableSchema>> {
        if let Some(known) = self.shapes.get(shape) {
            return Ok(Arc::clone(known));
        }
        let missing = || {
            Error::new(
                Reason::DecodeFailed,
                format!("the shape {shape} of a record is not in the topic of shapes"),
            )
            .with_hint("the topic of shapes was cut off or belongs to another capture")
        };
        let controls = self.controls.as_mut().ok_or_else(missing)?;
        // The pipeline may drop the call any time: what was begun goes on then.
        let topic = &controls.schemas_topic;
        let from = controls.schemas_next;
        let begin = || self.lookup.begin_read(topic, from);
        let read = self.fetching.get_or_insert_with(begin).await;
        self.fetching = None;
        let (records, next) = finished(read)?;
        for record in &records {
            self.shapes
                .take(record.key.as_deref(), record.value.as_deref());
        }
        controls.schemas_next = next;
        self.shapes.get(shape).cloned().ok_or_else(missing)
    }

    /// Adds a record's event and moves the position behind it.
    fn pass_on<M: Message>(
        &mut self,
        index: usize,
        message: &M,
        said: Option<Header<'_>>,
        decoded: Option<Decoded>,
    ) {
        let topic = self.topics.get_mut(index);
        topic.partitions[message.partition() as usize].next = message.offset() + 1;
        let Some(decoded) = decoded else {
            return;
        };
        if said.is_none() && !self.selection.contains(&decoded.table.id) {
            return;
        }
        if said.is_none()
            && let Some(change) = seen(topic, &decoded.table)
        {
            self.events.push(ChangeEvent::Schema(change));
        }
        let time = match decoded.ts_ms {
            0 => message.timestamp().to_millis().unwrap_or(0),
            known => known,
        };
        let kind = said
            .as_ref()
            .map_or_else(|| kind_of(decoded.op), |said| said.kind);
        let transaction = said.as_ref().and_then(|said| said.transaction);
        let (id, ordinal) =
            transaction.unwrap_or_else(|| (decoded.transaction.as_deref().unwrap_or_default(), 0));
        let partition = &mut topic.partitions[message.partition() as usize];
        partition.newest_micros = partition.newest_micros.max(time * 1000);
        let transaction = transaction_of(&mut self.newest, id, time * 1000);
        let table = decoded.table;
        let operation = match (kind, decoded.before, decoded.after) {
            (Kind::Append, _, Some(after)) => {
                self.size_bytes += after.size_bytes();
                return add_row(&mut self.events, table, after, ChunkMode::Append);
            }
            (Kind::Upsert, _, Some(after)) => {
                self.size_bytes += after.size_bytes();
                return add_row(&mut self.events, table, after, ChunkMode::Upsert);
            }
            (Kind::Delete, Some(before), _) => RowOperation::Delete { before },
            (Kind::Update, Some(before), Some(after)) => RowOperation::Update { before, after },
            (_, _, Some(after)) => RowOperation::Insert { after },
            _ => return,
        };
        let event = ChangeEvent::Row(RowChange {
            table,
            operation,
            transaction,
            ordinal,
        });
        self.size_bytes += event.size_bytes();
        self.events.push(event);
    }

    /// Passes control events on as far as everything before them is; answers whether there was one.
    async fn pass_controls(&mut self) -> Result<bool> {
        let mut passed = false;
        while let Some((offset, control)) = self.next_control() {
            for name in self.topics_of(&control) {
                self.read_topic(&name, 0).await?;
            }
            if !self.is_next(offset, &control) {
                if self.look().await? || self.barrier.ask().await? {
                    continue;
                }
                return Ok(passed);
            }
            if let Some(shape) = control.event.shape() {
                self.shape(shape).await?;
            }
            let selected = !self.topics_of(&control).is_empty();
            let event = control.to_event(&self.shapes);
            if let Some(event) = event.filter(|_| selected) {
                self.events.push(event);
            }
            let Some(controls) = &mut self.controls else {
                return Ok(passed);
            };
            controls.note(&control, &self.shapes);
            controls.pending.pop_front();
            controls.next = offset + 1;
            self.moved = true;
            passed = true;
            let mut numbers = HashMap::new();
            note_number(&mut numbers, &control);
            for (name, number) in numbers {
                if let Some(index) = self.topics.find(&name) {
                    self.topics.get_mut(index).control = number;
                    self.released.push(index);
                }
            }
            if !self.released.is_empty() {
                return Ok(true);
            }
        }
        Ok(passed)
    }

    fn next_control(&self) -> Option<(i64, Control)> {
        self.controls.as_ref()?.pending.front().cloned()
    }

    fn is_next(&self, offset: i64, control: &Control) -> bool {
        let mut behind = vec![(&*control.topic, &control.offsets)];
        if let What::RenameTable { topic, offsets, .. } = &control.event {
            behind.push((topic, offsets));
        }
        // Nobody reads the others.
        behind.retain(|(topic, _)| self.topics.has(topic));
        let mut own = behind.iter();
        let topic = self
            .controls
            .as_ref()
            .map_or("", |controls| &controls.topic);
        own.all(|(topic, offsets)| self.topics.has_passed(topic, offsets))
            && (behind.is_empty() || self.barrier.lets_pass((topic, offset), &behind))
    }

    /// Looks whether records lie between here and where a control event or the end of the log waits.
    /// Answers whether it is further than it seemed. Never waits: a look goes on while records are
    /// taken, and also when the call that began it was dropped.
    pub(crate) async fn look(&mut self) -> Result<bool> {
        let Some(mut probing) = self.probing.take() else {
            let ranges = self.unclear();
            if !ranges.is_empty() {
                let probe = self.probe.clone();
                self.probing = Some(spawn_blocking(move || probe.empty(ranges)));
            }
            return Ok(false);
        };
        if !probing.is_finished() {
            self.probing = Some(probing);
            return Ok(false);
        }
        let empty = (&mut probing).await.map_err(|error| {
            Error::new(Reason::Internal, "a look at the topics broke off").with_source(error)
        })??;
        let further = !empty.is_empty();
        for (name, number, offset) in empty {
            self.topics.set_empty_until(&name, number, offset);
        }
        self.moved |= further;
        Ok(further)
    }

    /// Ranges before a control event or the end of the log in which no record was seen.
    fn unclear(&mut self) -> BTreeMap<String, Vec<Range>> {
        let mut ranges: BTreeMap<String, Vec<Range>> = BTreeMap::new();
        if let Some((_, control)) = self.next_control() {
            let own = self.topics.behind(&control.topic, &control.offsets);
            ranges.insert(control.topic.clone(), own.collect());
            if let What::RenameTable { topic, offsets, .. } = &control.event {
                let others = self.topics.behind(topic, offsets);
                ranges.insert(topic.clone(), others.collect());
            }
        }
        for ((name, number), end) in std::mem::take(&mut self.goals) {
            let goal = BTreeMap::from([(number, end)]);
            let behind: Vec<Range> = self.topics.behind(&name, &goal).collect();
            let known = ranges.entry(name).or_default();
            let is_new = |range: &Range| known.iter().all(|known| known.0 != range.0);
            let new: Vec<Range> = behind.into_iter().filter(is_new).collect();
            known.extend(new);
        }
        ranges.retain(|_, ranges| !ranges.is_empty());
        ranges
    }
}

impl Controls {
    /// Takes note of an event's effect on the shapes.
    fn note(&mut self, control: &Control, shapes: &Shapes) {
        let after = shape_after(self.tables.get(&control.table), control, shapes);
        self.tables.remove(&control.table);
        if let Some(after) = after {
            self.tables.insert(after.id.clone(), after);
        }
    }
}

fn parse(topic: &str, value: Option<&[u8]>) -> Result<Control> {
    serde_json::from_slice(value.unwrap_or_default()).map_err(|error| {
        let message = format!("a record of topic {topic} is no control event of this version");
        Error::new(Reason::DecodeFailed, message)
            .with_hint("run agents of one version, the readers' first")
            .with_source(error)
    })
}

/// The numbers that records carry after an event, by topic.
fn note_number(numbers: &mut HashMap<String, u64>, control: &Control) {
    numbers.insert(control.topic.clone(), control.number);
    if let What::RenameTable { topic, number, .. } = &control.event {
        numbers.insert(topic.clone(), *number);
    }
}

/// What Sluice says about a record, and what the format could not say.
fn headers<M: Message>(message: &M) -> (Option<&[u8]>, Option<&str>) {
    let (mut said, mut lost) = (None, None);
    if let Some(headers) = message.headers() {
        for header in headers.iter() {
            match header.key {
                header::NAME => said = header.value,
                header::LOST => {
                    lost = header
                        .value
                        .and_then(|value| std::str::from_utf8(value).ok());
                }
                _ => {}
            }
        }
    }
    (said, lost)
}

/// Adds where a record lies to an error about it.
fn placed<M: Message>(error: Error, message: &M) -> Error {
    let place = format!(
        "topic {}, partition {}, offset {}: {}",
        message.topic(),
        message.partition(),
        message.offset(),
        error.message()
    );
    let mut told = Error::new(error.reason(), place);
    if let Some(hint) = error.hint() {
        told = told.with_hint(hint);
    }
    if let Some(table) = error.table() {
        told = told.with_table(table.clone());
    }
    told.with_source(error)
}

/// What is to be told of the shape of a record that another capture wrote. Records of several
/// partitions may have an older shape for a while: what was told once is not told again.
fn seen(topic: &mut Topic, table: &Arc<TableSchema>) -> Option<SchemaChange> {
    if topic
        .seen
        .last()
        .is_some_and(|last| Arc::ptr_eq(last, table))
        || topic.seen.contains(table)
    {
        return None;
    }
    let is_first = topic.seen.is_empty() && !topic.is_known;
    topic.seen.push(Arc::clone(table));
    let table = Arc::clone(table);
    Some(if is_first {
        SchemaChange::Create(table)
    } else {
        SchemaChange::Alter(table)
    })
}

fn kind_of(operation: Operation) -> Kind {
    match operation {
        Operation::Create => Kind::Create,
        Operation::Update => Kind::Update,
        Operation::Delete => Kind::Delete,
        Operation::Read => Kind::Upsert,
    }
}

/// The transaction of a record, shared with the record before if it is the same.
fn transaction_of(
    newest: &mut Option<Arc<Transaction>>,
    id: &str,
    commit_time_micros: i64,
) -> Arc<Transaction> {
    match newest {
        Some(known) if known.id == id && known.commit_time_micros == commit_time_micros => {
            Arc::clone(known)
        }
        newest => Arc::clone(newest.insert(Arc::new(Transaction {
            id: id.to_owned(),
            commit_time_micros,
            start_offset: 0,
        }))),
    }
}

/// Adds a row to the chunk at the end, or begins one.
fn add_row(
    events: &mut Vec<ChangeEvent>,
    table: Arc<TableSchema>,
    row: sluice_core::Row,
    mode: ChunkMode,
) {
    if let Some(ChangeEvent::Chunk(chunk)) = events.last_mut()
        && chunk.mode == mode
        && Arc::ptr_eq(&chunk.table, &table)
    {
        chunk.rows.push(row);
        return;
    }
    events.push(ChangeEvent::Chunk(SnapshotChunk {
        table,
        rows: vec![row],
        mode,
    }));
}
