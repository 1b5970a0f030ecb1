//! What a pipeline needs before it starts: Secrets and prerequisites. It says what is missing, and goes
//! on by itself once it is there.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use sluice_crds::ReplicaSink;
use sluice_e2e::{
    Cluster,
    cluster::{READY_AT_MOST, condition},
};

use crate::orders::{AGENT, Orders, SINK, ready_message};

/// How soon a grant is noticed: the check is made again every minute.
const GRANT_AT_MOST: Duration = Duration::from_secs(90);

#[tokio::test]
async fn a_missing_secret_is_named_and_its_coming_is_noticed() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let orders = Orders::prepare(&cluster, "secret").await?;
    let namespace = orders.namespace();
    let yaml = orders.replica.file.yaml()?;
    let is_secret = |text: &&str| text.contains("kind: Secret");
    let (secrets, rest): (Vec<&str>, Vec<&str>) = yaml.split("---\n").partition(is_secret);
    namespace.apply(&rest.join("---\n")).await?;
    let at_most = Duration::from_secs(10);
    let sink = orders
        .replica
        .wait_not_ready("SecretNotFound", at_most)
        .await?;
    let message = ready_message(&sink);
    let remedy = "kubectl create secret generic mysql --from-literal=username=... \
                  --from-literal=password=...";
    ensure!(message.contains(remedy), "{message}");
    // Half a Secret is none: the key is named.
    namespace
        .secret("mysql", &[("username", "somebody")])
        .await?;
    let what = "the missing key's name";
    let names_key =
        |sink: &ReplicaSink| ready_message(sink).contains("Secret mysql has no key password");
    namespace.wait_for(SINK, what, at_most, names_key).await?;
    namespace.kubectl(&["delete", "secret", "mysql"]).await?;
    let began = Instant::now();
    namespace.apply(&secrets.join("---\n")).await?;
    orders.replica.wait_ready().await?;
    println!("ready {:.1?} after the Secrets came", began.elapsed());
    orders.flows().await?;
    // An agent that runs goes on when its Secret is lost; the resource says so.
    namespace.kubectl(&["delete", "secret", "postgres"]).await?;
    orders
        .replica
        .wait_not_ready("SecretNotFound", at_most)
        .await?;
    orders.flows().await?;
    namespace.apply(&secrets.join("---\n")).await?;
    orders.recovers().await
}

#[tokio::test]
async fn a_missing_grant_is_told_as_a_statement_and_its_coming_is_noticed() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let mut orders = Orders::prepare(&cluster, "grant").await?;
    let (mysql, namespace) = (&orders.replica.mysql, &orders.namespace().name);
    let user = format!(
        "u{}",
        namespace.trim_start_matches(|one: char| !one.is_ascii_digit())
    );
    let database = &mysql.name;
    mysql.exec(format!(
        "CREATE USER '{user}' IDENTIFIED BY 'only-reads'; GRANT SELECT ON `{database}`.* TO '{user}'"
    )).await?;
    let file = orders.replica.file.clone();
    orders.replica.file = file.mysql_login(&user, "only-reads");
    let heals = heals(&orders, &user).await;
    orders
        .replica
        .mysql
        .exec(format!("DROP USER '{user}'"))
        .await?;
    heals
}

async fn heals(orders: &Orders, user: &str) -> Result<()> {
    orders.replica.apply().await?;
    let sink = orders
        .replica
        .wait_not_ready("PrerequisitesNotMet", READY_AT_MOST)
        .await?;
    let met = condition(&sink, "PrerequisitesMet").context("no condition PrerequisitesMet")?;
    ensure!(met.status == "False", "{met:?}");
    let namespace = orders.namespace();
    let described = namespace.kubectl(&["describe", "rsink", SINK]).await?;
    let line = described
        .lines()
        .find(|line| line.contains("GRANT "))
        .unwrap_or_default();
    println!("{}", line.trim());
    ensure!(
        line.contains("REPLICATION SLAVE") && line.contains(user),
        "{described}"
    );
    ensure!(
        namespace
            .api::<StatefulSet>()
            .get_opt(AGENT)
            .await?
            .is_none(),
        "an agent was started all the same"
    );
    let grant = format!("GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '{user}'");
    orders.replica.mysql.exec(grant).await?;
    let began = Instant::now();
    let met = ("PrerequisitesMet", "True");
    namespace
        .wait_condition::<ReplicaSink>(SINK, met, GRANT_AT_MOST)
        .await?;
    println!("the grant was noticed after {:.1?}", began.elapsed());
    orders.replica.wait_ready().await?;
    orders.flows().await?;
    orders.assert_equal().await
}
