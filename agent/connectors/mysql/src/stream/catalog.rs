//! The tables as the stream knows them: what was last said about each, and what the catalog of the
//! server adds to it.
//!
//! The log's table maps are the truth about rows. `information_schema` knows more (defaults,
//! generated columns, keys made of unique indexes) but speaks of the present, while the stream is
//! in the past. So its knowledge is laid over a table map column by column, and after a statement
//! that changes a table a *refresh* reads the definition anew beside the stream. Once the stream
//! has passed the place where the refresh was made, without another such statement, the loaded
//! definition is the table's definition right here, and it is announced even if no row comes.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use sluice_core::{ColumnType, Result, SchemaChange, TableId, TableSchema, Watermark};
use tokio::task::JoinSet;

use crate::side::{LoadedTable, Side};

/// How often a refresh is tried before the table maps alone have to do.
const REFRESH_ATTEMPTS_MAX: u32 = 5;

/// What is known about the selected tables.
pub(crate) struct Catalog {
    tables: HashMap<TableId, Entry>,
    /// Tables with a refresh, so that the others cost nothing.
    refreshing: HashSet<TableId>,
    /// Until the stream comes here, a table that nobody has heard of may be one that was there when
    /// the stream was resumed and is gone by now.
    resumed_until: Option<Watermark>,
    side: Arc<Side>,
    tasks: JoinSet<(TableId, u64, Result<LoadedTable>)>,
    next_refresh: u64,
    /// Counts up with every change, so that users know when to ask again.
    generation: u64,
}

#[derive(Default)]
struct Entry {
    /// What the server's catalog said last.
    rich: Option<Arc<TableSchema>>,
    announced: Announced,
    refresh: Option<Refresh>,
}

/// What those who follow the stream know of a table.
#[derive(Default)]
enum Announced {
    /// Nothing: it is new.
    #[default]
    Nothing,
    /// What it was at the position where the stream was resumed, which we do not know.
    Unsure,
    /// This, and rows have this shape.
    As(Arc<TableSchema>),
}

struct Refresh {
    number: u64,
    attempt: u32,
    loaded: Option<LoadedTable>,
}

/// What a table map means for the rows behind it.
#[derive(Debug)]
pub(crate) enum Resolved {
    /// Rows have this shape; announce the change first, if there is one.
    Ready(Arc<TableSchema>, Option<SchemaChange>),
    /// A refresh is under way whose answer is needed first.
    Wait,
}

impl Catalog {
    /// Knows the tables that were loaded when the stream was opened. When it was `resumed`, they were
    /// loaded at that place, and what they were at the stream's position is not known: each is
    /// announced before its first row, or when the stream comes to that place.
    pub(crate) fn new(
        side: Arc<Side>,
        tables: &[Arc<TableSchema>],
        resumed: Option<&Watermark>,
    ) -> Self {
        let entry = |table: &Arc<TableSchema>| {
            let schema = || Some(Arc::clone(table));
            let refresh = resumed.map(|at| Refresh {
                number: 0,
                attempt: 0,
                loaded: Some(LoadedTable {
                    schema: schema(),
                    at: at.clone(),
                }),
            });
            let announced = match &refresh {
                Some(_) => Announced::Unsure,
                None => Announced::As(Arc::clone(table)),
            };
            (
                table.id.clone(),
                Entry {
                    rich: schema(),
                    announced,
                    refresh,
                },
            )
        };
        let ids = tables.iter().map(|table| table.id.clone());
        Self {
            tables: tables.iter().map(entry).collect(),
            refreshing: ids.filter(|_| resumed.is_some()).collect(),
            resumed_until: resumed.cloned(),
            side,
            tasks: JoinSet::new(),
            next_refresh: 1,
            generation: 0,
        }
    }

    /// Changes whenever an earlier answer of [`resolve`](Self::resolve) may be out of date.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// The tables of a database that are known.
    pub(crate) fn tables_of(&self, database: &str) -> Vec<TableId> {
        let mut tables: Vec<_> = self
            .tables
            .keys()
            .filter(|table| &*table.schema == database)
            .cloned()
            .collect();
        tables.sort_unstable();
        tables
    }

    /// Finds the shape of the rows behind a table map.
    pub(crate) fn resolve(&mut self, mapped: &Arc<TableSchema>) -> Resolved {
        let is_refreshing = self.is_refreshing();
        let entry = self.entry(&mapped.id);
        let shape = overlay(mapped, entry.rich.as_deref());
        if let Announced::As(announced) = &entry.announced
            && announced.same_shape(&shape)
        {
            return Resolved::Ready(Arc::clone(announced), None);
        }
        // A definition that is new to us: its defaults matter to whoever applies it.
        match &entry.refresh {
            Some(refresh) if refresh.loaded.is_none() && is_refreshing => {
                return Resolved::Wait;
            }
            None if entry.rich.is_none() => {
                self.refresh(&mapped.id);
                return Resolved::Wait;
            }
            _ => {}
        }
        let entry = self.entry(&mapped.id);
        let loaded = entry
            .refresh
            .as_ref()
            .and_then(|refresh| refresh.loaded.as_ref());
        let rich = loaded
            .and_then(|loaded| loaded.schema.as_ref())
            .or(entry.rich.as_ref());
        let shape = overlay(mapped, rich.map(|rich| &**rich));
        let schema = match rich {
            Some(rich) if rich.same_shape(&shape) => Arc::clone(rich),
            _ => shape,
        };
        Resolved::Ready(Arc::clone(&schema), self.announce(schema))
    }

