//! What each event of the log means: transactions, tables, rows.

use std::{collections::HashMap, sync::Arc};

use sluice_core::{
    Error, GtidSet, LogPosition, Reason, Result, TableId, TableSchema, TableSelection, Transaction,
    gtid::GtidSource,
};

use crate::{
    binlog::{
        dump::FILE_START,
        event::{
            Begin, kind, parse_gtid, parse_heartbeat_v2, parse_query, parse_rotate,
            parse_tagged_gtid, parse_xa_prepare,
        },
        reader::RawEvent,
    },
    charset::Charsets,
    decode::{RowsDecoder, RowsKind, TableMap, TableMaps, rows_event_table_id, table_map_name},
    schema::is_selected,
    stream::{
        catalog::{Catalog, Resolved},
        defaults::complete,
        pending::Pending,
        place::Place,
    },
};

/// How many table numbers are remembered before they are asked for again.
const TARGETS_MAX: usize = 4096;

/// What became of an event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is done with.
    Done,
    /// It has to be shown again once a refresh is answered.
    Wait,
}

/// The stream's state between events.
pub(crate) struct Interpreter {
    pub(super) selection: TableSelection,
    pub(super) folds_names: bool,
    pub(super) place: Place,
    /// The transactions that are through; absent where the position is file and offset.
    pub(super) executed: Option<GtidSet>,
    /// Events up to here were applied before, where the server can't start the stream so far on.
    pub(super) skip_until: Option<u64>,
    pub(super) catalog: Catalog,
    pub(super) pending: Pending,
    pub(super) open: Option<Open>,
    pub(super) charsets: Charsets,
    maps: TableMaps,
    targets: HashMap<u64, Target>,
    decoder: RowsDecoder,
}

/// A transaction whose end has not come yet.
pub(super) struct Open {
    pub(super) transaction: Arc<Transaction>,
    gtid: Option<(GtidSource, u64)>,
    /// Whether an explicit end will come; a statement that stands alone is its own end.
    pub(super) has_begun: bool,
    /// How many rows it had for us, and whether it had anything else.
    pub(super) rows: u64,
    pub(super) has_schema_change: bool,
}

/// What is done with the rows of a table number.
enum Target {
    Skip,
    Take {
        map: Arc<TableMap>,
        schema: Arc<TableSchema>,
        generation: u64,
    },
}

/// Where the stream starts.
pub(crate) struct Start {
    pub(crate) selection: TableSelection,
    pub(crate) folds_names: bool,
    pub(crate) position: LogPosition,
    pub(crate) server: Arc<str>,
    pub(crate) charsets: Charsets,
    pub(crate) catalog: Catalog,
}

impl Interpreter {
    pub(crate) fn new(start: Start) -> Self {
        let mut place = Place::unknown(start.server);
        let (executed, skip_until) = match start.position {
            LogPosition::Gtid(set) => (Some(set), None),
            LogPosition::File { file, offset } => {
                let is_far = u32::try_from(offset).is_err();
                place.rotate(&file, if is_far { FILE_START } else { offset });
                (None, is_far.then_some(offset))
            }
            LogPosition::Lsn(_) | LogPosition::Offsets(_) => (None, None),
        };
        Self {
            selection: start.selection,
            folds_names: start.folds_names,
            place,
            executed,
            skip_until,
            catalog: start.catalog,
            pending: Pending::default(),
            open: None,
            charsets: start.charsets,
            maps: TableMaps::new(),
            targets: HashMap::new(),
            decoder: RowsDecoder::new(),
        }
    }

    /// Whether no transaction is open, so that there is a position.
    pub(crate) fn is_between_transactions(&self) -> bool {
        self.open.is_none()
    }

    /// The position, which there is between transactions only.
    pub(crate) fn position(&self) -> LogPosition {
        match &self.executed {
            Some(set) => LogPosition::Gtid(set.clone()),
            None => LogPosition::File {
                file: self.place.file().to_owned(),
                offset: self.skip_until.unwrap_or(0).max(self.place.offset()),
            },
        }
    }

    /// Interprets an event.
    pub(crate) fn interpret(&mut self, event: RawEvent<'_>) -> Result<Step> {
        self.pending.count_event();
        let step = if self.is_skipping(event) {
            Ok(Step::Done)
        } else {
            self.dispatch(event)
        };
        if !event.is_inner && matches!(step, Ok(Step::Done)) && event.header.kind != kind::ROTATE {
            self.place.pass(event.header);
            if self.open.is_none() && !event.header.is_artificial() {
                self.pending.note_news();
            }
        }
        step
    }

