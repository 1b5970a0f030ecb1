//! What is no row, in its place among the rows.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use sluice_core::{Error, Reason, Result, TableId, TableSchema};
use tokio::time::Instant;

use crate::{
    control::{Control, What, shape_after},
    schemas::Shapes,
};

use super::{Reading, order::Turn};

/// Within which time each broker knows of a topic that was made.
const HEARD_WITHIN: Duration = Duration::from_secs(10);

/// What is known of the control topic.
pub(super) struct Controls {
    pub(super) topic: String,
    pub(super) schemas_topic: String,
    /// Where the shapes' topic is to be read on.
    pub(super) schemas_next: i64,
    /// Events that were read and not passed on, with their offsets.
    pub(super) pending: VecDeque<(i64, Control)>,
    /// The offset behind the last event that was passed on.
    pub(super) next: i64,
    /// Every event before this offset was read, if not passed on.
    pub(super) read_until: i64,
    /// Each table's shape there.
    pub(super) tables: BTreeMap<TableId, Arc<TableSchema>>,
    /// The numbers that records carried after the events that were passed on before the start, by topic.
    pub(super) numbers: HashMap<String, u64>,
    /// The number of each topic's last event that was passed on, before the start or since, whether the
    /// topic is read or not.
    passed: HashMap<String, u64>,
    /// The sum of these.
    pub(super) sum: u64,
}

impl Reading {
    /// The topics of an event's table, as far as it is selected.
    pub(super) fn topics_of(&self, control: &Control) -> Vec<String> {
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

    /// Passes control events on as far as everything before them is; answers whether there was one.
    pub(super) async fn pass_controls(&mut self) -> Result<bool> {
        let mut passed = false;
        while let Some((offset, control)) = self.next_control() {
            for name in self.topics_of(&control) {
                if !self.read_topic(&name, 0).await? && !self.is_gone(name) {
                    return Ok(passed);
                }
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

    /// Whether a topic that is not there has been deleted. The topic of a new table was made a moment
    /// before its event was written: a broker may not have heard of it.
    fn is_gone(&mut self, topic: String) -> bool {
        let since = self.absent.entry(topic).or_insert_with(Instant::now);
        since.elapsed() >= HEARD_WITHIN
    }

    pub(super) fn next_control(&self) -> Option<(i64, Control)> {
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
        let is_early = self
            .transactions
            .as_ref()
            .is_some_and(|known| !known.order.allows(Turn::before(control.transaction)));
        !is_early
            && own.all(|(topic, offsets)| self.topics.has_passed(topic, offsets))
            && (behind.is_empty() || self.barrier.lets_pass((topic, offset), &behind))
    }
}

impl Controls {
    /// The control topic, read from `next` on.
    pub(super) fn new(topic: String, schemas_topic: String, schemas_next: i64, next: i64) -> Self {
        Self {
            topic,
            schemas_topic,
            schemas_next,
            pending: VecDeque::new(),
            next,
            read_until: next,
            tables: BTreeMap::new(),
            numbers: HashMap::new(),
            passed: HashMap::new(),
            sum: 0,
        }
    }

    /// Takes an event that is there at the start: it is done, or still to come.
    pub(super) fn take(&mut self, offset: i64, control: Control, shapes: &Shapes) {
        if offset < self.next {
            self.note(&control, shapes);
            note_number(&mut self.numbers, &control);
        } else {
            self.pending.push_back((offset, control));
        }
    }

    /// Notes that every event before this offset was read.
    pub(super) fn read_until(&mut self, offset: i64) {
        self.read_until = self.read_until.max(offset);
    }

    /// Takes note of an event's effect on the shapes.
    fn note(&mut self, control: &Control, shapes: &Shapes) {
        note_number(&mut self.passed, control);
        self.sum = self.passed.values().sum();
        let after = shape_after(self.tables.get(&control.table), control, shapes);
        self.tables.remove(&control.table);
        if let Some(after) = after {
            self.tables.insert(after.id.clone(), after);
        }
    }
}

pub(super) fn parse(topic: &str, value: Option<&[u8]>) -> Result<Control> {
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
