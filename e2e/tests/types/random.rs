//! Random rows of random tables, by both ways: what the snapshot brought, what inserts brought and
//! what updates brought must be the same, and equal to the source.
//!
//! `SLUICE_SEED` repeats a run.

use std::{collections::BTreeMap, env, fmt::Write as _};

use anyhow::Result;
use fastrand::Rng;
use mysql_async::prelude::Queryable;
use sluice_e2e::{MysqlDatabase, PgDatabase, PipelineFile, Servers, Sluice};

use super::{LENIENT, assert_all_equal};

const TABLES: usize = 16;
const ROWS: usize = 60;
/// How far apart the ids of the three groups of rows are.
const APART: usize = 1_000;

/// A column that was drawn: its definition, and what draws its values.
struct Drawn {
    definition: String,
    value: Box<dyn Fn(&mut Rng) -> String + Send>,
}

#[tokio::test(flavor = "multi_thread")]
async fn random_rows_of_random_tables_arrive_the_same_by_every_way() -> Result<()> {
    let seed = match env::var("SLUICE_SEED") {
        Ok(seed) => seed.parse()?,
        Err(_) => fastrand::u64(..),
    };
    eprintln!("SLUICE_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let servers = Servers::from_env();
    let mysql = MysqlDatabase::create(&servers, "random").await?;
    let postgres = PgDatabase::create(&servers, "random").await?;
    let mut conn = mysql.conn().await?;
    conn.query_drop(LENIENT).await?;
    let mut tables = Vec::new();
    for table in 0..TABLES {
        let columns: Vec<Drawn> = (0..rng.usize(1..14)).map(|_| draw(&mut rng)).collect();
        conn.query_drop(create(table, &columns)).await?;
        let rows: Vec<Vec<String>> = (0..ROWS)
            .map(|_| {
                columns
                    .iter()
                    .map(|column| (column.value)(&mut rng))
                    .collect()
            })
            .collect();
        conn.query_drop(insert(table, 0, &rows)).await?;
        let mut others = rows;
        others.rotate_left(1);
        conn.query_drop(insert(table, 2 * APART, &others)).await?;
        tables.push(columns.len());
    }

    let written = PipelineFile::new(&mysql, &postgres).write()?;
    let mut sluice = Sluice::run(&written, &[])?;
    sluice.wait_streaming().await?;
    for (table, &count) in tables.iter().enumerate() {
        let columns: Vec<String> = (0..count).map(|column| format!("c{column}")).collect();
        let columns = columns.join(", ");
        let assignments: Vec<String> = (0..count)
            .map(|column| format!("a.c{column} = b.c{column}"))
            .collect();
        let assignments = assignments.join(", ");
        for statement in [
            format!(
                "INSERT INTO t{table} SELECT id + {APART}, {columns} FROM t{table} WHERE id < {APART}"
            ),
            format!(
                "UPDATE t{table} a JOIN t{table} b ON a.id = b.id + 2 * {APART} SET {assignments}"
            ),
        ] {
            conn.query_drop(statement).await?;
        }
    }
    sluice.wait_caught_up().await?;

    let mut differences = Vec::new();
    for (table, &count) in tables.iter().enumerate() {
        let found = ways(&postgres, &mysql.name, table, count).await?;
        let odd = found
            .iter()
            .filter(|(_, rows)| rows.len() != 3 || rows.iter().any(|row| *row != rows[0]));
        let odd: Vec<_> = odd.take(2).collect();
        if !odd.is_empty() {
            let definition: Vec<(String, String)> =
                conn.query(format!("SHOW CREATE TABLE t{table}")).await?;
            differences.push(format!("{definition:?}: {odd:#?}"));
        }
    }
    conn.disconnect().await?;
    assert!(
        differences.is_empty(),
        "SLUICE_SEED={seed}\n{}",
        differences.join("\n")
    );
    assert_all_equal(&mysql, &postgres).await?;
    sluice.terminate().await?;
    Ok(())
}

/// The rows of a table in the target, the three of one origin together.
async fn ways(
    postgres: &PgDatabase,
    schema: &str,
    table: usize,
    count: usize,
) -> Result<BTreeMap<usize, Vec<Vec<Option<String>>>>> {
    let columns: Vec<String> = (0..count)
        .map(|column| format!("c{column}::text"))
        .collect();
    let columns = columns.join(", ");
    let sql = format!("SELECT id::text, {columns} FROM \"{schema}\".t{table} ORDER BY id");
    let mut groups: BTreeMap<usize, Vec<Vec<Option<String>>>> = BTreeMap::new();
    for mut row in postgres.rows(sql).await? {
        let id: usize = row.remove(0).unwrap_or_default().parse()?;
        groups.entry(id % APART).or_default().push(row);
    }
    Ok(groups)
}

fn create(table: usize, columns: &[Drawn]) -> String {
    let mut sql = format!("CREATE TABLE t{table} (id INT PRIMARY KEY");
    for (index, column) in columns.iter().enumerate() {
        write!(sql, ", c{index} {}", column.definition).expect("a String takes it");
    }
    sql + ")"
}

fn insert(table: usize, base: usize, rows: &[Vec<String>]) -> String {
    let rows: Vec<String> = rows
        .iter()
        .enumerate()
        .map(|(index, row)| format!("({}, {})", base + index, row.join(", ")))
        .collect();
    format!("INSERT INTO t{table} VALUES {}", rows.join(", "))
}

/// Draws a column.
fn draw(rng: &mut Rng) -> Drawn {
    let (ty, value) = draw_type(rng);
    if rng.u8(..4) == 0 {
        // MySQL gives the first timestamp no default of its own any more, but zero is one.
        let definition = format!("{ty} NOT NULL");
        return Drawn { definition, value };
    }
    Drawn {
        definition: format!("{ty} NULL"),
        value: Box::new(move |rng| match rng.u8(..6) {
            0 => "NULL".to_owned(),
            _ => value(rng),
        }),
    }
}

type Draw = Box<dyn Fn(&mut Rng) -> String + Send>;

fn draw_type(rng: &mut Rng) -> (String, Draw) {
    match rng.u8(..20) {
        0..3 => integer(rng),
        3 => decimal(rng),
        4 => ("FLOAT".to_owned(), Box::new(single)),
        5 => ("DOUBLE".to_owned(), Box::new(double)),
        6 => bits(rng),
        7..10 => text(rng),
        10 | 11 => bytes(rng),
        12 => ("DATE".to_owned(), Box::new(|rng| format!("'{}'", day(rng)))),
        13 => clock(rng),
        14 => span(rng),
        15 => labels(rng),
        16 => (
            "JSON".to_owned(),
            Box::new(|rng| format!("'{}'", document(rng, 4))),
        ),
        17 => (
            "YEAR".to_owned(),
            Box::new(|rng| match rng.u16(1900..=2155) {
                1900 => "0".to_owned(),
                year => year.to_string(),
            }),
        ),
        18 => shape(rng),
        _ => vector(rng),
    }
}

fn integer(rng: &mut Rng) -> (String, Draw) {
    let (name, bits) = [
        ("TINYINT", 8),
        ("SMALLINT", 16),
        ("MEDIUMINT", 24),
        ("INT", 32),
        ("BIGINT", 64),
    ][rng.usize(..5)];
    let unsigned = rng.bool();
    let max: u64 = if bits == 64 {
        u64::MAX
    } else {
        (1 << bits) - 1
    };
    let draw = move |rng: &mut Rng| {
        let raw = match rng.u8(..4) {
            0 => 0,
            1 => max,
            2 => max / 2,
            _ => rng.u64(0..=max),
        };
        if unsigned {
            raw.to_string()
        } else {
            (i128::from(raw) - i128::from(max / 2) - 1).to_string()
        }
    };
    (
        format!("{name}{}", if unsigned { " UNSIGNED" } else { "" }),
        Box::new(draw),
    )
}

fn decimal(rng: &mut Rng) -> (String, Draw) {
    let precision = rng.usize(1..=65);
    let scale = rng.usize(0..=precision.min(30));
    let draw = move |rng: &mut Rng| {
        let digits = rng.usize(1..=precision);
        let mut text: String = (0..digits).map(|_| rng.digit(10)).collect();
        while text.len() <= scale {
            text.insert(0, '0');
        }
        if scale > 0 {
            text.insert(text.len() - scale, '.');
        }
        if rng.bool() { format!("-{text}") } else { text }
    };
    (format!("DECIMAL({precision},{scale})"), Box::new(draw))
}

fn single(rng: &mut Rng) -> String {
    let value = f32::from_bits(rng.u32(..));
    if value.is_finite() {
        format!("{value:e}")
    } else {
        "-0e0".to_owned()
    }
}

fn double(rng: &mut Rng) -> String {
    let value = f64::from_bits(rng.u64(..));
    if value.is_finite() {
        format!("{value:e}")
    } else {
        "1.5e0".to_owned()
    }
}

fn bits(rng: &mut Rng) -> (String, Draw) {
    let length = rng.u32(1..=64);
    let draw = move |rng: &mut Rng| (rng.u64(..) >> (64 - length)).to_string();
    (format!("BIT({length})"), Box::new(draw))
}

const SETS: &[&str] = &[
    "utf8mb4", "utf8mb4", "utf8mb4", "utf8mb3", "latin1", "cp1251", "gbk", "gb18030", "sjis",
    "ujis", "big5", "utf16", "utf16le", "utf32", "ucs2", "euckr", "greek",
];
const LETTERS: &[char] = &[
    'a',
    'Z',
    '0',
    ' ',
    ' ',
    '\t',
    '\n',
    '"',
    '`',
    '\u{1}',
    '\u{7f}',
    'é',
    'ÿ',
    '€',
    'Ж',
    'я',
    'α',
    '中',
    '文',
    '日',
    'ｶ',
    '한',
    '😀',
    '\u{10_fffd}',
    '\u{301}',
    '\u{200d}',
    '\u{feff}',
    ',',
    '{',
    '%',
];

fn letters(rng: &mut Rng, most: usize) -> String {
    (0..rng.usize(0..=most))
        .map(|_| LETTERS[rng.usize(..LETTERS.len())])
        .collect()
}

fn text(rng: &mut Rng) -> (String, Draw) {
    let set = SETS[rng.usize(..SETS.len())];
    let (name, most) = [
        ("CHAR(12)", 12),
        ("VARCHAR(40)", 40),
        ("VARCHAR(400)", 300),
        ("TINYTEXT", 30),
        ("TEXT", 500),
        ("MEDIUMTEXT", 500),
        ("LONGTEXT", 500),
    ][rng.usize(..7)];
    let draw = move |rng: &mut Rng| format!("'{}'", letters(rng, most));
    (format!("{name} CHARACTER SET {set}"), Box::new(draw))
}

fn bytes(rng: &mut Rng) -> (String, Draw) {
    let (name, most) = [
        ("BINARY(7)", 7),
        ("BINARY(255)", 255),
        ("VARBINARY(40)", 40),
        ("VARBINARY(500)", 500),
        ("TINYBLOB", 255),
        ("BLOB", 500),
        ("MEDIUMBLOB", 500),
        ("LONGBLOB", 500),
    ][rng.usize(..8)];
    let draw = move |rng: &mut Rng| {
        let mut digits = String::from("x'");
        for _ in 0..rng.usize(0..=most) {
            let byte = if rng.u8(..3) == 0 { 0 } else { rng.u8(..) };
            write!(digits, "{byte:02x}").expect("a String takes it");
        }
        digits + "'"
    };
    (name.to_owned(), Box::new(draw))
}

/// A day, sometimes one that no calendar has.
fn day(rng: &mut Rng) -> String {
    match rng.u8(..8) {
        0 => "0000-00-00".to_owned(),
        1 => format!("{:04}-00-{:02}", rng.u16(1..=9999), rng.u8(0..=31)),
        _ => format!(
            "{:04}-{:02}-{:02}",
            rng.u16(1..=9999),
            rng.u8(1..=12),
            rng.u8(1..=31)
        ),
    }
}

fn time_of_day(rng: &mut Rng, hours: u16) -> String {
    format!(
        "{:02}:{:02}:{:02}",
        rng.u16(..hours),
        rng.u8(..60),
        rng.u8(..60)
    )
}

fn fraction(rng: &mut Rng, digits: usize) -> String {
    let text: String = (0..digits).map(|_| rng.digit(10)).collect();
    if digits == 0 {
        text
    } else {
        format!(".{text}")
    }
}

fn clock(rng: &mut Rng) -> (String, Draw) {
    let digits = rng.usize(0..=6);
    if rng.bool() {
        let draw = move |rng: &mut Rng| {
            format!(
                "'{} {}{}'",
                day(rng),
                time_of_day(rng, 24),
                fraction(rng, digits)
            )
        };
        return (format!("DATETIME({digits})"), Box::new(draw));
    }
    let draw = move |rng: &mut Rng| {
        if rng.u8(..6) == 0 {
            return "'0000-00-00'".to_owned();
        }
        let second = rng.u32(1..=i32::MAX as u32);
        format!(
            "FROM_UNIXTIME({second}) + INTERVAL 0{} SECOND",
            fraction(rng, digits)
        )
    };
    (format!("TIMESTAMP({digits})"), Box::new(draw))
}

fn span(rng: &mut Rng) -> (String, Draw) {
    let digits = rng.usize(0..=6);
    let draw = move |rng: &mut Rng| {
        let sign = if rng.bool() { "-" } else { "" };
        let hours = if rng.bool() { 24 } else { 838 };
        format!(
            "'{sign}{}{}'",
            time_of_day(rng, hours),
            fraction(rng, digits)
        )
    };
    (format!("TIME({digits})"), Box::new(draw))
}

fn labels(rng: &mut Rng) -> (String, Draw) {
    let is_set = rng.bool();
    let count = if is_set {
        rng.u32(1..=64)
    } else {
        rng.u32(1..=300)
    };
    let labels: Vec<String> = (0..count)
        .map(|label| format!("'label é {label}'"))
        .collect();
    let labels = labels.join(", ");
    let set = ["utf8mb4", "latin1", "utf16"][rng.usize(..3)];
    let draw = move |rng: &mut Rng| match (is_set, rng.u8(..6)) {
        (_, 0) => "''".to_owned(),
        (true, _) => (rng.u64(..) >> (64 - count)).to_string(),
        (false, _) => rng.u32(1..=count).to_string(),
    };
    let name = if is_set { "SET" } else { "ENUM" };
    (
        format!("{name}({labels}) CHARACTER SET {set}"),
        Box::new(draw),
    )
}

/// A JSON document as part of a quoted text.
fn document(rng: &mut Rng, depth: u32) -> String {
    let leaf = if depth == 0 { 6 } else { 8 };
    match rng.u8(..leaf) {
        0 => "null".to_owned(),
        1 => rng.bool().to_string(),
        2 => rng.i64(..).to_string(),
        3 => (rng.u64(..) >> rng.u32(0..64)).to_string(),
        4 => format!("{}.{}", rng.i32(..), rng.u32(1..1_000_000)),
        5 => format!("\"{}\"", plain(rng)),
        6 => {
            let items: Vec<String> = (0..rng.u8(..6)).map(|_| document(rng, depth - 1)).collect();
            format!("[{}]", items.join(", "))
        }
        _ => {
            let field = |rng: &mut Rng| format!("\"{}\": {}", plain(rng), document(rng, depth - 1));
            let fields: Vec<String> = (0..rng.u8(..6)).map(|_| field(rng)).collect();
            format!("{{{}}}", fields.join(", "))
        }
    }
}

/// Letters that need no escape in JSON.
fn plain(rng: &mut Rng) -> String {
    let most = if rng.u8(..10) == 0 { 300 } else { 12 };
    let text = letters(rng, most);
    text.chars()
        .filter(|&letter| letter >= ' ' && letter != '"')
        .collect()
}

fn shape(rng: &mut Rng) -> (String, Draw) {
    let srid = [0, 0, 3857][rng.usize(..3)];
    let draw = move |rng: &mut Rng| {
        let points: Vec<String> = (0..rng.u8(2..6))
            .map(|_| format!("{} {}", rng.i16(..), rng.f64() * 100.0))
            .collect();
        let text = if rng.bool() {
            format!("LINESTRING({})", points.join(","))
        } else {
            format!("POINT({})", points[0])
        };
        format!("ST_GeomFromText('{text}', {srid})")
    };
    ("GEOMETRY".to_owned(), Box::new(draw))
}

fn vector(rng: &mut Rng) -> (String, Draw) {
    let most = rng.u16(1..=50);
    let draw = move |rng: &mut Rng| {
        let numbers: Vec<String> = (0..rng.u16(1..=most))
            .map(|_| (rng.f32() - 0.5).to_string())
            .collect();
        format!("STRING_TO_VECTOR('[{}]')", numbers.join(","))
    };
    (format!("VECTOR({most})"), Box::new(draw))
}