    /// The server starts a file's stream at most 4 GiB into it.
    fn is_skipping(&mut self, event: RawEvent<'_>) -> bool {
        let Some(until) = self.skip_until else {
            return false;
        };
        if event.header.kind == kind::ROTATE && event.header.is_artificial() {
            return false;
        }
        let end = if event.is_inner {
            self.place.offset()
        } else {
            self.place.end_of(event.header)
        };
        let skips = end <= until;
        if !skips {
            self.skip_until = None;
        }
        skips
    }

    fn dispatch(&mut self, event: RawEvent<'_>) -> Result<Step> {
        let RawEvent { header, body, .. } = event;
        match header.kind {
            kind::WRITE_ROWS => self.rows(RowsKind::Write, 2, event)?,
            kind::UPDATE_ROWS => self.rows(RowsKind::Update, 2, event)?,
            kind::DELETE_ROWS => self.rows(RowsKind::Delete, 2, event)?,
            kind::PARTIAL_UPDATE_ROWS => self.rows(RowsKind::PartialUpdate, 2, event)?,
            kind::WRITE_ROWS_V1 => self.rows(RowsKind::Write, 1, event)?,
            kind::UPDATE_ROWS_V1 => self.rows(RowsKind::Update, 1, event)?,
            kind::DELETE_ROWS_V1 => self.rows(RowsKind::Delete, 1, event)?,
            kind::TABLE_MAP => return self.table_map(body),
            kind::GTID | kind::ANONYMOUS_GTID | kind::GTID_TAGGED => self.begin(event)?,
            kind::XID => self.end()?,
            kind::QUERY | kind::EXECUTE_LOAD_QUERY => {
                let query = parse_query(body, header.kind == kind::EXECUTE_LOAD_QUERY);
                let query = query.ok_or_else(|| self.damaged(header.kind))?;
                self.statement(query)?;
            }
            kind::XA_PREPARE => self.xa_prepare(event)?,
            kind::ROTATE => self.rotate(event)?,
            kind::HEARTBEAT => {
                self.place.pass(header);
                self.pending.note_news();
            }
            kind::HEARTBEAT_V2 => {
                let offset = parse_heartbeat_v2(body).ok_or_else(|| self.damaged(header.kind))?;
                self.place.reach(offset);
                self.pending.note_news();
            }
            kind::FORMAT_DESCRIPTION => self.format_description(event)?,
            // Its inner events follow one by one.
            kind::TRANSACTION_PAYLOAD => {}
            kind::INCIDENT => return Err(self.incident()),
            other if kind::WITHOUT_INTEREST.contains(&other) || header.is_ignorable() => {}
            other => return Err(self.unknown(other)),
        }
        Ok(Step::Done)
    }

    fn begin(&mut self, event: RawEvent<'_>) -> Result<()> {
        let kind = event.header.kind;
        let begin = if kind == kind::GTID_TAGGED {
            parse_tagged_gtid(event.body)
        } else {
            parse_gtid(event.body, kind == kind::ANONYMOUS_GTID)
        };
        let Begin {
            gtid,
            commit_time_micros,
        } = begin.ok_or_else(|| self.damaged(kind))?;
        if self.open.is_some() {
            return Err(self.unfinished());
        }
        let start = self.place.end_of(event.header) - u64::from(event.header.size);
        let id = match &gtid {
            Some((source, number)) => format!("{source}:{number}"),
            None => format!("{}:{start}", self.place.file()),
        };
        let start_offset = self.place.watermark_offset(start);
        self.open = Some(Open {
            transaction: Arc::new(Transaction {
                id,
                commit_time_micros,
                start_offset,
            }),
            gtid,
            has_begun: false,
            rows: 0,
            has_schema_change: false,
        });
        Ok(())
    }

    /// The transaction is through.
    pub(super) fn end(&mut self) -> Result<()> {
        let Some(open) = self.open.take() else {
            return Err(self.damaged(kind::XID));
        };
        if let (Some(executed), Some((source, number))) = (&mut self.executed, &open.gtid) {
            executed.insert(source, *number);
        }
        self.pending
            .note_commit(open.transaction.commit_time_micros);
        if open.rows > 0 || open.has_schema_change {
            self.pending.push_end(open.transaction);
        }
        Ok(())
    }

