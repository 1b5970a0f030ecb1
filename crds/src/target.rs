//! The systems that a replica can be kept in.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::connection::{Credentials, SecretReference, Tls};

/// A PostgreSQL database, 12 or newer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PostgresSink {
    /// Host name or address.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[^\s/@]+$"))]
    pub host: String,
    /// TCP port.
    #[serde(default = "default_postgres_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// The database. Schemas and tables are created in it when they are absent.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("can't be changed: another database is another replica; create another ReplicaSink"))]
    pub database: String,
    /// User name and password. The user needs `CREATE` on the database.
    pub credentials: Credentials,
    /// Encryption of the connection. Without it, plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// What a MySQL `tinyint(1)` column is created as.
    #[serde(default)]
    pub tinyint1: Tinyint1,
    /// What a MySQL `enum` column is created as.
    #[serde(default)]
    pub enums: EnumAs,
    /// What a MySQL `set` column is created as.
    #[serde(default)]
    pub sets: SetAs,
}

/// What `tinyint(1)` is created as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Tinyint1 {
    /// `smallint`: every value arrives.
    #[default]
    Smallint,
    /// `boolean`: zero is false, anything else true.
    Boolean,
}

/// What an enum is created as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EnumAs {
    /// `text`.
    #[default]
    Text,
    /// A native enum type.
    Native,
}

/// What a set is created as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SetAs {
    /// `text`, labels joined by commas.
    #[default]
    Text,
    /// `text[]`.
    TextArray,
}

/// A MySQL server, 8.0.1 or newer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MysqlSink {
    /// Host name or address.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[^\s/@]+$"))]
    pub host: String,
    /// TCP port.
    #[serde(default = "default_mysql_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// User name and password.
    pub credentials: Credentials,
    /// Encryption of the connection. Without it, plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// A ClickHouse database, reached over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClickhouseSink {
    /// Host name or address.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[^\s/@]+$"))]
    pub host: String,
    /// TCP port of the HTTP interface.
    #[serde(default = "default_clickhouse_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// The database.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("can't be changed: another database is another replica; create another ReplicaSink"))]
    pub database: String,
    /// User name and password.
    pub credentials: Credentials,
    /// Encryption of the connection. Without it, plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// Parquet files: one folder per table, each file named by the positions that it covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.path) != has(self.s3)")
        .message("exactly one of path and s3 is needed"),
    validation = Rule::new("has(self.path) == has(oldSelf.path)")
        .message("can't be moved between a folder and a bucket: create another ReplicaSink"),
)]
pub struct ParquetSink {
    /// A folder in the agent's file system, such as a mounted volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), regex(pattern = r"^/"))]
    pub path: Option<String>,
    /// A bucket with the S3 API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Location>,
    /// A file is finished when it holds this many mebibytes.
    #[serde(default = "default_file_mebibytes")]
    #[schemars(range(min = 1, max = 4096))]
    pub file_mebibytes: u32,
    /// A file is finished at the latest when it is this many seconds old.
    #[serde(default = "default_file_seconds")]
    #[schemars(range(min = 1, max = 86_400))]
    pub file_seconds: u32,
}

/// A place in a bucket with the S3 API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct S3Location {
    /// The bucket.
    #[schemars(length(min = 3, max = 63))]
    pub bucket: String,
    /// What the objects' names begin with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub prefix: Option<String>,
    /// The region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub region: Option<String>,
    /// The service's address, for others than AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = r"^https?://[^\s@]+$"))]
    pub endpoint: Option<String>,
    /// The Secret whose keys `accessKeyId` and `secretAccessKey` are used. Without it, the pod's
    /// own identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
}

/// OpenSearch indexes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct OpensearchSink {
    /// The cluster's address, without user or password.
    #[schemars(length(max = 2048), regex(pattern = r"^https?://[^\s@]+$"))]
    pub url: String,
    /// The name of each table's index; `{schema}` and `{table}` are filled in.
    #[serde(default = "default_index")]
    #[schemars(length(min = 1, max = 200))]
    #[x_kube(validation = Rule::new("self.contains('{table}')")
        .message("must contain {table}, so that each table has an index of its own"))]
    pub index: String,
    /// User name and password; none without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// How the cluster's certificate is checked, for `https`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

fn default_postgres_port() -> u16 {
    5432
}

fn default_mysql_port() -> u16 {
    3306
}

fn default_clickhouse_port() -> u16 {
    8123
}

fn default_file_mebibytes() -> u32 {
    128
}

fn default_file_seconds() -> u32 {
    300
}

fn default_index() -> String {
    "{schema}.{table}".to_owned()
}
