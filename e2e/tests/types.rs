//! Types: what arrives through the snapshot equals what arrives through the stream, and both equal
//! what PostgreSQL should show, for every row of FIELD.md 1.3 and section 8 of DESIGN.md.
//!
//! [`kinds`] explains the tables of examples; [`charsets`], [`keys`], [`names`], [`images`],
//! [`options`] and [`random`] look at one side of the matter each.

mod charsets;
mod documents;
mod images;
mod keys;
mod kinds;
mod large;
mod names;
mod numbers;
mod options;
mod random;
mod temporal;
mod text;

use std::collections::BTreeMap;

use anyhow::Result;
use mysql_async::prelude::Queryable;
use sluice_e2e::{
    MysqlDatabase, PgDatabase, PipelineFile, Servers, Sluice, ThrowAway, assert_equal,
};

use kinds::{COPIED, DELETED, Family, STREAMED, UPDATED};

const FAMILIES: &[&Family] = &[
    &numbers::INTEGERS,
    &numbers::DECIMALS,
    &numbers::FLOATS,
    &numbers::BITS,
    &temporal::MOMENTS,
    &temporal::SPANS,
    &text::TEXTS,
    &text::FOREIGN,
    &documents::BYTES,
    &documents::DOCUMENTS,
    &documents::LABELS,
    &documents::VECTORS,
];

/// Lets invalid dates, labels that are not in the list and such into tables.
const LENIENT: &str = "SET SESSION sql_mode = 'ALLOW_INVALID_DATES'";

#[tokio::test(flavor = "multi_thread")]
async fn every_type_arrives_the_same_through_snapshot_and_stream() -> Result<()> {
    let servers = Servers::from_env();
    let mysql = MysqlDatabase::create(&servers, "types").await?;
    let postgres = PgDatabase::create(&servers, "types").await?;
    postgres.exec("CREATE EXTENSION postgis").await?;
    let families = [FAMILIES, &[&documents::SHAPES]].concat();
    let file = PipelineFile::new(&mysql, &postgres);
    expect_families(&mysql, &postgres, &file, &families).await
}

/// A server whose defaults would change what a careless reader sees.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_odd_settings_changes_no_value() -> Result<()> {
    let odd = ThrowAway::mysql(&[
        "--default-time-zone=-05:30",
        "--sql-mode=ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PAD_CHAR_TO_FULL_LENGTH,IGNORE_SPACE",
        "--character-set-server=latin1",
        "--binlog-checksum=NONE",
        "--binlog-rows-query-log-events=ON",
        "--binlog-transaction-compression=ON",
        "--default-week-format=3",
        "--lc-time-names=de_DE",
        "--completion-type=CHAIN",
        "--autocommit=OFF",
    ])
    .await?;
    let mysql = MysqlDatabase::create(odd.servers(), "odd").await?;
    let postgres = PgDatabase::create(odd.servers(), "odd").await?;
    for setting in [
        "timezone = 'Asia/Kolkata'",
        "search_path = ''",
        "default_transaction_isolation = 'serializable'",
        "standard_conforming_strings = off",
        "default_transaction_deferrable = on",
    ] {
        postgres
            .exec(format!("ALTER DATABASE {} SET {setting}", postgres.name))
            .await?;
    }
    let file = PipelineFile::new(&mysql, &postgres);
    expect_families(&mysql, &postgres, &file, FAMILIES).await
}

/// Writes the families' rows by every way and expects each value to arrive, and those that can't to
/// be counted.
async fn expect_families(
    mysql: &MysqlDatabase,
    postgres: &PgDatabase,
    file: &PipelineFile,
    families: &[&Family],
) -> Result<()> {
    let mut conn = mysql.conn().await?;
    conn.query_drop("SET SESSION autocommit = ON, completion_type = 'NO_CHAIN'")
        .await?;
    conn.query_drop(LENIENT).await?;
    for family in families {
        conn.query_drop(family.create()).await?;
        conn.query_drop(family.insert(COPIED, 0)).await?;
        conn.query_drop(family.insert(UPDATED, 1)).await?;
        conn.query_drop(family.insert(DELETED, 0)).await?;
    }

    let written = file.write()?;
    let mut sluice = Sluice::run(&written, &[])?;
    sluice.wait_caught_up().await?;
    let nulled = sluice.status().await?.nulled_values;
    assert_eq!(
        nulled,
        nulled_values(&mysql.name, families, 3),
        "counted by the snapshot"
    );

    for family in families {
        for update in family.updates(UPDATED) {
            conn.query_drop(update).await?;
        }
        conn.query_drop(family.insert(STREAMED, 0)).await?;
        conn.query_drop(format!("DELETE FROM {} WHERE id >= {DELETED}", family.name))
            .await?;
    }
    conn.disconnect().await?;
    sluice.wait_caught_up().await?;
    let nulled = sluice.status().await?.nulled_values;
    assert_eq!(
        nulled,
        nulled_values(&mysql.name, families, 5),
        "counted by the stream"
    );

    let mut differences = Vec::new();
    for family in families {
        differences.extend(type_differences(postgres, &mysql.name, family).await?);
        let rows = postgres.rows(family.select(&mysql.name)).await?;
        differences.extend(family.differences(&rows));
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    sluice.terminate().await?;
    Ok(())
}

/// Compares every table of the source's database.
async fn assert_all_equal(mysql: &MysqlDatabase, postgres: &PgDatabase) -> Result<()> {
    let tables = mysql.rows("SHOW TABLES").await?;
    let tables: Vec<&str> = tables.iter().filter_map(|row| row[0].as_deref()).collect();
    assert!(!tables.is_empty(), "nothing to compare");
    assert_equal(mysql, postgres, &tables).await
}

/// The counts that status should show when each row was written so often.
fn nulled_values(schema: &str, families: &[&Family], times: u64) -> BTreeMap<String, u64> {
    let counts = families.iter().flat_map(|family| {
        let count =
            move |(column, count)| (format!("{schema}.{}.{column}", family.name), count * times);
        family.nulled().map(count)
    });
    counts.collect()
}

/// The columns that did not get the type which they should.
async fn type_differences(
    postgres: &PgDatabase,
    schema: &str,
    family: &Family,
) -> Result<Vec<String>> {
    let sql = format!(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute \
         WHERE attrelid = '\"{schema}\".\"{}\"'::regclass AND attnum > 0 AND NOT attisdropped",
        family.name
    );
    let types: BTreeMap<String, String> = postgres
        .rows(sql)
        .await?
        .into_iter()
        .filter_map(|row| Some((row[0].clone()?, row[1].clone()?)))
        .collect();
    let difference = |kind: &kinds::Kind| {
        let found = types.get(kind.name).map(String::as_str);
        (found != Some(kind.postgres)).then(|| {
            format!(
                "{}.{}: {} became {found:?}",
                family.name, kind.name, kind.mysql
            )
        })
    };
    Ok(family.kinds.iter().filter_map(difference).collect())
}
