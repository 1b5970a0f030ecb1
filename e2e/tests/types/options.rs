//! What a user may choose: truth values, native enums, arrays; and a target without PostGIS.

use anyhow::Result;
use mysql_async::prelude::Queryable;
use serde_json::json;
use sluice_e2e::{MysqlDatabase, PgDatabase, PipelineFile, Servers, Sluice};

use super::{
    LENIENT, documents, expect_families,
    kinds::{Family, Kind},
};

const CHOSEN: Family = Family {
    name: "chosen",
    kinds: &[
        Kind {
            name: "truth",
            mysql: "TINYINT(1)",
            postgres: "boolean",
            values: &[
                ("0", "false"),
                ("1", "true"),
                ("-1", "true"),
                ("127", "true"),
            ],
        },
        Kind {
            name: "not_truth",
            mysql: "TINYINT",
            postgres: "smallint",
            values: &[("2", "2")],
        },
        Kind {
            name: "not_truth_unsigned",
            mysql: "TINYINT(1) UNSIGNED",
            postgres: "smallint",
            values: &[("2", "2")],
        },
    ],
};

const ARRAYS: Family = Family {
    name: "arrays",
    kinds: &[Kind {
        name: "labels",
        mysql: "SET('a', 'b', 'it''s \"q\" \\\\', 'NULL', '{}')",
        postgres: "text[]",
        values: &[
            ("'b,a'", "{a,b}"),
            ("''", "{}"),
            ("'NULL,{}'", r#"{"NULL","{}"}"#),
            (r#"'it''s "q" \\'"#, r#"{"it's \"q\" \\"}"#),
        ],
    }],
};

#[tokio::test(flavor = "multi_thread")]
async fn types_follow_the_users_choice() -> Result<()> {
    let servers = Servers::from_env();
    let mysql = MysqlDatabase::create(&servers, "options").await?;
    let postgres = PgDatabase::create(&servers, "options").await?;
    let file = PipelineFile::new(&mysql, &postgres).sink_spec(|spec| {
        spec["postgres"]["tinyint1"] = json!("Boolean");
        spec["postgres"]["sets"] = json!("TextArray");
    });
    let families = [&CHOSEN, &ARRAYS, &documents::SHAPES_AS_BYTES];
    expect_families(&mysql, &postgres, &file, &families).await
}

#[tokio::test(flavor = "multi_thread")]
// MySQL itself keeps no 4-byte characters in labels (its catalog says `?`), hence none here.
async fn enums_become_native_ones_and_learn_new_labels() -> Result<()> {
    let servers = Servers::from_env();
    let mysql = MysqlDatabase::create(&servers, "enums").await?;
    let postgres = PgDatabase::create(&servers, "enums").await?;
    let mut conn = mysql.conn().await?;
    conn.query_drop(LENIENT).await?;
    conn.query_drop("CREATE TABLE t (id INT PRIMARY KEY, size ENUM('small', 'it''s', 'é€') NULL)")
        .await?;
    conn.query_drop("INSERT INTO t VALUES (1, 1), (2, 2), (3, 3), (4, NULL), (5, 'error')")
        .await?;
    let file = PipelineFile::new(&mysql, &postgres)
        .sink_spec(|spec| spec["postgres"]["enums"] = json!("Native"));
    let written = file.write()?;
    let mut sluice = Sluice::run(&written, &[])?;
    sluice.wait_streaming().await?;
    for statement in [
        "INSERT INTO t VALUES (11, 1), (12, 2), (13, 3), (14, NULL), (15, 'error')",
        "ALTER TABLE t MODIFY size ENUM('tiny', 'small', 'it''s', 'é€', 'huge') NULL",
        "INSERT INTO t VALUES (21, 'tiny'), (22, 'huge')",
        "UPDATE t SET size = 'huge' WHERE id = 1",
    ] {
        conn.query_drop(statement).await?;
    }
    conn.disconnect().await?;
    sluice.wait_caught_up().await?;
    let schema = &mysql.name;
    let rows = postgres
        .rows(format!(
            "SELECT id::text, size::text FROM \"{schema}\".t ORDER BY t.id"
        ))
        .await?;
    let rows: Vec<(&str, Option<&str>)> = rows
        .iter()
        .map(|row| (row[0].as_deref().unwrap_or_default(), row[1].as_deref()))
        .collect();
    let expected = [
        ("1", Some("huge")),
        ("2", Some("it's")),
        ("3", Some("é€")),
        ("4", None),
        ("5", Some("")),
        ("11", Some("small")),
        ("12", Some("it's")),
        ("13", Some("é€")),
        ("14", None),
        ("15", Some("")),
        ("21", Some("tiny")),
        ("22", Some("huge")),
    ];
    assert_eq!(rows, expected);
    let kind = postgres
        .value(format!(
            "SELECT typtype FROM pg_attribute a JOIN pg_type t ON t.oid = atttypid \
             WHERE attrelid = '\"{schema}\".t'::regclass AND attname = 'size'"
        ))
        .await?;
    assert_eq!(kind, "e", "a native enum");
    sluice.terminate().await?;
    Ok(())
}
