//! The agents' image: one that can't be had, and a new one for all.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use sluice_e2e::{
    Cluster,
    cluster::{Operator, Replica, condition},
};

use crate::orders::{Orders, PATIENCE};

#[tokio::test]
async fn an_image_that_does_not_exist_is_told_in_the_kubelets_words() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let orders = Orders::started(&cluster, "no-image").await?;
    let image = json!({"spec": {"agent": {"image": "sluice.local/none:1"}}});
    orders.patch_sink(&image).await?;
    let since = Instant::now();
    let words = ["sluice.local/none:1", "spec.agent.image", "ull"];
    orders.truth(since, "AgentImagePull", &words).await?;
    orders
        .patch_sink(&json!({"spec": {"agent": {"image": null}}}))
        .await?;
    orders.recovers().await
}

#[tokio::test]
async fn a_first_start_with_an_image_that_does_not_exist_is_told_too() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let mut orders = Orders::prepare(&cluster, "no-check").await?;
    let file = orders.replica.file.clone();
    let image = json!({"image": "sluice.local/none:1"});
    orders.replica.file = file.clone().sink_spec(|spec| spec["agent"] = image);
    orders.replica.apply().await?;
    orders
        .truth(Instant::now(), "AgentImagePull", &["sluice.local/none:1"])
        .await?;
    orders.replica.file = file;
    orders.replica.start().await?;
    orders.flows().await?;
    Ok(())
}

#[tokio::test]
async fn a_new_image_reaches_one_pipeline_after_the_other() -> Result<()> {
    let cluster = Cluster::alone().await?;
    let first = Orders::started(&cluster, "image-a").await?;
    let second = Orders::started(&cluster, "image-b").await?;
    let operator = Operator::installed(&cluster).await?;
    let image = cluster.image()?;
    let next = format!("{image}-next");
    cluster.tag_image(&image, &next).await?;
    let moved = is_moved(&operator, &first, &second, &next).await;
    operator.upgrade(&[]).await?;
    let back = arrive(&first, &second, &image).await;
    cluster.untag_image(&next).await?;
    moved.and(back)?;
    first.recovers().await?;
    second.recovers().await
}

async fn is_moved(operator: &Operator, first: &Orders, second: &Orders, next: &str) -> Result<()> {
    let tag = next.rsplit_once(':').context("an image without a tag")?.1;
    let setting = format!("agent.image.tag={tag}");
    let settings = [setting.as_str()];
    // Watched from before the upgrade: helm returns when the operator is rolled out.
    let (upgraded, arrived) =
        tokio::join!(operator.upgrade(&settings), arrive(first, second, next));
    upgraded?;
    arrived
}

/// Waits until both agents run this image, and fails if ever both are not ready.
async fn arrive(first: &Orders, second: &Orders, image: &str) -> Result<()> {
    let began = Instant::now();
    let mut downtimes = [Duration::ZERO; 2];
    let mut last = began;
    loop {
        let (one, two) = tokio::try_join!(state(first, image), state(second, image))?;
        let passed = last.elapsed();
        last = Instant::now();
        for (downtime, state) in downtimes.iter_mut().zip([&one, &two]) {
            if !state.ready {
                *downtime += passed;
            }
        }
        ensure!(one.ready || two.ready, "both agents are not ready");
        if one.arrived() && two.arrived() {
            println!(
                "both run {image} after {:.1?}; not ready for {downtimes:.1?}",
                began.elapsed()
            );
            return Ok(());
        }
        if began.elapsed() > PATIENCE * 2 {
            bail!("waited for {image} in vain: {one:?}, {two:?}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[derive(Debug)]
struct State {
    ready: bool,
    moved: bool,
}

impl State {
    fn arrived(&self) -> bool {
        self.ready && self.moved
    }
}

async fn state(orders: &Orders, image: &str) -> Result<State> {
    let pod = orders
        .namespace()
        .api::<Pod>()
        .get_opt(Replica::AGENT)
        .await?;
    let Some(pod) = pod.filter(|pod| pod.metadata.deletion_timestamp.is_none()) else {
        return Ok(State {
            ready: false,
            moved: false,
        });
    };
    let ready = condition(&pod, "Ready").is_some_and(|ready| ready.status == "True");
    let spec = pod.spec.unwrap_or_default();
    let moved = spec.containers.first().and_then(|one| one.image.as_deref()) == Some(image);
    Ok(State { ready, moved })
}