    /// Remembers a definition as announced and answers with the announcement.
    fn announce(&mut self, schema: Arc<TableSchema>) -> Option<SchemaChange> {
        let entry = self.entry(&schema.id);
        let change = match &entry.announced {
            Announced::As(announced) if **announced == *schema => return None,
            Announced::As(_) | Announced::Unsure => SchemaChange::Alter(Arc::clone(&schema)),
            Announced::Nothing => SchemaChange::Create(Arc::clone(&schema)),
        };
        entry.announced = Announced::As(schema);
        self.generation += 1;
        Some(change)
    }

    fn entry(&mut self, table: &TableId) -> &mut Entry {
        let announced = match self.resumed_until {
            Some(_) => Announced::Unsure,
            None => Announced::Nothing,
        };
        self.tables.entry(table.clone()).or_insert_with(|| Entry {
            announced,
            ..Entry::default()
        })
    }

    /// Forgets a table that was dropped or renamed out of the selection.
    pub(crate) fn forget(&mut self, table: &TableId) {
        self.tables.remove(table);
        self.refreshing.remove(table);
        self.generation += 1;
    }

    /// Forgets what was announced about a table, so that it is announced as new.
    pub(crate) fn forget_announced(&mut self, table: &TableId) {
        if let Some(entry) = self.tables.get_mut(table) {
            entry.announced = Announced::Nothing;
        }
        self.generation += 1;
    }

    /// Gives a table its new name; `false` when nobody has heard of it under the old one. What is
    /// not known of it is read anew.
    pub(crate) fn rename(&mut self, from: &TableId, to: &TableId) -> bool {
        // A table that is gone by now may have been there at the position that was resumed.
        let entry = self.tables.remove(from).unwrap_or_else(|| Entry {
            announced: Announced::Unsure,
            ..Entry::default()
        });
        let had_refresh = self.refreshing.remove(from);
        self.generation += 1;
        let renamed = |schema: Arc<TableSchema>| {
            let mut schema = Arc::unwrap_or_clone(schema);
            schema.id = to.clone();
            Arc::new(schema)
        };
        let announced = match entry.announced {
            Announced::As(schema) => Announced::As(renamed(schema)),
            other => other,
        };
        let is_sure = matches!(announced, Announced::As(_));
        let is_new = matches!(announced, Announced::Nothing);
        let entry = Entry {
            rich: entry.rich.map(renamed),
            announced,
            refresh: None,
        };
        self.tables.insert(to.clone(), entry);
        if had_refresh || !is_sure {
            self.refresh(to);
        }
        !is_new
    }

    /// Gives columns their new names, all at once, and answers with those that the table has; where
    /// that is not known, whoever applies it has to find out.
    pub(crate) fn rename_columns(
        &mut self,
        table: &TableId,
        columns: &[(String, String)],
    ) -> Vec<(String, String)> {
        self.generation += 1;
        let announced = match self.tables.get_mut(table).map(|entry| &mut entry.announced) {
            Some(Announced::As(announced)) => announced,
            Some(Announced::Nothing) => return Vec::new(),
            Some(Announced::Unsure) | None => return columns.to_vec(),
        };
        let schema = Arc::make_mut(announced);
        let mut found = Vec::new();
        for (from, to) in columns {
            let is_it = |name: &str| name.to_lowercase() == from.to_lowercase();
            let index = schema.columns.iter().position(|column| is_it(&column.name));
            found.extend(index.map(|index| (index, to)));
        }
        let rename = |(index, to): (usize, &String)| {
            let name: &mut String = &mut schema.columns[index].name;
            (std::mem::replace(name, to.clone()), to.clone())
        };
        found.into_iter().map(rename).collect()
    }

    /// Reads a table's definition anew, beside the stream.
    pub(crate) fn refresh(&mut self, table: &TableId) {
        self.start_refresh(table, 0);
    }

    fn start_refresh(&mut self, table: &TableId, attempt: u32) {
        self.next_refresh += 1;
        let number = self.next_refresh;
        let entry = self.entry(table);
        entry.refresh = Some(Refresh {
            number,
            attempt,
            loaded: None,
        });
        self.refreshing.insert(table.clone());
        let (side, table) = (Arc::clone(&self.side), table.clone());
        let pause = Duration::from_millis(200) * attempt;
        self.tasks.spawn(async move {
            tokio::time::sleep(pause).await;
            let loaded = side.load_table(&table).await;
            (table, number, loaded)
        });
    }

