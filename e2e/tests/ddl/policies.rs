//! Each policy for each kind of schema change: three pipelines follow the same tables, one with
//! `Ignore`, one with `Pause` and one with `Fail` for everything. (`Apply` is in
//! [`super::under_load`].)

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use sluice_agent_api::status::TableStatus;
use sluice_e2e::{
    MysqlDatabase, PgDatabase, PipelineFile, Servers, Sluice, WrittenPipeline, assert_equal,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// One table per kind of change, and the change.
const CHANGES: &[(&str, &str)] = &[
    ("p_add", "ALTER TABLE p_add ADD COLUMN extra INT DEFAULT 7"),
    ("p_drop", "ALTER TABLE p_drop DROP COLUMN a"),
    ("p_rename", "ALTER TABLE p_rename RENAME COLUMN a TO aa"),
    ("p_alter", "ALTER TABLE p_alter MODIFY a BIGINT"),
    (
        "p_rekey",
        "ALTER TABLE p_rekey DROP PRIMARY KEY, ADD PRIMARY KEY (id, b)",
    ),
    ("p_truncate", "TRUNCATE p_truncate"),
    ("p_drop_table", "DROP TABLE p_drop_table"),
    (
        "p_create",
        "CREATE TABLE p_create (id INT PRIMARY KEY, a INT)",
    ),
];

/// What is written afterwards.
const ROWS: &[&str] = &[
    "INSERT INTO p_add (id, a, extra) VALUES (3, 30, 8)",
    "INSERT INTO p_drop (id, b) VALUES (3, 'three')",
    "INSERT INTO p_rename (id, aa) VALUES (3, 30)",
    "INSERT INTO p_alter (id, a) VALUES (3, 30), (4, 5000000000)",
    "INSERT INTO p_rekey (id, a, b) VALUES (3, 30, 'three')",
    "INSERT INTO p_truncate (id, a) VALUES (3, 30)",
    "INSERT INTO p_create VALUES (1, 10)",
    "INSERT INTO p_other (id, a) VALUES (3, 30)",
];

/// One policy and its pipeline.
struct Follower {
    policy: &'static str,
    postgres: PgDatabase,
    file: PipelineFile,
    written: WrittenPipeline,
    sluice: Sluice,
}

impl Follower {
    /// Follows the tables as they are, and from now on by the policy.
    async fn start(servers: &Servers, mysql: &MysqlDatabase, policy: &'static str) -> Result<Self> {
        let postgres = PgDatabase::create(servers, "policies").await?;
        let name = format!("{}-{}", policy.to_lowercase(), std::process::id());
        let file = PipelineFile::new(mysql, &postgres).named(&format!("source-{name}"), &name);
        let mut written = file.write()?;
        let mut sluice = Sluice::run(&written, &[])?;
        sluice.wait_caught_up().await?;
        sluice.terminate().await?;
        let file = file.sink_spec(|spec| {
            spec["schemaChanges"] = json!({
                "createTable": policy, "addColumn": policy, "renameColumn": policy,
                "alterColumn": policy, "dropColumn": policy, "truncate": policy, "dropTable": policy,
            });
        });
        written.rewrite(&file)?;
        let sluice = Sluice::run(&written, &[])?;
        Ok(Self {
            policy,
            postgres,
            file,
            written,
            sluice,
        })
    }

    /// A table's rows in the target, each as `id|a|b`, or another select list.
    async fn rows(&self, schema: &str, table: &str, list: &str) -> Result<String> {
        let sql = format!(
            "SELECT string_agg(concat_ws('|', {list}), ' ' ORDER BY id) FROM \"{schema}\".{table}"
        );
        self.postgres.value(sql).await
    }

    async fn has_table(&self, schema: &str, table: &str) -> Result<bool> {
        let sql = format!("SELECT to_regclass('\"{schema}\".{table}') IS NOT NULL");
        Ok(self.postgres.value(sql).await? == "t")
    }

    /// Expects that nothing happened to the tables, and that status says so and why.
    async fn expect_stopped(&mut self, schema: &str, phase: &str, reason: &str) -> Result<()> {
        self.sluice
            .wait_until("every table to stop", PATIENCE, |status| {
                CHANGES.iter().all(|(table, _)| {
                    status
                        .tables
                        .get(&format!("{schema}.{table}"))
                        .is_some_and(|t| t.error.is_some())
                })
            })
            .await?;
        let status = self.sluice.status().await?;
        for (table, _) in CHANGES {
            let TableStatus {
                phase: found,
                error,
                ..
            } = &status.tables[&format!("{schema}.{table}")];
            let error = error.as_ref().expect("was waited for");
            assert_eq!(
                (found.as_str(), error.reason.as_str()),
                (phase, reason),
                "{table}: {error:?}"
            );
            let name = format!("{schema}.{table}");
            assert!(error.message.contains(&name), "{table}: {error:?}");
            let hint = error.hint.clone().unwrap_or_default();
            assert!(
                hint.contains("--resnapshot") && hint.contains(&name),
                "{table}: {error:?}"
            );
            if *table != "p_create" {
                let rows = self.rows(schema, table, "id, a, b").await?;
                assert_eq!(
                    rows, "1|10|one 2|20|two",
                    "{table} is as it was before its change"
                );
            }
        }
        assert!(!self.has_table(schema, "p_create").await?);
        let control = &status.tables[&format!("{schema}.p_other")];
        assert!(control.error.is_none(), "{control:?}");
        Ok(())
    }

    /// A person agrees: every table is copied again.
    async fn resnapshot(&mut self, mysql: &MysqlDatabase) -> Result<()> {
        self.sluice.terminate().await?;
        let pattern = format!("{}.*", mysql.name);
        self.sluice = Sluice::run(&self.written, &["--resnapshot", &pattern])?;
        mysql
            .exec("INSERT INTO p_other (id) VALUES (4) ON DUPLICATE KEY UPDATE a = 1")
            .await?;
        self.sluice.wait_caught_up().await?;
        let tables = [
            "p_add",
            "p_drop",
            "p_rename",
            "p_alter",
            "p_rekey",
            "p_truncate",
            "p_create",
            "p_other",
        ];
        let compared = assert_equal(mysql, &self.postgres, &tables).await;
        compared.map_err(|error| error.context(format!("{} after --resnapshot", self.policy)))?;
        let status = self.sluice.status().await?;
        // The source has none any more, and the target's is a person's to drop.
        assert!(
            !status
                .tables
                .contains_key(&format!("{}.p_drop_table", mysql.name))
        );
        for table in tables {
            let status = &status.tables[&format!("{}.{table}", mysql.name)];
            assert_eq!(
                (status.phase.as_str(), &status.error),
                ("Streaming", &None),
                "{table}"
            );
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_policy_does_what_it_says() -> Result<()> {
    let servers = Servers::from_env();
    let mysql = MysqlDatabase::create(&servers, "policies").await?;
    let schema = mysql.name.clone();
    for (table, _) in CHANGES.iter().filter(|(table, _)| *table != "p_create") {
        create(&mysql, table).await?;
    }
    create(&mysql, "p_other").await?;
    let mut ignore = Follower::start(&servers, &mysql, "Ignore").await?;
    let mut pause = Follower::start(&servers, &mysql, "Pause").await?;
    let mut fail = Follower::start(&servers, &mysql, "Fail").await?;
    for follower in [&mut ignore, &mut pause, &mut fail] {
        follower.sluice.wait_streaming().await?;
    }
    for (_, change) in CHANGES {
        mysql.exec(change).await?;
    }
    for rows in ROWS {
        mysql.exec(rows).await?;
    }
    for follower in [&mut ignore, &mut pause, &mut fail] {
        follower.sluice.wait_caught_up().await?;
        let rows = follower.rows(&schema, "p_other", "id, a").await?;
        assert_eq!(
            rows, "1|10 2|20 3|30",
            "the other table goes on with {}",
            follower.policy
        );
    }

    expect_ignored(&mut ignore, &schema).await?;
    pause
        .expect_stopped(&schema, "Paused", "SchemaChangePaused")
        .await?;
    fail.expect_stopped(&schema, "Failed", "SchemaChangeRefused")
        .await?;
    pause.resnapshot(&mysql).await?;
    fail.resnapshot(&mysql).await?;

    // A restart alone changes nothing, and a policy may be changed.
    let applies = ignore
        .file
        .clone()
        .sink_spec(|spec| spec["schemaChanges"] = json!({}));
    ignore.sluice.terminate().await?;
    ignore.written.rewrite(&applies)?;
    ignore.sluice = Sluice::run(&ignore.written, &[])?;
    mysql
        .exec("INSERT INTO p_rename (id, aa) VALUES (9, 90)")
        .await?;
    ignore.sluice.wait_caught_up().await?;
    let rows = ignore.rows(&schema, "p_rename", "id, a").await?;
    assert_eq!(rows, "1|10 2|20 3|30 9|90");
    for follower in [&mut ignore, &mut pause, &mut fail] {
        follower.sluice.terminate().await?;
    }
    Ok(())
}

async fn create(mysql: &MysqlDatabase, table: &str) -> Result<()> {
    let sql = format!(
        "CREATE TABLE {table} (id INT PRIMARY KEY, a INT, b VARCHAR(20) NOT NULL DEFAULT 'b'); \
         INSERT INTO {table} VALUES (1, 10, 'one'), (2, 20, 'two')"
    );
    mysql.exec(sql).await
}

/// The target's tables stay as they are, and rows fill them as far as they fit.
async fn expect_ignored(ignore: &mut Follower, schema: &str) -> Result<()> {
    let expected = [
        ("p_add", "id, a", "1|10 2|20 3|30"),
        (
            "p_drop",
            "id, coalesce(a::text, 'NULL'), b",
            "1|10|one 2|20|two 3|NULL|three",
        ),
        ("p_rename", "id, a", "1|10 2|20 3|30"),
        (
            "p_alter",
            "id, coalesce(a::text, 'NULL')",
            "1|10 2|20 3|30 4|NULL",
        ),
        // The target's key can't tell the new rows apart: the table waits.
        ("p_rekey", "id, a, b", "1|10|one 2|20|two"),
        ("p_truncate", "id, a", "1|10 2|20 3|30"),
        ("p_drop_table", "id, a", "1|10 2|20"),
    ];
    for (table, list, rows) in expected {
        assert_eq!(ignore.rows(schema, table, list).await?, rows, "{table}");
    }
    assert!(!ignore.has_table(schema, "p_create").await?);
    let sql = format!(
        "SELECT count(*) FROM information_schema.columns WHERE table_schema = '{schema}' \
         AND column_name IN ('extra', 'aa')"
    );
    assert_eq!(
        ignore.postgres.value(sql).await?,
        "0",
        "no column was added or renamed"
    );
    // What did not fit is counted, and what can't go on is named.
    let status = ignore.sluice.status().await?;
    for (table, remedy) in [("p_rekey", "UNIQUE"), ("p_create", "CREATE TABLE")] {
        let error = status.tables[&format!("{schema}.{table}")]
            .error
            .clone()
            .expect(table);
        assert_eq!(error.reason, "TargetIncompatible", "{error:?}");
        assert!(
            error.hint.clone().unwrap_or_default().contains(remedy),
            "{error:?}"
        );
    }
    assert_eq!(
        status.nulled_values.get(&format!("{schema}.p_alter.a")),
        Some(&1),
        "{status:#?}"
    );
    Ok(())
}
