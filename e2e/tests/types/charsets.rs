//! Every character set of the server, with every character that it has: what arrives must be what
//! the server itself makes of it.

use std::fmt::Write as _;

use anyhow::Result;
use mysql_async::prelude::Queryable;
use sluice_e2e::{MysqlDatabase, PgDatabase, PipelineFile, Servers, Sluice};

use super::LENIENT;

/// Rows that the stream brings: the same as those below, so much higher.
const STREAMED: u32 = 100_000;

/// The table of character sets of one byte: row `b` has byte `b` in each column.
const NARROW: &str = "narrow_characters";
/// The table of the others: each row has 256 characters in each column.
const WIDE: &str = "wide_characters";

#[tokio::test(flavor = "multi_thread")]
async fn every_character_of_every_character_set_arrives_as_the_server_reads_it() -> Result<()> {
    let servers = Servers::from_env();
    let mysql = MysqlDatabase::create(&servers, "charsets").await?;
    let postgres = PgDatabase::create(&servers, "charsets").await?;
    let (narrow, wide) = character_sets(&mysql).await?;
    assert!(narrow.len() > 20 && wide.len() > 10, "{narrow:?} {wide:?}");
    let mut conn = mysql.conn().await?;
    conn.query_drop(LENIENT).await?;
    for statement in fill(&narrow, &wide) {
        conn.query_drop(statement).await?;
    }
    let written = PipelineFile::new(&mysql, &postgres).write()?;
    let mut sluice = Sluice::run(&written, &[])?;
    sluice.wait_caught_up().await?;
    for (table, sets) in [(NARROW, &narrow), (WIDE, &wide)] {
        conn.query_drop(repeat(table, sets)).await?;
    }
    conn.disconnect().await?;
    sluice.wait_caught_up().await?;
    sluice.terminate().await?;

    let mut differences = Vec::new();
    for (table, sets) in [(NARROW, &narrow), (WIDE, &wide)] {
        let sql = format!("SELECT * FROM {table} ORDER BY id");
        let there = mysql.rows(sql).await?;
        let sql = format!("SELECT * FROM \"{}\".{table} ORDER BY id", mysql.name);
        let here = postgres.rows(sql).await?;
        assert_eq!(there.len(), here.len(), "rows of {table}");
        for (there, here) in there.iter().zip(&here) {
            for (column, set) in (1..).zip(sets) {
                if there[column] != here[column] {
                    let text = |row: &[Option<String>]| row[column].clone().unwrap_or_default();
                    let first = first_difference(&text(there), &text(here));
                    let row = there[0].as_deref().unwrap_or_default();
                    differences.push(format!("{set}, row {row}: {first}"));
                }
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}

/// Names of the server's character sets by the length of their characters.
async fn character_sets(mysql: &MysqlDatabase) -> Result<(Vec<String>, Vec<String>)> {
    let sql = "SELECT character_set_name, maxlen = 1 FROM information_schema.character_sets \
               WHERE character_set_name <> 'binary' ORDER BY 1";
    let rows = mysql.rows(sql).await?;
    let names = |narrow: &str| {
        let chosen = rows.iter().filter(|row| row[1].as_deref() == Some(narrow));
        chosen.filter_map(|row| row[0].clone()).collect()
    };
    Ok((names("1"), names("0")))
}

/// The statements that create and fill both tables.
fn fill(narrow: &[String], wide: &[String]) -> Vec<String> {
    let create = |table: &str, sets: &[String]| {
        let mut sql = format!("CREATE TABLE {table} (id INT PRIMARY KEY");
        for set in sets {
            write!(sql, ", `{set}` LONGTEXT CHARACTER SET {set}").expect("a String takes it");
        }
        sql + ")"
    };
    let mut statements = vec![create(NARROW, narrow), create(WIDE, wide)];

    let bytes: Vec<String> = (1..=255)
        .map(|byte: u32| {
            let values: Vec<String> = narrow
                .iter()
                // Bytes without a meaning are another matter.
                .map(|set| match (set.as_str(), byte) {
                    ("ascii", 128..) => "NULL".to_owned(),
                    (_, 0x3f) => format!("_{set} x'3f'"),
                    _ => format!(
                        "IF(HEX(CONVERT(_{set} x'{byte:02x}' USING utf8mb4)) = '3F', NULL, \
                         _{set} x'{byte:02x}')"
                    ),
                })
                .collect();
            format!("({byte}, {})", values.join(", "))
        })
        .collect();
    statements.push(format!("INSERT INTO {NARROW} VALUES {}", bytes.join(", ")));

    let planes = [0x1_f600, 0x2_0000, 0x10_ff00];
    let starts = (0..0x1_0000).step_by(256).chain(planes);
    let rows: Vec<String> = starts
        .enumerate()
        .map(|(row, start)| {
            let characters = (start..start + 256).filter_map(char::from_u32);
            let text: String = characters.filter(|&character| character != '\0').collect();
            let digits = text.bytes().fold(String::new(), |mut digits, byte| {
                write!(digits, "{byte:02x}").expect("a String takes it");
                digits
            });
            let values = vec![format!("_utf8mb4 x'{digits}'"); wide.len()];
            format!("({row}, {})", values.join(", "))
        })
        .collect();
    for rows in rows.chunks(16) {
        statements.push(format!("INSERT INTO {WIDE} VALUES {}", rows.join(", ")));
    }
    statements
}

/// The statement that writes a table's rows once more.
fn repeat(table: &str, sets: &[String]) -> String {
    let columns: Vec<String> = sets.iter().map(|set| format!("`{set}`")).collect();
    format!(
        "INSERT INTO {table} SELECT id + {STREAMED}, {} FROM {table}",
        columns.join(", ")
    )
}

/// The first character in which two texts differ, for messages.
fn first_difference(left: &str, right: &str) -> String {
    let pairs = left.chars().zip(right.chars());
    match pairs.into_iter().find(|(left, right)| left != right) {
        Some((left, right)) => format!("{left:?} (U+{:04X}) is {right:?}", u32::from(left)),
        None => format!("{} and {} bytes", left.len(), right.len()),
    }
}