    /// Whether any refresh has not been answered.
    pub(crate) fn is_refreshing(&self) -> bool {
        !self.tasks.is_empty()
    }

    /// Waits for the next answer. Cancel-safe.
    pub(crate) async fn answered(&mut self) {
        if let Some(Ok((table, number, loaded))) = self.tasks.join_next().await {
            self.take_answer(&table, number, loaded);
        }
    }

    /// Takes the answers that are here.
    pub(crate) fn take_answers(&mut self) {
        while let Some(answer) = self.tasks.try_join_next() {
            if let Ok((table, number, loaded)) = answer {
                self.take_answer(&table, number, loaded);
            }
        }
    }

    fn take_answer(&mut self, table: &TableId, number: u64, loaded: Result<LoadedTable>) {
        let Some(entry) = self.tables.get_mut(table) else {
            return;
        };
        let Some(refresh) = entry
            .refresh
            .as_mut()
            .filter(|refresh| refresh.number == number)
        else {
            return; // Another statement came in between.
        };
        match loaded {
            Ok(loaded) => {
                refresh.loaded = Some(loaded);
                self.generation += 1;
            }
            Err(error) if refresh.attempt < REFRESH_ATTEMPTS_MAX => {
                tracing::debug!(%table, error = %error.report(), "reading a table's definition again");
                let attempt = refresh.attempt + 1;
                self.start_refresh(table, attempt);
            }
            Err(error) => {
                tracing::warn!(
                    %table, error = %error.report(),
                    "a table's definition can't be read: defaults and keys without an index stay unknown until it changes again"
                );
                entry.refresh = None;
                // The table map alone has to do; an empty definition keeps it from asking for ever.
                entry.rich.get_or_insert_with(|| {
                    Arc::new(TableSchema {
                        id: table.clone(),
                        columns: vec![],
                        key: vec![],
                    })
                });
                self.refreshing.remove(table);
                self.generation += 1;
            }
        }
    }

    /// Announces the definitions that are in force at `here`, where no transaction is open.
    pub(crate) fn pass(&mut self, here: &Watermark) -> Vec<SchemaChange> {
        let resumed_until = self.resumed_until.as_ref();
        if resumed_until.is_some_and(|until| here.has_reached(until).unwrap_or(true)) {
            self.resumed_until = None;
        }
        if self.refreshing.is_empty() {
            return Vec::new();
        }
        let reached: Vec<TableId> = self
            .refreshing
            .iter()
            .filter(|table| {
                let refresh = self
                    .tables
                    .get(table)
                    .and_then(|entry| entry.refresh.as_ref());
                let loaded = refresh.and_then(|refresh| refresh.loaded.as_ref());
                // Another server's places do not compare, so that its answer never comes into force.
                loaded.is_some_and(|loaded| here.has_reached(&loaded.at).unwrap_or(false))
            })
            .cloned()
            .collect();
        let mut changes = Vec::new();
        for table in reached {
            self.refreshing.remove(&table);
            let Some(entry) = self.tables.get_mut(&table) else {
                continue;
            };
            let loaded = entry.refresh.take().and_then(|refresh| refresh.loaded);
            if let Some(schema) = loaded.and_then(|loaded| loaded.schema) {
                entry.rich = Some(Arc::clone(&schema));
                changes.extend(self.announce(schema));
            }
        }
        changes
    }
}

/// Lays what the server's catalog knows over a table map: attributes of columns that are still
/// the same, and the key of a table without a primary key.
fn overlay(mapped: &Arc<TableSchema>, rich: Option<&TableSchema>) -> Arc<TableSchema> {
    let Some(rich) = rich else {
        return Arc::clone(mapped);
    };
    let mut schema = TableSchema::clone(mapped);
    for column in &mut schema.columns {
        let known = rich.columns.iter().find(|known| known.name == column.name);
        if let Some(known) = known.filter(|known| is_alike(&known.ty, &column.ty)) {
            column.generated = known.generated;
            column.boolean = known.boolean;
            column.default.clone_from(&known.default);
        }
    }
    if schema.key.is_empty() {
        let column = |known: &sluice_core::Column| {
            schema
                .column_index(&known.name)
                .filter(|&index| !schema.columns[index].nullable)
        };
        schema.key = rich
            .key_columns()
            .map(column)
            .collect::<Option<_>>()
            .unwrap_or_default();
    }
    Arc::new(schema)
}

/// Whether a default of one type is one of the other, too: an enum may have got a label.
fn is_alike(known: &ColumnType, mapped: &ColumnType) -> bool {
    std::mem::discriminant(known) == std::mem::discriminant(mapped)
}
