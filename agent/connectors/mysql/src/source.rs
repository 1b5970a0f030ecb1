//! MySQL as a [`Source`]: opening the log at a position, streaming it, and the connections beside.
//!
//! [`MysqlSource::open`](Source::open) checks the prerequisites, makes sure that the log still
//! holds everything after the position, and starts the stream; `stream` goes on
//! from there.
//!
//! Transactions in two phases (`XA PREPARE`) that touch selected tables are refused with an error:
//! the log shows their rows before it is known whether they will be rolled back.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use sluice_agent_api::{SecretStore, config::MysqlConfig};
use sluice_core::{
    Error, LogPosition, Reason, Result, SnapshotReader, Source, SourceBatch, TableSchema,
    TableSelection, Watermark, source::LogEnd,
};

use crate::{
    binlog::{dump, reader::Reader},
    charset::Charsets,
    connect::{Connection, Connector},
    position::check_position,
    preflight,
    schema::load_tables,
    server::{LogStatus, ServerFacts, gtid_set},
    side::Side,
    snapshot::MysqlSnapshotReader,
    stream::{
        Capture,
        catalog::Catalog,
        interpret::{Interpreter, Start},
    },
};

/// How often the server shows at least that an idle stream is alive, whatever is asked for: a
/// server that is gone must not pass for an idle one for long.
const HEARTBEAT_MAX: Duration = Duration::from_secs(2);

/// A MySQL server's tables and log.
pub struct MysqlSource {
    server_id: u32,
    selection: TableSelection,
    heartbeat: Duration,
    connector: Connector,
    side: Arc<Side>,
    opened: Option<Opened>,
}

/// What there is while the stream runs.
struct Opened {
    facts: ServerFacts,
    capture: Capture,
    /// The tables as they were at the start, until somebody asks for them.
    tables: Option<Vec<Arc<TableSchema>>>,
    /// Where the stream stands, for the lag.
    here: Option<Watermark>,
    /// The log's files as of the last time that somebody asked for its end.
    log_files: Vec<(u64, u64)>,
    commit_time_micros: i64,
}

impl MysqlSource {
    /// A source that is not connected yet.
    pub fn new(
        config: MysqlConfig,
        selection: TableSelection,
        heartbeat_seconds: u32,
        secrets: Arc<dyn SecretStore>,
    ) -> Self {
        let connector = Connector::new(config.connection, secrets);
        Self {
            server_id: config.server_id,
            selection,
            heartbeat: Duration::from_secs(u64::from(heartbeat_seconds.max(1))),
            side: Arc::new(Side::new(connector.clone())),
            connector,
            opened: None,
        }
    }

    fn opened(&mut self) -> Result<&mut Opened> {
        self.opened.as_mut().ok_or_else(not_open)
    }

    async fn start_stream(
        &self,
        mut connection: Connection,
        position: &LogPosition,
    ) -> Result<Reader> {
        let period = self.heartbeat.min(HEARTBEAT_MAX).as_nanos();
        // The names with `master` are those of older servers; the checksum stays as it is in the
        // file and is checked by us.
        connection
            .query_drop(&format!(
                "SET @master_heartbeat_period = {period}, @source_heartbeat_period = {period}, \
                 @master_binlog_checksum = 'CRC32', @source_binlog_checksum = 'CRC32'"
            ))
            .await?;
        connection.command(&dump::register(self.server_id)).await?;
        let stream = connection
            .into_stream(&dump::start(self.server_id, position))
            .await?;
        Ok(Reader::new(stream))
    }
}

fn not_open() -> Error {
    Error::new(
        Reason::Internal,
        "the MySQL source is used before it is open",
    )
}

#[async_trait]
impl Source for MysqlSource {
    async fn open(&mut self, resume: Option<&LogPosition>) -> Result<LogPosition> {
        self.opened = None;
        let mut connection = self.connector.connect().await?;
        let facts = preflight::ensure(&mut connection, self.server_id).await?;
        let position = match resume {
            Some(position) => {
                check_position(&mut connection, &facts, position).await?;
                position.clone()
            }
            None => present_end(&mut connection, &facts).await?,
        };
        let charsets = load_charsets(&mut connection).await?;
        let tables = load_tables(&mut connection, &self.selection).await?;
        let loaded_at = LogStatus::need(&mut connection)
            .await?
            .watermark(&facts.uuid);
        let reader = self.start_stream(connection, &position).await?;
        let interpreter = Interpreter::new(Start {
            selection: self.selection.clone(),
            folds_names: facts.folds_names(),
            position: position.clone(),
            server: Arc::clone(&facts.uuid),
            charsets,
            catalog: Catalog::new(
                Arc::clone(&self.side),
                &tables,
                resume.and(Some(&loaded_at)),
            ),
        });
        let silence_max = self.heartbeat * 3 + Duration::from_secs(10);
        self.opened = Some(Opened {
            facts,
            capture: Capture::new(reader, interpreter, silence_max),
            tables: Some(tables),
            here: None,
            log_files: Vec::new(),
            commit_time_micros: 0,
        });
        Ok(position)
    }

