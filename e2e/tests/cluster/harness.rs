//! The cluster itself, and what the library does with it.

use std::time::{Duration, Instant};

use anyhow::Result;
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, Namespace as NamespaceObject, Pod},
};
use kube::Api;
use sluice_e2e::{
    Cluster, Component, ThrowAway,
    cluster::{PAUSE_IMAGE, restarts},
    mysql, postgres,
    servers::Kind,
};

const PATIENCE: Duration = Duration::from_secs(60);
const LABELS: &str = "app=quiet";

/// A StatefulSet whose pod does nothing, under the rules that agents obey.
fn quiet() -> String {
    format!(
        r"
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: quiet}}
spec:
  serviceName: quiet
  selector: {{matchLabels: {{app: quiet}}}}
  template:
    metadata: {{labels: {{app: quiet}}}}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 1
      securityContext:
        {{runAsNonRoot: true, runAsUser: 65532, seccompProfile: {{type: RuntimeDefault}}}}
      containers:
      - name: quiet
        image: {PAUSE_IMAGE}
        securityContext:
          {{readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: quiet}}
spec: {{clusterIP: None, selector: {{app: quiet}}, ports: [{{port: 80}}]}}
"
    )
}

#[tokio::test]
async fn a_pod_whose_process_is_killed_starts_again() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let namespace = cluster.namespace("killed").await?;
    namespace.apply(&quiet()).await?;
    namespace.wait_pod_ready("quiet-0", PATIENCE).await?;
    namespace.kill_nine("quiet-0").await?;
    let what = "one restart";
    let again = |pod: &Pod| restarts(pod) == 1;
    namespace.wait_for("quiet-0", what, PATIENCE, again).await?;
    namespace.wait_pod_ready("quiet-0", PATIENCE).await?;
    Ok(())
}

#[tokio::test]
async fn a_wait_that_fails_says_what_was_seen() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let namespace = cluster.namespace("seen").await?;
    namespace
        .apply(&quiet().replace(PAUSE_IMAGE, "sluice.local/none:1"))
        .await?;
    namespace.pod(LABELS, PATIENCE).await?;
    let waited = namespace.wait_pod_ready("quiet-0", Duration::from_secs(5));
    let error = format!("{:#}", waited.await.expect_err("there is no such image"));
    for expected in [
        "Ready=True of Pod quiet-0",
        "sluice.local/none:1",
        "Pulling",
        "kubectl get pods",
    ] {
        assert!(error.contains(expected), "no {expected} in: {error}");
    }
    Ok(())
}

#[tokio::test]
async fn a_namespace_goes_away_with_its_objects() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let namespace = cluster.namespace("short").await?;
    let name = namespace.name.clone();
    namespace.apply(&quiet()).await?;
    drop(namespace);
    let namespaces: Api<NamespaceObject> = Api::all(cluster.client.clone());
    sluice_e2e::wait::wait_for("the namespace's end", PATIENCE, || async {
        Ok(namespaces.get_opt(&name).await?.is_none().then_some(()))
    })
    .await
}

#[tokio::test]
async fn what_the_api_server_refuses_is_told() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let namespace = cluster.namespace("refused").await?;
    let message = namespace
        .refusal(&quiet().replace("serviceName: quiet", "replicas: -1"))
        .await?;
    assert!(
        message.contains("must be greater than or equal to 0"),
        "{message}"
    );
    let accepted = namespace.refusal(&quiet()).await;
    assert!(accepted.is_err(), "{accepted:?}");
    assert!(
        namespace
            .api::<StatefulSet>()
            .get_opt("quiet")
            .await?
            .is_none()
    );
    Ok(())
}

#[tokio::test]
async fn a_secret_holds_what_was_put_last() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let namespace = cluster.namespace("secret").await?;
    namespace
        .secret("login", &[("user", "a"), ("password", "b")])
        .await?;
    namespace.secret("login", &[("password", "c")]).await?;
    let secret: k8s_openapi::api::core::v1::Secret = namespace.get("login").await?;
    let data = secret.data.unwrap_or_default();
    assert_eq!(data.len(), 1, "{:?}", data.keys());
    assert_eq!(data["password"].0, b"c");
    Ok(())
}