    fn table_map(&mut self, body: &[u8]) -> Result<Step> {
        let (number, database, table) = table_map_name(body)?;
        if self.targets.len() > TARGETS_MAX {
            self.targets.clear();
        }
        let is_known = matches!(self.targets.get(&number), Some(Target::Take { map, .. })
            if *map.schema.id.schema == *database && *map.schema.id.name == *table);
        if !is_known && !is_selected(&self.selection, &TableId::new(database, table)) {
            self.targets.insert(number, Target::Skip);
            return Ok(Step::Done);
        }
        let map = self.maps.read(body, &self.charsets)?;
        let generation = self.catalog.generation();
        if let Some(Target::Take {
            map: known,
            generation: resolved_at,
            ..
        }) = self.targets.get(&number)
            && Arc::ptr_eq(known, &map)
            && *resolved_at == generation
        {
            return Ok(Step::Done);
        }
        let Resolved::Ready(schema, change) = self.catalog.resolve(&map.schema) else {
            return Ok(Step::Wait);
        };
        if let Some(change) = change {
            self.pending.push_schema(change);
            if let Some(open) = &mut self.open {
                open.has_schema_change = true;
            }
        }
        let generation = self.catalog.generation();
        self.targets.insert(
            number,
            Target::Take {
                map,
                schema,
                generation,
            },
        );
        Ok(Step::Done)
    }

    fn rows(&mut self, kind: RowsKind, version: u8, event: RawEvent<'_>) -> Result<()> {
        let number = rows_event_table_id(event.body)?;
        let (map, schema) = match self.targets.get(&number) {
            Some(Target::Take { map, schema, .. }) => (map, schema),
            Some(Target::Skip) => return Ok(()),
            // The number that ends a statement without rows names no table.
            None if number == 0xff_ffff || number == 0xffff_ffff_ffff => return Ok(()),
            None => return Err(self.damaged(event.header.kind)),
        };
        let Some(open) = &mut self.open else {
            return Err(self.damaged(event.header.kind));
        };
        let pending = &mut self.pending;
        self.decoder
            .decode(kind, version, event.body, map, &mut |operation| {
                let operation = complete(operation, schema);
                pending.push_row(schema, &open.transaction, open.rows, operation);
                open.rows += 1;
            })
    }

    fn rotate(&mut self, event: RawEvent<'_>) -> Result<()> {
        let (offset, file) = parse_rotate(event.body).ok_or_else(|| self.damaged(kind::ROTATE))?;
        if file != self.place.file() && self.open.is_some() {
            return Err(self.unfinished());
        }
        // The stream starts by repeating where it was asked to start.
        if file != self.place.file() || offset > self.place.offset() {
            self.place.rotate(file, offset);
            self.pending.note_news();
        }
        Ok(())
    }

    /// A real one, as opposed to one that only starts the stream, begins a file; after a restart of
    /// the server its table numbers begin again.
    fn format_description(&mut self, event: RawEvent<'_>) -> Result<()> {
        if event.header.is_artificial() {
            return Ok(());
        }
        if self.open.is_some() {
            return Err(self.unfinished());
        }
        self.targets.clear();
        Ok(())
    }

    /// A transaction that is prepared may be rolled back later, so that its rows must not count yet.
    fn xa_prepare(&mut self, event: RawEvent<'_>) -> Result<()> {
        let one_phase =
            parse_xa_prepare(event.body).ok_or_else(|| self.damaged(kind::XA_PREPARE))?;
        if one_phase || self.open.as_ref().is_some_and(|open| open.rows == 0) {
            return self.end();
        }
        let message = format!(
            "the log holds a two-phase XA transaction with rows of selected tables at {}",
            self.at()
        );
        Err(Error::new(Reason::DecodeFailed, message).with_hint(
            "Sluice does not replicate XA PREPARE: use XA COMMIT ... ONE PHASE, then copy every table \
             again: sluice run --resnapshot '*'",
        ))
    }

    /// File and offset, for messages.
    pub(super) fn at(&self) -> String {
        format!("{}:{}", self.place.file(), self.place.offset())
    }

    fn damaged(&self, kind: u8) -> Error {
        let message = format!("the event of kind {kind} after {} can't be read", self.at());
        Error::new(Reason::DecodeFailed, message).with_hint(format!(
            "compare with: mysqlbinlog --start-position={} {}",
            self.place.offset(),
            self.place.file()
        ))
    }

    fn unknown(&self, kind: u8) -> Error {
        let message = format!(
            "the log holds an event of the unknown kind {kind} after {}",
            self.at()
        );
        Error::new(Reason::DecodeFailed, message)
            .with_hint("upgrade Sluice, or switch off the server's feature that writes it")
    }

    /// The server stopped in the middle; it will have removed the rest or starts the file anew.
    fn unfinished(&self) -> Error {
        let message = format!("a transaction before {} has no end in the log", self.at());
        Error::new(Reason::Unavailable, message)
            .with_hint("nothing to do if the server was just restarted; else see its error log")
    }

    fn incident(&self) -> Error {
        let message = format!("the server reports at {} that its log has a gap", self.at());
        Error::new(Reason::PositionLost, message)
            .with_hint("set onPositionLost: Resnapshot, and see the server's error log")
    }
}
