//! A shop whose changes go through Kafka to its replicas.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use sluice_crds::{ReplicaSink, ReplicationSource};
use sluice_e2e::{
    Cluster, MysqlDatabase, Namespace, PgDatabase, PipelineFile, Shop,
    cluster::{Operator, condition},
    compare::{Pair, wait_equal},
    kafka::{Format, KafkaServers},
};

/// How long anything may take that passes by itself.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// The sink that is there from the beginning.
pub(super) const SINK: &str = "pg";
/// What is captured. Not `seats`: rows that exchange unique values come in the order of their own
/// partitions.
pub(super) const TABLES: [&str; 7] = [
    "orders",
    "customers",
    "accounts",
    "counters",
    "events",
    "tags",
    "order_lines",
];

/// The shop, and resources for it.
pub(super) struct Fed {
    pub(super) namespace: Namespace,
    pub(super) mysql: MysqlDatabase,
    pub(super) postgres: PgDatabase,
    pub(super) shop: Shop,
    /// Also the beginning of the topics' names.
    pub(super) source: String,
    file: PipelineFile,
}

impl Fed {
    /// The shop, and resources that are not applied yet.
    pub(super) async fn prepare(
        cluster: &Cluster,
        kafka: &KafkaServers,
        label: &str,
        format: Format,
    ) -> Result<Self> {
        Operator::installed(cluster).await?;
        let servers = cluster.databases()?;
        let mysql = MysqlDatabase::create(&servers, label).await?;
        let postgres = PgDatabase::create(&servers, label).await?;
        let shop = Shop::create(&mysql).await?;
        shop.load_rows(1_000).await?;
        let namespace = cluster.namespace(label).await?;
        let source = namespace.name.clone();
        let tables = TABLES.map(|table| format!("{}.{table}", mysql.name));
        let file = PipelineFile::new(&mysql, &postgres)
            .named(&source, SINK)
            .source_spec(|spec| {
                spec["tables"]["include"] = json!(tables);
                spec["kafka"] = json!({
                    "bootstrapServers": kafka.bootstrap,
                    "partitions": 6,
                    "replicationFactor": 1,
                    "format": format.spec(kafka),
                });
            });
        Ok(Self {
            namespace,
            mysql,
            postgres,
            shop,
            source,
            file,
        })
    }

    /// Applies the resources, and waits until both are ready and the rows are there.
    pub(super) async fn start(&self) -> Result<()> {
        self.namespace.apply(&self.file.yaml()?).await?;
        self.flows().await
    }

    /// Waits until both are ready and the replica is equal.
    pub(super) async fn flows(&self) -> Result<()> {
        self.wait_source("True", None, PATIENCE).await?;
        self.wait_sink(SINK, "True", None, PATIENCE).await?;
        self.equal().await
    }

    pub(super) async fn equal(&self) -> Result<()> {
        let pairs = TABLES.map(|table| Pair::same(&self.mysql, table));
        let waited = wait_equal(&self.mysql, &self.postgres, &pairs, PATIENCE).await;
        match waited {
            Ok(()) => Ok(()),
            Err(error) => {
                let seen = self.namespace.describe::<ReplicaSink>(SINK).await;
                Err(error.context(seen))
            }
        }
    }

    /// Applies another sink of the same source.
    pub(super) async fn add_sink(
        &self,
        name: &str,
        postgres: &PgDatabase,
        more: &Value,
    ) -> Result<()> {
        let mut spec = json!({
            "sourceRef": {"name": self.source},
            "postgres": {
                "host": postgres.endpoint.host,
                "port": postgres.endpoint.port,
                "database": postgres.name,
                "credentials": {"secretRef": {"name": "postgres"}},
            },
        });
        if let (Some(spec), Some(more)) = (spec.as_object_mut(), more.as_object()) {
            spec.extend(more.clone());
        }
        let object = json!({
            "apiVersion": "sluice.dev/v1alpha1",
            "kind": "ReplicaSink",
            "metadata": {"name": name},
            "spec": spec,
        });
        self.namespace.apply(&object.to_string()).await?;
        Ok(())
    }

    /// The pod that captures.
    pub(super) fn capture_pod(&self) -> String {
        format!("{}-capture-0", self.source)
    }

    /// Waits until the source's `Ready` is so, for this reason if one is given.
    pub(super) async fn wait_source(
        &self,
        status: &str,
        reason: Option<&str>,
        at_most: Duration,
    ) -> Result<ReplicationSource> {
        let what = format!("Ready={status} {reason:?} of the source");
        let wanted = |source: &ReplicationSource| is_so(source, status, reason);
        self.namespace
            .wait_for(&self.source, &what, at_most, wanted)
            .await
    }

    /// The same of a sink.
    pub(super) async fn wait_sink(
        &self,
        name: &str,
        status: &str,
        reason: Option<&str>,
        at_most: Duration,
    ) -> Result<ReplicaSink> {
        let what = format!("Ready={status} {reason:?} of sink {name}");
        let wanted = |sink: &ReplicaSink| is_so(sink, status, reason);
        self.namespace.wait_for(name, &what, at_most, wanted).await
    }

    /// Fails if a sink says that records were kept aside.
    pub(super) async fn assert_nothing_refused(&self) -> Result<()> {
        let sink: ReplicaSink = self.namespace.get(SINK).await?;
        let status = sink.status.unwrap_or_default();
        ensure!(status.dead_letters == Some(0), "{status:#?}");
        Ok(())
    }
}

fn is_so(object: &impl serde::Serialize, status: &str, reason: Option<&str>) -> bool {
    condition(object, "Ready").is_some_and(|ready| {
        ready.status == status && reason.is_none_or(|reason| ready.reason == reason)
    })
}