    async fn tables(&mut self) -> Result<Vec<Arc<TableSchema>>> {
        let loaded = self.opened()?.tables.take();
        let tables = if let Some(tables) = loaded {
            tables
        } else {
            let selection = self.selection.clone();
            self.side
                .ask(move |connection| {
                    let selection = selection.clone();
                    Box::pin(async move { load_tables(connection, &selection).await })
                })
                .await?
        };
        if tables.is_empty() {
            let patterns: Vec<&str> = self.selection.unmatched(&[]).collect();
            let message = format!(
                "no table of MySQL at {} matches {}",
                self.connector.place(),
                patterns.join(", ")
            );
            return Err(Error::new(Reason::NoTables, message).with_hint(
                "correct tables.include, create the tables, or grant SELECT on them: a table without the privilege is not seen",
            ));
        }
        Ok(tables)
    }

    async fn next(&mut self) -> Result<SourceBatch> {
        let opened = self.opened()?;
        let batch = opened.capture.next().await?;
        opened.here = batch.watermark.clone().or(opened.here.take());
        opened.commit_time_micros = batch
            .commit_time_micros
            .unwrap_or(opened.commit_time_micros);
        Ok(batch)
    }

    /// A binlog stays as long as the server is told to keep it, whoever reads it.
    async fn confirm(&mut self, _: &LogPosition) -> Result<()> {
        Ok(())
    }

    async fn snapshot_reader(&mut self) -> Result<Box<dyn SnapshotReader>> {
        Ok(Box::new(
            MysqlSnapshotReader::connect(self.connector.clone()).await?,
        ))
    }

    async fn log_end(&mut self) -> Result<LogEnd> {
        let opened = self.opened.as_mut().ok_or_else(not_open)?;
        let known = std::mem::take(&mut opened.log_files);
        let (end, log_files) = self.side.log_files(known).await?;
        opened.log_files.clone_from(&log_files);
        let retention_seconds = opened.facts.retention_seconds().map(|kept| {
            let is_behind = opened.here.as_ref().is_some_and(|here| *here != end);
            let age = age_seconds(opened.commit_time_micros);
            if is_behind {
                kept.saturating_sub(age)
            } else {
                kept
            }
        });
        Ok(LogEnd {
            watermark: end,
            log_files,
            partitions: Vec::new(),
            retention_seconds,
        })
    }
}

/// How long ago a moment was; zero when it is not known.
fn age_seconds(micros: i64) -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    match u64::try_from(micros) {
        Ok(micros) if micros > 0 => now.as_secs().saturating_sub(micros / 1_000_000),
        _ => 0,
    }
}

async fn present_end(connection: &mut Connection, facts: &ServerFacts) -> Result<LogPosition> {
    if facts.has_gtids() {
        return Ok(LogPosition::Gtid(
            gtid_set(connection, "gtid_executed").await?,
        ));
    }
    let status = LogStatus::need(connection).await?;
    Ok(LogPosition::File {
        file: status.file,
        offset: status.offset,
    })
}

/// What the server's collations and character sets mean.
async fn load_charsets(connection: &mut Connection) -> Result<Charsets> {
    let rows = connection.query(Charsets::QUERY, |row| {
        (
            row.number(0).unwrap_or(0),
            row.text(1).into_owned(),
            row.number(2).unwrap_or(1),
        )
    });
    let mut charsets = Charsets::new(rows.await?);
    let missing: Vec<String> = charsets
        .single_byte_charsets_needing_table()
        .into_iter()
        .map(str::to_owned)
        .collect();
    for charset in missing {
        let text = connection
            .query_text(&Charsets::single_byte_table_query(&charset))
            .await?;
        // A character set without a table is an error only when a table uses it.
        if let Some(table) = text.as_deref().and_then(Charsets::parse_single_byte_table) {
            charsets.set_single_byte_table(&charset, table);
        }
    }
    Ok(charsets)
}