#[tokio::test]
async fn sluice_runs_in_a_pod() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let namespace = cluster.namespace("image").await?;
    let image = format!("--image={}", cluster.image()?);
    let run = [
        "run",
        "version",
        &image,
        "--restart=Never",
        "--command",
        "--",
        "sluice",
        "--version",
    ];
    namespace.kubectl(&run).await?;
    let ended = |pod: &Pod| {
        pod.status
            .as_ref()
            .is_some_and(|status| status.phase.as_deref() == Some("Succeeded"))
    };
    namespace
        .wait_for("version", "its end", PATIENCE, ended)
        .await?;
    let logs = namespace.logs("version").await?;
    assert!(logs.starts_with("sluice "), "{logs}");
    Ok(())
}

#[tokio::test]
async fn every_component_can_be_killed_and_comes_back() -> Result<()> {
    let cluster = Cluster::alone().await?;
    let namespace = cluster.namespace("components").await?;
    namespace.apply(&quiet()).await?;
    let first = namespace.wait_pod_ready("quiet-0", PATIENCE).await?;
    for component in [
        Component::ApiServer,
        Component::Etcd,
        Component::ControllerManager,
        Component::Scheduler,
        Component::Containerd,
        Component::Kubelet,
        Component::KubeProxy,
        Component::Dns,
    ] {
        let begin = Instant::now();
        let killed = cluster.kill(component).await?;
        if component == Component::ApiServer {
            let seen = cluster.client.apiserver_version().await;
            assert!(seen.is_err(), "the API server still answers");
        }
        killed.start().await?;
        println!("{component:?}: {:?}", begin.elapsed());
        let map = format!(
            "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {}}}}}",
            format!("{component:?}").to_lowercase()
        );
        namespace.apply(&map).await?;
    }
    let maps: Api<ConfigMap> = namespace.api();
    assert_eq!(
        maps.list(&kube::api::ListParams::default())
            .await?
            .items
            .len(),
        9
    );
    // The pod has lived through all of it.
    let last = namespace.wait_pod_ready("quiet-0", PATIENCE).await?;
    assert_eq!(last.metadata.uid, first.metadata.uid);
    assert_eq!(restarts(&last), 0);
    Ok(())
}

#[tokio::test]
async fn a_drained_node_takes_pods_again() -> Result<()> {
    let cluster = Cluster::alone().await?;
    let namespace = cluster.namespace("drained").await?;
    namespace.apply(&quiet()).await?;
    let first = namespace.wait_pod_ready("quiet-0", PATIENCE).await?;
    let _drained = cluster.drain().await?;
    let unschedulable = |pod: &Pod| {
        sluice_e2e::cluster::condition(pod, "PodScheduled")
            .is_some_and(|one| one.reason == "Unschedulable")
    };
    namespace
        .wait_for("quiet-0", "an unschedulable pod", PATIENCE, unschedulable)
        .await?;
    cluster.uncordon().await?;
    let second = namespace.wait_pod_ready("quiet-0", PATIENCE).await?;
    assert_ne!(second.metadata.uid, first.metadata.uid);
    Ok(())
}

#[tokio::test]
async fn databases_for_pods_answer_at_the_hosts_address() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let shared = cluster.databases()?;
    let own = ThrowAway::for_pods(&cluster.host, &[Kind::Postgres]).await?;
    let own = own.servers();
    assert_eq!(own.mysql.address(), shared.mysql.address());
    assert_ne!(own.postgres.address(), shared.postgres.address());
    for endpoint in [&shared.mysql, &shared.postgres, &own.postgres] {
        assert_eq!(endpoint.host, cluster.host);
    }
    mysql::connect(&shared.mysql, None).await?;
    postgres::connect(&shared.postgres, "postgres").await?;
    postgres::connect(&own.postgres, "postgres").await?;
    Ok(())
}
