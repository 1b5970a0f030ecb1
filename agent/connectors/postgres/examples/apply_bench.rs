//! How fast rows are applied: a copy of `orders` (12 columns, mixed types), then a backlog of
//! changes, 40 % inserts, 50 % updates, 10 % deletes, in transactions of 100 and batches of 20,000.
//!
//! The same netted changes are applied from files by `psql` (COPY into a staging table, INSERT … ON
//! CONFLICT, DELETE USING), which is what the server itself can take.
//!
//! `SLUICE_PG_URL=… cargo run --release -p sluice-postgres --example apply_bench [ROWS [CHANGES [BATCH]]]`

// The tests' helpers, of which a benchmark needs a part, and which may panic as tests do.
#[allow(dead_code, clippy::unwrap_used, clippy::panic)]
#[path = "../tests/support.rs"]
mod support;

use std::{
    fmt::Write as _,
    io::Write as _,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use sluice_core::{
    ChangeEvent, ColumnType, Row, RowBuilder, Sink as _, TableSchema, Value, event::ChunkMode,
};
use support::{BIGINT, Database, Target, batch, chunk, column, delete, end, insert, table, update};

const CHUNK_ROWS: u64 = 50_000;
const STATUSES: [&str; 4] = ["new", "paid", "shipped", "returned"];

fn orders(name: &str) -> Arc<TableSchema> {
    let int = |bits, unsigned| ColumnType::Int { bits, unsigned };
    let columns = vec![
        column("id", BIGINT),
        column("customer_id", int(32, false)),
        column(
            "status",
            ColumnType::Enum {
                labels: STATUSES.map(Into::into).to_vec(),
            },
        ),
        column(
            "amount",
            ColumnType::Decimal {
                precision: 12,
                scale: 2,
            },
        ),
        column("created_at", ColumnType::DateTime { precision: 0 }),
        column("updated_at", ColumnType::Timestamp { precision: 6 }),
        column("note", ColumnType::Varchar { length: 100 }),
        column("priority", int(8, true)),
        column("quantity", int(32, true)),
        column("sku", ColumnType::Char { length: 12 }),
        column("meta", ColumnType::Json),
        column("weight", ColumnType::Double),
    ];
    table(name, columns, true)
}

/// A row that follows from its key and its version.
fn order(builder: &mut RowBuilder, id: u64, version: u64) -> Row {
    let mix = (id + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let cents = (mix >> 20) % 1_000_000 + version;
    let amount = format!("{}.{:02}", cents / 100, cents % 100);
    let note = format!("order {id} of customer {}", mix % 50_000);
    let sku = format!("SKU-{:08}", mix % 99_999_999);
    let meta = format!("{{\"channel\": \"web\", \"step\": {}}}", mix % 17);
    builder.begin(12, 220);
    builder.push(Value::Int(id as i64));
    builder.push(Value::Int((mix % 50_000) as i64));
    builder.push(Value::Enum(STATUSES[((mix >> 8) + version) as usize % 4]));
    builder.push(Value::Decimal(&amount));
    builder.push(Value::DateTime(
        1_700_000_000_000_000 + id as i64 * 1_000_000,
    ));
    builder.push(Value::Timestamp(
        1_700_000_000_000_000 + (id + version) as i64 * 1_000,
    ));
    builder.push(Value::Text(&note));
    builder.push(Value::UInt(mix % 5));
    builder.push(Value::UInt(mix % 100));
    builder.push(Value::Text(&sku));
    builder.push(Value::Json(&meta));
    builder.push(Value::Double((mix % 10_000) as f64 / 8.0));
    builder.finish()
}

/// One change of the workload.
#[derive(Clone, Copy)]
enum Change {
    Insert(u64),
    Update(u64, u64),
    Delete(u64),
}

/// The workload: keys alive, and a generator of numbers.
struct Workload {
    alive: Vec<(u64, u64)>,
    next: u64,
    state: u64,
}

impl Workload {
    fn new(rows: u64) -> Self {
        Self {
            alive: (0..rows).map(|id| (id, 0)).collect(),
            next: rows,
            state: 42,
        }
    }

    fn random(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    fn change(&mut self) -> Change {
        let at = self.random() as usize % self.alive.len();
        match self.random() % 10 {
            0..4 => {
                self.alive.push((self.next, 0));
                self.next += 1;
                Change::Insert(self.next - 1)
            }
            4..9 => {
                let (id, version) = self.alive[at];
                self.alive[at].1 += 1;
                Change::Update(id, version)
            }
            _ => Change::Delete(self.alive.swap_remove(at).0),
        }
    }
}

fn events(table: &Arc<TableSchema>, changes: &[Change]) -> Vec<ChangeEvent> {
    let mut builder = RowBuilder::with_capacity(1 << 20);
    let mut events = Vec::with_capacity(changes.len() + changes.len() / 100);
    for (index, change) in changes.iter().enumerate() {
        events.push(match *change {
            Change::Insert(id) => insert(table, order(&mut builder, id, 0)),
            Change::Update(id, version) => {
                let before = order(&mut builder, id, version);
                update(table, before, order(&mut builder, id, version + 1))
            }
            Change::Delete(id) => delete(table, order(&mut builder, id, 0)),
        });
        if index % 100 == 99 {
            events.push(end());
        }
    }
    events
}

async fn snapshot(target: &mut Target, table: &Arc<TableSchema>, rows: u64) -> Duration {
    let mut builder = RowBuilder::with_capacity(1 << 20);
    let mut spent = Duration::ZERO;
    for first in (0..rows).step_by(CHUNK_ROWS as usize) {
        let ids = first..(first + CHUNK_ROWS).min(rows);
        let rows = ids.map(|id| order(&mut builder, id, 0)).collect();
        let events = vec![chunk(table, ChunkMode::Append, rows)];
        let batch = batch(events);
        let start = Instant::now();
        target
            .sink
            .write(&batch)
            .await
            .expect("the chunk is applied");
        target.commit().await;
        spent += start.elapsed();
    }
    spent
}

/// Changes of one kind alone, to see what each costs.
async fn single_kinds(target: &mut Target, table: &Arc<TableSchema>, rows: u64, size: usize) {
    let step = (rows / size as u64).max(1);
    let ids = || (0..rows).step_by(step as usize).take(size);
    let kinds: [(&str, Vec<Change>); 3] = [
        ("update", ids().map(|id| Change::Update(id, 0)).collect()),
        ("delete", ids().map(Change::Delete).collect()),
        ("insert", ids().map(Change::Insert).collect()),
    ];
    for (name, changes) in kinds {
        let batch = batch(events(table, &changes));
        let start = Instant::now();
        target
            .sink
            .write(&batch)
            .await
            .expect("the batch is applied");
        let written = start.elapsed();
        let committing = Instant::now();
        target.commit().await;
        let micros = written.as_secs_f64() * 1e6 / size as f64;
        println!(
            "  {name} x {size:>6}: {micros:6.2} µs each, commit {:?}",
            committing.elapsed()
        );
    }
}

async fn backlog(
    target: &mut Target,
    table: &Arc<TableSchema>,
    changes: &[Change],
    size: usize,
) -> Duration {
    let mut spent = Duration::ZERO;
    for piece in changes.chunks(size) {
        let batch = batch(events(table, piece));
        let start = Instant::now();
        target
            .sink
            .write(&batch)
            .await
            .expect("the batch is applied");
        target.commit().await;
        spent += start.elapsed();
    }
    spent
}

/// The same changes, netted, as a script for psql.
fn baseline_script(changes: &[Change], size: usize, table: &str) -> String {
    let columns = "id, customer_id, status, amount, created_at, updated_at, note, priority, \
                   quantity, sku, meta, weight";
    let sets: Vec<_> = columns
        .split(", ")
        .skip(1)
        .map(|name| format!("{name} = EXCLUDED.{name}"))
        .collect();
    let mut script = format!(
        "SET synchronous_commit = off; SET timezone = 'UTC';\n\
         CREATE TEMP TABLE staging (LIKE {table}); CREATE TEMP TABLE gone (id bigint);\n"
    );
    let mut builder = RowBuilder::new();
    for piece in changes.chunks(size) {
        let mut last = std::collections::BTreeMap::new();
        for change in piece {
            match *change {
                Change::Insert(id) => last.insert(id, Some(0)),
                Change::Update(id, version) => last.insert(id, Some(version + 1)),
                Change::Delete(id) => last.insert(id, None),
            };
        }
        script.push_str("BEGIN; TRUNCATE staging, gone;\nCOPY staging FROM STDIN;\n");
        for (id, version) in &last {
            let Some(version) = version else { continue };
            let row = order(&mut builder, *id, *version);
            copy_line(&mut script, &row);
        }
        script.push_str("\\.\nCOPY gone FROM STDIN;\n");
        for (id, _) in last.iter().filter(|(_, version)| version.is_none()) {
            writeln!(script, "{id}").expect("writing to a string cannot fail");
        }
        write!(
            script,
            "\\.\nINSERT INTO {table} SELECT {columns} FROM staging ON CONFLICT (id) DO UPDATE SET {};\n\
             DELETE FROM {table} AS t USING gone AS g WHERE t.id = g.id;\nCOMMIT;\n",
            sets.join(", ")
        )
        .expect("writing to a string cannot fail");
    }
    script
}

fn copy_line(script: &mut String, row: &Row) {
    for (index, value) in row.values().enumerate() {
        if index > 0 {
            script.push('\t');
        }
        let written = match value {
            Value::Int(value) => write!(script, "{value}"),
            Value::UInt(value) => write!(script, "{value}"),
            Value::Double(value) => write!(script, "{value}"),
            Value::Decimal(text) | Value::Text(text) | Value::Enum(text) | Value::Json(text) => {
                script.push_str(text);
                Ok(())
            }
            Value::DateTime(micros) | Value::Timestamp(micros) => {
                let seconds = micros / 1_000_000 % 86_400;
                let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
                write!(
                    script,
                    "2024-01-01 {hours:02}:{minutes:02}:{:02}",
                    seconds % 60
                )
            }
            _ => write!(script, "\\N"),
        };
        written.expect("writing to a string cannot fail");
    }
    script.push('\n');
}

fn psql(database: &Database, script: &str) -> Duration {
    let psql =
        std::env::var("SLUICE_PG_BIN").map_or_else(|_| "psql".into(), |bin| format!("{bin}/psql"));
    let start = Instant::now();
    let mut child = Command::new(psql)
        .args(["-h", &database.host, "-p", &database.port.to_string()])
        .args([
            "-U",
            &database.user,
            "-d",
            &database.name,
            "-Xqv",
            "ON_ERROR_STOP=1",
        ])
        .env("PGPASSWORD", &database.password)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("psql starts");
    child
        .stdin
        .take()
        .expect("psql reads a script")
        .write_all(script.as_bytes())
        .expect("psql reads its script");
    assert!(child.wait().expect("psql ends").success(), "psql failed");
    start.elapsed()
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let mut next = |default| arguments.next().map_or(default, |n| n.expect("a number"));
    let (rows, count, size) = (next(1_000_000), next(300_000), next(20_000) as usize);
    let database = Database::new().await;
    let mut target = database.sink().await;
    let table = orders("orders");
    target.prepare(&table).await;
    let spent = snapshot(&mut target, &table, rows).await;
    println!("copy: {:.0} rows/s", rows as f64 / spent.as_secs_f64());
    database
        .run("CREATE TABLE shop.plain (LIKE shop.orders INCLUDING ALL)")
        .await;
    database
        .run("INSERT INTO shop.plain SELECT * FROM shop.orders")
        .await;
    database.run("VACUUM ANALYZE shop.orders; ").await;
    database.run("VACUUM ANALYZE shop.plain").await;
    database.run("CHECKPOINT").await;

    let mut workload = Workload::new(rows);
    let changes: Vec<_> = (0..count).map(|_| workload.change()).collect();
    let script = baseline_script(&changes, size, "shop.plain");
    let wal = "SELECT pg_current_wal_lsn() - '0/0'";
    let mark = |text: String| text.parse::<f64>().expect("a number");
    let before = mark(database.value(wal).await);
    let plain = psql(&database, &script);
    let between = mark(database.value(wal).await);
    database.run("CHECKPOINT").await;
    let between_too = mark(database.value(wal).await);
    let ours = backlog(&mut target, &table, &changes, size).await;
    let after = mark(database.value(wal).await);
    let rate = |spent: Duration| count as f64 / spent.as_secs_f64();
    println!(
        "backlog by psql: {:.0} changes/s, {:.0} WAL bytes each",
        rate(plain),
        (between - before) / count as f64
    );
    println!(
        "backlog by sink: {:.0} changes/s, {:.0} WAL bytes each, {:.2} of psql",
        rate(ours),
        (after - between_too) / count as f64,
        plain.as_secs_f64() / ours.as_secs_f64()
    );
    let hot = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = ";
    for name in ["plain", "orders"] {
        println!(
            "  {name}: updates|hot {:?}",
            database.lines(&format!("{hot}'{name}'")).await
        );
    }
    for size in [1, 10, 100, 1_000, 20_000] {
        let fresh = orders(&format!("kinds_{size}"));
        target.prepare(&fresh).await;
        snapshot(&mut target, &fresh, 100_000.min(rows)).await;
        single_kinds(&mut target, &fresh, 100_000.min(rows), size).await;
        single_kinds(&mut target, &fresh, 100_000.min(rows), size).await;
    }
    drop(target);
    database.drop_now().await;
}
