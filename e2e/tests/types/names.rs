//! Names that must be quoted: of databases, tables and columns.

use anyhow::Result;
use mysql_async::prelude::Queryable;
use sluice_e2e::{MysqlDatabase, PgDatabase, PipelineFile, Servers, Sluice, assert_equal};

/// Names of tables; each has a column of its own name too.
const NAMES: &[&str] = &[
    "a\"b",
    "my table",
    "select",
    "UPPER",
    "upper",
    "MiXeD",
    "dot.ted",
    "back`tick",
    "it's",
    "колонка",
    "表",
    "%s",
    "$1",
    "1st",
    "back\\slash",
    "comma,semicolon;",
    "--comment",
    "{brace}",
    "tab\there",
    "user",
    "null",
    "a_name_of_sixty_three_characters_the_most_that_postgresql_allow",
];

/// Tables that PostgreSQL can't have, and what status says of them.
const IMPOSSIBLE: &[(&str, &str)] = &[
    (
        "CREATE TABLE a_name_of_sixty_four_characters_one_more_than_postgresql_knows__ (id INT)",
        "longer than PostgreSQL's 63 bytes",
    ),
    (
        "CREATE TABLE long_column (id INT PRIMARY KEY, \
         a_name_of_sixty_four_characters_one_more_than_postgresql_knows__ INT)",
        "longer than PostgreSQL's 63 bytes",
    ),
    (
        "CREATE TABLE kept_column (id INT PRIMARY KEY, ctid INT)",
        "PostgreSQL keeps the column name ctid for itself",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn names_that_need_quotes_arrive_as_they_are() -> Result<()> {
    let servers = Servers::from_env();
    let name = format!("odd \"name's\" Ünï`{}", std::process::id());
    let mysql = MysqlDatabase::create_named(&servers, &name).await?;
    let postgres = PgDatabase::create(&servers, "names").await?;
    let mut conn = mysql.conn().await?;
    for name in NAMES {
        let quoted = sluice_e2e::mysql::quote(name);
        conn.query_drop(format!(
            "CREATE TABLE {quoted} (`the \"id` INT PRIMARY KEY, {quoted} VARCHAR(20), `Other` INT)"
        ))
        .await?;
        conn.query_drop(format!(
            "INSERT INTO {quoted} VALUES (1, 'copied', 1), (2, 'gone', 2)"
        ))
        .await?;
    }
    for (create, _) in IMPOSSIBLE {
        conn.query_drop(*create).await?;
    }
    let written = PipelineFile::new(&mysql, &postgres).write()?;
    let mut sluice = Sluice::run(&written, &[])?;
    sluice.wait_caught_up().await?;
    for name in NAMES {
        let quoted = sluice_e2e::mysql::quote(name);
        for statement in [
            format!("INSERT INTO {quoted} VALUES (3, 'streamed', 3)"),
            format!("UPDATE {quoted} SET {quoted} = 'changed' WHERE `the \"id` = 1"),
            format!("DELETE FROM {quoted} WHERE `the \"id` = 2"),
            format!("ALTER TABLE {quoted} ADD COLUMN `new \" INT` INT DEFAULT 7"),
            format!("ALTER TABLE {quoted} RENAME COLUMN `Other` TO `an other`"),
            format!("INSERT INTO {quoted} (`the \"id`, `an other`) VALUES (4, 4)"),
        ] {
            conn.query_drop(statement).await?;
        }
    }
    conn.disconnect().await?;
    sluice.wait_caught_up().await?;
    assert_equal(&mysql, &postgres, NAMES).await?;

    let status = sluice.status().await?;
    let errors: Vec<_> = status
        .tables
        .values()
        .filter_map(|table| table.error.as_ref())
        .collect();
    assert_eq!(errors.len(), IMPOSSIBLE.len(), "{errors:#?}");
    for (_, message) in IMPOSSIBLE {
        let error = errors.iter().find(|error| error.message.contains(message));
        let error = error.unwrap_or_else(|| panic!("{message:?} is not among {errors:#?}"));
        assert_eq!(error.reason, "TargetIncompatible");
        let hint = error.hint.as_deref().unwrap_or_default();
        assert!(
            hint.contains("name another one in the sink's tables"),
            "{error:?}"
        );
    }

    let sql = "SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace \
               WHERE relkind = 'r' AND nspname LIKE 'odd %' ORDER BY 1";
    let found = postgres.rows(sql).await?;
    let mut found: Vec<&str> = found.iter().filter_map(|row| row[0].as_deref()).collect();
    let mut expected = NAMES.to_vec();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    sluice.terminate().await?;
    Ok(())
}
