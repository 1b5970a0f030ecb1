//! A database of its own, and the rows that statements on it leave in the binary log.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use futures_util::StreamExt;
use mysql_async::{BinlogStreamRequest, Conn, Opts, binlog::EventType, prelude::Queryable};
use sluice_core::RowOperation;
use sluice_mysql::{
    charset::Charsets,
    decode::{RowsDecoder, RowsKind, TableMap, TableMaps, rows_event_table_id, table_map_name},
};

/// A row change and the table map that it was decoded by.
pub(crate) struct Change {
    pub(crate) kind: RowsKind,
    pub(crate) map: Arc<TableMap>,
    pub(crate) operation: RowOperation,
}

/// A connection with a database that is dropped at the end.
pub(crate) struct Server {
    pub(crate) conn: Conn,
    pub(crate) charsets: Charsets,
    database: String,
    start: (String, u64),
}

static NEXT: AtomicU32 = AtomicU32::new(0);

fn unique() -> u32 {
    std::process::id() % 100_000 * 100 + NEXT.fetch_add(1, Ordering::Relaxed)
}

fn options() -> Opts {
    let url = std::env::var("SLUICE_MYSQL_URL")
        .expect("SLUICE_MYSQL_URL is set by: eval \"$(e2e/servers up)\"");
    Opts::from_url(&url).unwrap()
}

impl Server {
    /// Connects, makes a database, and loads the server's character sets.
    pub(crate) async fn start() -> Self {
        let mut conn = Conn::new(options()).await.unwrap();
        let database = format!("sluice_decode_{}", unique());
        for statement in [
            format!("DROP DATABASE IF EXISTS {database}"),
            format!("CREATE DATABASE {database}"),
            format!("USE {database}"),
            // As a server may be set up for everyone; the decoder's own queries must not mind.
            "SET time_zone = '+00:00', sql_mode = '', group_concat_max_len = 4".to_owned(),
            "SET cte_max_recursion_depth = 100000".to_owned(),
        ] {
            conn.query_drop(statement).await.unwrap();
        }
        let charsets = load_charsets(&mut conn).await;
        let start = log_end(&mut conn).await;
        Self {
            conn,
            charsets,
            database,
            start,
        }
    }

    /// Runs a statement.
    pub(crate) async fn run(&mut self, statement: impl AsRef<str>) {
        let statement = statement.as_ref();
        let result = self.conn.query_drop(statement).await;
        result.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }

    /// Forgets what the log holds so far.
    pub(crate) async fn mark(&mut self) {
        self.start = log_end(&mut self.conn).await;
    }

    /// The changes since the mark.
    pub(crate) async fn changes(&mut self) -> Vec<Change> {
        let (file, offset) = self.start.clone();
        let conn = Conn::new(options()).await.unwrap();
        let request = BinlogStreamRequest::new(700_000 + unique())
            .with_filename(file.as_bytes())
            .with_pos(offset)
            .with_non_blocking();
        let mut stream = conn.get_binlog_stream(request).await.unwrap();
        let (mut maps, mut decoder) = (TableMaps::new(), RowsDecoder::new());
        let mut changes = Vec::new();
        while let Some(event) = stream.next().await {
            let event = event.unwrap();
            let (kind, version) = match event.header().event_type().unwrap() {
                EventType::TABLE_MAP_EVENT => {
                    if table_map_name(event.data()).unwrap().1 == self.database {
                        maps.read(event.data(), &self.charsets).unwrap();
                    }
                    continue;
                }
                EventType::WRITE_ROWS_EVENT => (RowsKind::Write, 2),
                EventType::UPDATE_ROWS_EVENT => (RowsKind::Update, 2),
                EventType::DELETE_ROWS_EVENT => (RowsKind::Delete, 2),
                EventType::WRITE_ROWS_EVENT_V1 => (RowsKind::Write, 1),
                EventType::UPDATE_ROWS_EVENT_V1 => (RowsKind::Update, 1),
                EventType::DELETE_ROWS_EVENT_V1 => (RowsKind::Delete, 1),
                EventType::PARTIAL_UPDATE_ROWS_EVENT => (RowsKind::PartialUpdate, 2),
                _ => continue,
            };
            let Some(map) = maps.get(rows_event_table_id(event.data()).unwrap()) else {
                continue;
            };
            let mut keep = |operation| {
                changes.push(Change {
                    kind,
                    map: Arc::clone(map),
                    operation,
                });
            };
            decoder
                .decode(kind, version, event.data(), map, &mut keep)
                .unwrap();
        }
        stream.close().await.unwrap();
        changes
    }

    /// Drops the database.
    pub(crate) async fn end(mut self) {
        let statement = format!("DROP DATABASE {}", self.database);
        self.run(statement).await;
        self.conn.disconnect().await.unwrap();
    }
}

async fn load_charsets(conn: &mut Conn) -> Charsets {
    let collations = conn.query(Charsets::QUERY).await.unwrap();
    let mut charsets = Charsets::new(collations);
    let missing = charsets.single_byte_charsets_needing_table();
    for charset in missing.into_iter().map(str::to_owned).collect::<Vec<_>>() {
        let query = Charsets::single_byte_table_query(&charset);
        let text: String = conn.query_first(query).await.unwrap().unwrap();
        let table = Charsets::parse_single_byte_table(&text);
        let table = table.unwrap_or_else(|| panic!("{charset}: {} chars", text.chars().count()));
        charsets.set_single_byte_table(&charset, table);
    }
    charsets
}

async fn log_end(conn: &mut Conn) -> (String, u64) {
    let row: mysql_async::Row = conn
        .query_first("SHOW BINARY LOG STATUS")
        .await
        .unwrap()
        .unwrap();
    (row.get(0).unwrap(), row.get(1).unwrap())
}
