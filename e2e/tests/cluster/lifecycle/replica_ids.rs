//! Replica ids towards MySQL, which disconnects the older of two replicas with one id.

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use serde::de::DeserializeOwned;
use sluice_agent_api::config::SourceSystem;
use sluice_crds::{ReplicaSink, ReplicationSource};
use sluice_e2e::{Cluster, PgDatabase, PipelineFile, cluster::READY_AT_MOST};

use crate::orders::{Orders, SOURCE};

/// Names that are tried on each side.
const NAMES: u32 = 100_000;

#[tokio::test]
async fn two_pipelines_of_one_server_have_different_replica_ids_even_if_hashes_collide()
-> Result<()> {
    let cluster = Cluster::connect().await?;
    let orders = Orders::prepare(&cluster, "ids").await?;
    let namespace = orders.namespace();
    let second = PgDatabase::create(&cluster.databases()?, "ids").await?;
    let files = [&orders.replica.postgres, &second]
        .map(|postgres| PipelineFile::new(&orders.replica.mysql, postgres));
    let [first, second] = twins(&namespace.name, &files)?;
    let mut ids = Vec::new();
    for (sink, file) in [&first, &second].into_iter().zip(files) {
        namespace.apply(&file.named(SOURCE, sink).yaml()?).await?;
    }
    for sink in [&first, &second] {
        let ready = ("Ready", "True");
        namespace
            .wait_condition::<ReplicaSink>(sink, ready, READY_AT_MOST)
            .await?;
        let stateful_set: StatefulSet = namespace.get(&format!("{sink}-agent")).await?;
        let annotations = stateful_set.metadata.annotations.unwrap_or_default();
        let id = annotations.get("sluice.dev/server-id").cloned();
        ids.push(id.context("a StatefulSet without a server id")?);
    }
    println!("{first} and {second} have {ids:?}");
    ensure!(ids[0] != ids[1], "both are {}", ids[0]);
    let replicas = orders.replica.mysql.rows("SHOW REPLICAS").await?;
    for id in &ids {
        let is_it = |row: &Vec<Option<String>>| row.first() == Some(&Some(id.clone()));
        ensure!(
            replicas.iter().any(is_it),
            "MySQL has no replica {id}: {replicas:?}"
        );
    }
    Ok(())
}

/// A name for each file's sink, so that both by themselves have the same replica id.
fn twins(namespace: &str, [first, second]: &[PipelineFile; 2]) -> Result<[String; 2]> {
    let (mut of_first, mut of_second) = (Ids::of(namespace, first)?, Ids::of(namespace, second)?);
    let mut seen = HashMap::new();
    for number in 0..NAMES {
        seen.insert(of_first.id(&format!("a{number}"))?, number);
    }
    for number in 0..NAMES {
        let name = format!("b{number}");
        if let Some(other) = seen.get(&of_second.id(&name)?) {
            return Ok([format!("a{other}"), name]);
        }
    }
    bail!("no two names with one replica id")
}

/// What replica id a pipeline would have by itself, by its sink's name.
struct Ids {
    source: ReplicationSource,
    sink: ReplicaSink,
}

impl Ids {
    fn of(namespace: &str, file: &PipelineFile) -> Result<Self> {
        let yaml = file.clone().named(SOURCE, "sink").yaml()?;
        let mut source: ReplicationSource = document(&yaml, "ReplicationSource")?;
        let mut sink: ReplicaSink = document(&yaml, "ReplicaSink")?;
        source.metadata.namespace = Some(namespace.to_owned());
        sink.metadata.namespace = Some(namespace.to_owned());
        Ok(Self { source, sink })
    }

    fn id(&mut self, name: &str) -> Result<u32> {
        self.sink.metadata.name = Some(name.to_owned());
        let config = sluice_convert::agent_config(&self.source, &self.sink)?;
        match config.source.system {
            SourceSystem::Mysql(mysql) => Ok(mysql.server_id),
            SourceSystem::Kafka(_) => anyhow::bail!("the agent reads topics"),
        }
    }
}

fn document<K: DeserializeOwned>(yaml: &str, kind: &str) -> Result<K> {
    let line = format!("kind: {kind}");
    let text = yaml
        .split("---\n")
        .find(|text| text.lines().any(|one| one == line))
        .with_context(|| format!("no {kind} in the file"))?;
    Ok(serde_yaml::from_str(text)?)
}
