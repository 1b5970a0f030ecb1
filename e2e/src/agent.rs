//! An agent's mounts as the operator makes them: a configuration in JSON and Secrets as files.

use std::{fs, path::PathBuf, sync::Arc};

use anyhow::{Result, bail};
use sluice_agent_api::{
    AgentConfig, SecretKey,
    config::{
        BatchConfig, ConnectionConfig, Deletes, MysqlConfig, OnBadRecord, OnPositionLost,
        PostgresConfig, SchemaPolicies, SchemaPolicy, SinkConfig, SinkSystem, SnapshotConfig,
        SnapshotMode, SourceConfig, SourceSystem, TlsConfig, Unrepresentable,
    },
};
use tempfile::TempDir;

use crate::{MysqlDatabase, PgDatabase, pipeline::Ends, servers::Endpoint};

/// The folder of one agent; it goes when nobody needs it any more.
#[derive(Debug, Clone)]
pub struct AgentFolder {
    /// Both ends.
    pub ends: Ends,
    /// What the agent is to do; takes effect with [`write`](Self::write) and a new start.
    pub config: AgentConfig,
    folder: Arc<TempDir>,
}

impl AgentFolder {
    /// Every table of the MySQL database, everything by default.
    pub fn new(mysql: &MysqlDatabase, postgres: &PgDatabase) -> Result<Self> {
        let ends = Ends {
            pipeline: mysql.name.clone(),
            mysql: mysql.endpoint.clone(),
            mysql_database: mysql.name.clone(),
            postgres: postgres.endpoint.clone(),
            postgres_database: postgres.name.clone(),
            through: None,
        };
        let new = Self::with_config(ends.clone(), config(&ends))?;
        for (secret, endpoint) in [("mysql", &mysql.endpoint), ("postgres", &postgres.endpoint)] {
            new.secret(secret, &endpoint.user, &endpoint.password)?;
        }
        Ok(new)
    }

    /// Any configuration, without Secrets so far.
    pub fn with_config(ends: Ends, config: AgentConfig) -> Result<Self> {
        let new = Self {
            config,
            ends,
            folder: Arc::new(tempfile::Builder::new().prefix("sluice-pod-").tempdir()?),
        };
        new.write()?;
        Ok(new)
    }

    /// Writes the configuration.
    pub fn write(&self) -> Result<()> {
        Ok(fs::write(
            self.config_path(),
            serde_json::to_string(&self.config)?,
        )?)
    }

    /// Writes or replaces a Secret with a login.
    pub fn secret(&self, name: &str, user: &str, password: &str) -> Result<()> {
        let folder = self.secrets_path().join(name);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("username"), user)?;
        Ok(fs::write(folder.join("password"), password)?)
    }

    /// How MySQL is reached; an error when the source is another.
    pub fn mysql(&mut self) -> Result<&mut ConnectionConfig> {
        let SourceSystem::Mysql(mysql) = &mut self.config.source.system else {
            bail!("the source is not MySQL");
        };
        Ok(&mut mysql.connection)
    }

    /// How PostgreSQL is reached; an error when the target is another.
    pub fn postgres(&mut self) -> Result<&mut ConnectionConfig> {
        let SinkSystem::Postgres(postgres) = &mut self.config.sink.system else {
            bail!("the target is not PostgreSQL");
        };
        Ok(&mut postgres.connection)
    }

    /// Where the configuration is.
    pub fn config_path(&self) -> PathBuf {
        self.folder.path().join("agent.json")
    }

    /// Where the Secrets are.
    pub fn secrets_path(&self) -> PathBuf {
        self.folder.path().join("secrets")
    }

    pub(crate) fn folder(&self) -> Arc<TempDir> {
        Arc::clone(&self.folder)
    }
}

fn config(ends: &Ends) -> AgentConfig {
    let connection = |secret: &str, endpoint: &Endpoint, database: Option<String>| {
        let key = |key: &str| SecretKey {
            name: secret.to_owned(),
            key: key.to_owned(),
        };
        ConnectionConfig {
            host: endpoint.host.clone(),
            port: endpoint.port,
            database,
            username: key("username"),
            password: key("password"),
            tls: TlsConfig::default(),
        }
    };
    let apply = SchemaPolicy::Apply;
    AgentConfig {
        pipeline: ends.pipeline.clone(),
        source: SourceConfig {
            name: "source".to_owned(),
            include: vec![format!("{}.*", ends.mysql_database)],
            exclude: Vec::new(),
            heartbeat_seconds: 10,
            system: SourceSystem::Mysql(MysqlConfig {
                connection: connection("mysql", &ends.mysql, None),
                server_id: fastrand::u32(1_000_000..),
            }),
        },
        sink: SinkConfig {
            name: "sink".to_owned(),
            schema_changes: SchemaPolicies {
                create_table: apply,
                add_column: apply,
                rename_column: apply,
                alter_column: apply,
                drop_column: apply,
                truncate: apply,
                drop_table: apply,
            },
            deletes: Deletes::Apply,
            on_bad_record: OnBadRecord::DeadLetter,
            dead_letter_topic: None,
            unrepresentable: Unrepresentable::Null,
            system: SinkSystem::Postgres(PostgresConfig {
                connection: connection(
                    "postgres",
                    &ends.postgres,
                    Some(ends.postgres_database.clone()),
                ),
                tinyint1: sluice_agent_api::config::Tinyint1::default(),
                enums: sluice_agent_api::config::EnumAs::default(),
                sets: sluice_agent_api::config::SetAs::default(),
            }),
        },
        snapshot: SnapshotConfig {
            mode: SnapshotMode::Initial,
            chunk_rows: 10_000,
            parallelism: 2,
        },
        on_position_lost: OnPositionLost::Fail,
        tables: Vec::new(),
        batch: BatchConfig {
            rows_max: 20_000,
            size_bytes_max: 16 << 20,
            delay_ms_max: 100,
        },
        resnapshot: None,
        replicas: None,
    }
}
