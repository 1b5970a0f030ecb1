//! Pipeline files as a user writes them: two Secrets, a ReplicationSource and a ReplicaSink.

use std::{
    fs::Permissions,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Result;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{MysqlDatabase, PgDatabase, kafka::Through, servers::Endpoint};

/// Builds a pipeline file that replicates one MySQL database into one PostgreSQL database.
#[derive(Debug, Clone)]
pub struct PipelineFile {
    ends: Ends,
    source: Value,
    sink: Value,
    secrets: Vec<Value>,
}

/// What a test needs to know about a pipeline's ends to watch it from outside.
#[derive(Debug, Clone)]
pub struct Ends {
    /// The pipeline's name in `sluice.positions`.
    pub pipeline: String,
    /// The source's server, not by way of a proxy.
    pub mysql: Endpoint,
    /// The source's database.
    pub mysql_database: String,
    /// The target's server, not by way of a proxy.
    pub postgres: Endpoint,
    /// The target's database.
    pub postgres_database: String,
    /// The way between them, where it is not direct.
    pub through: Option<Through>,
}

impl PipelineFile {
    /// Every table of the MySQL database, everything by default, directly unless the environment says
    /// otherwise (see [`Through`]).
    pub fn new(mysql: &MysqlDatabase, postgres: &PgDatabase) -> Self {
        // The names make the replica id, which has to differ between tests on one server.
        let name = resource_name(&mysql.name);
        let ends = Ends {
            pipeline: name.clone(),
            mysql: mysql.endpoint.clone(),
            mysql_database: mysql.name.clone(),
            postgres: postgres.endpoint.clone(),
            postgres_database: postgres.name.clone(),
            through: Through::from_env(&name),
        };
        let mut source = json!({
            "mysql": {
                "host": mysql.endpoint.host,
                "port": mysql.endpoint.port,
                "credentials": {"secretRef": {"name": "mysql"}},
            },
            "tables": {"include": [format!("{}.*", mysql.name)]},
        });
        if let Some(through) = &ends.through {
            source["kafka"] = through.spec();
        }
        let sink = json!({
            "sourceRef": {"name": name},
            "postgres": {
                "host": postgres.endpoint.host,
                "port": postgres.endpoint.port,
                "database": postgres.name,
                "credentials": {"secretRef": {"name": "postgres"}},
            },
        });
        let file = Self {
            ends,
            source,
            sink,
            secrets: Vec::new(),
        };
        let mysql = &mysql.endpoint;
        let postgres = &postgres.endpoint;
        file.mysql_login(&mysql.user, &mysql.password)
            .postgres_login(&postgres.user, &postgres.password)
    }

    /// Renames both resources; the sink's name is the pipeline's.
    pub fn named(mut self, source: &str, sink: &str) -> Self {
        sink.clone_into(&mut self.ends.pipeline);
        self.sink["sourceRef"]["name"] = json!(source);
        if let Some(through) = &mut self.ends.through {
            source.clone_into(&mut through.source);
        }
        self
    }

    /// Changes the `spec` of the ReplicationSource.
    pub fn source_spec(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.source);
        self
    }

    /// Changes the `spec` of the ReplicaSink.
    pub fn sink_spec(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.sink);
        self
    }

    /// Reaches MySQL at another address, such as a proxy's.
    pub fn mysql_address(self, host: &str, port: u16) -> Self {
        self.source_spec(|spec| {
            spec["mysql"]["host"] = json!(host);
            spec["mysql"]["port"] = json!(port);
        })
    }

    /// Reaches PostgreSQL at another address, such as a proxy's.
    pub fn postgres_address(self, host: &str, port: u16) -> Self {
        self.sink_spec(|spec| {
            spec["postgres"]["host"] = json!(host);
            spec["postgres"]["port"] = json!(port);
        })
    }

    /// Logs in to MySQL as somebody else.
    pub fn mysql_login(self, user: &str, password: &str) -> Self {
        self.secret("mysql", &[("username", user), ("password", password)])
    }

    /// Logs in to PostgreSQL as somebody else.
    pub fn postgres_login(self, user: &str, password: &str) -> Self {
        self.secret("postgres", &[("username", user), ("password", password)])
    }

    /// Adds or replaces a Secret.
    pub fn secret(mut self, name: &str, content: &[(&str, &str)]) -> Self {
        self.secrets
            .retain(|secret| secret["metadata"]["name"] != name);
        let data: serde_json::Map<String, Value> = content
            .iter()
            .map(|(key, value)| ((*key).to_owned(), json!(value)))
            .collect();
        self.secrets.push(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name},
            "stringData": data,
        }));
        self
    }

    /// The file's text.
    pub fn yaml(&self) -> Result<String> {
        let resource = |kind: &str, name: &Value, spec: &Value| {
            json!({
                "apiVersion": "sluice.dev/v1alpha1",
                "kind": kind,
                "metadata": {"name": name},
                "spec": spec,
            })
        };
        let source_name = &self.sink["sourceRef"]["name"];
        let mut documents = self.secrets.clone();
        documents.push(resource("ReplicationSource", source_name, &self.source));
        documents.push(resource(
            "ReplicaSink",
            &json!(self.ends.pipeline),
            &self.sink,
        ));
        let texts: Result<Vec<String>, _> = documents.iter().map(serde_yaml::to_string).collect();
        Ok(texts?.join("---\n"))
    }

    /// Writes the file into a folder of its own, which goes when nobody needs it any more.
    pub fn write(&self) -> Result<WrittenPipeline> {
        let folder = tempfile::Builder::new()
            .prefix("sluice-pipeline-")
            .tempdir()?;
        let path = folder.path().join("pipeline.yaml");
        std::fs::write(&path, self.yaml()?)?;
        Ok(WrittenPipeline {
            ends: self.ends.clone(),
            path,
            folder: Some(Arc::new(folder)),
        })
    }

    /// Writes the file where it stays, readable by its owner alone: it holds passwords.
    pub fn write_to(&self, path: &Path) -> Result<WrittenPipeline> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, "")?;
        std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
        std::fs::write(path, self.yaml()?)?;
        Ok(WrittenPipeline {
            ends: self.ends.clone(),
            path: path.to_owned(),
            folder: None,
        })
    }
}

/// A pipeline file on disk; without a place of its own it is removed when this and every agent that
/// runs it are dropped.
#[derive(Debug)]
pub struct WrittenPipeline {
    /// Both ends.
    pub ends: Ends,
    path: PathBuf,
    folder: Option<Arc<TempDir>>,
}

impl WrittenPipeline {
    /// The folder, for those who need the file longer.
    pub(crate) fn folder(&self) -> Option<Arc<TempDir>> {
        self.folder.clone()
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the file's text by that of another builder (for a changed configuration).
    pub fn rewrite(&mut self, file: &PipelineFile) -> Result<()> {
        self.ends = file.ends.clone();
        Ok(std::fs::write(&self.path, file.yaml()?)?)
    }
}

impl AsRef<Path> for WrittenPipeline {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

/// A database's name as Kubernetes allows names: the end of it, which is what differs.
pub(crate) fn resource_name(database: &str) -> String {
    let name: String = database
        .to_lowercase()
        .chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() {
                letter
            } else {
                '-'
            }
        })
        .collect();
    let start = name.len().saturating_sub(50);
    name[start..].trim_matches('-').to_owned()
}
