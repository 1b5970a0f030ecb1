//! Passwords are in Secrets, and nowhere else.

use anyhow::{Result, ensure};
use k8s_openapi::ByteString;
use sluice_e2e::{
    Cluster, MysqlDatabase, PgDatabase,
    cluster::{Operator, READY_AT_MOST, Replica},
};

use crate::orders::Orders;

const MYSQL_PASSWORD: &str = "Kx7-hidden-in-mysql-41";
const POSTGRES_PASSWORD: &str = "Qz9-hidden-in-postgres-86";
const WRONG_PASSWORD: &str = "Wv3-refused-by-mysql-52";

/// Everything in a namespace where a password could have gone, but Secrets.
const KINDS: &str = "configmaps,pods,statefulsets,jobs,services,serviceaccounts,controllerrevisions,\
                     events,events.events.k8s.io,replicationsources,replicasinks,poddisruptionbudgets";

#[tokio::test]
async fn passwords_are_in_secrets_and_nowhere_else() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let mut orders = Orders::prepare(&cluster, "hidden").await?;
    let user = format!("h{}", orders.replica.mysql.name);
    let (mysql, postgres) = (&orders.replica.mysql, &orders.replica.postgres);
    create_users(mysql, postgres, &user).await?;
    let file = orders.replica.file.clone();
    orders.replica.file = file
        .mysql_login(&user, MYSQL_PASSWORD)
        .postgres_login(&user, POSTGRES_PASSWORD)
        .sink_spec(|spec| spec["agent"] = serde_json::json!({"logLevel": "Trace"}));
    let hidden = is_hidden(&cluster, &orders, &user).await;
    let sinks = [
        "delete",
        "rsink",
        "--all",
        "--cascade=foreground",
        "--timeout=60s",
    ];
    orders.namespace().kubectl(&sinks).await?;
    orders
        .replica
        .mysql
        .exec(format!("DROP USER '{user}'"))
        .await?;
    let drop = format!("DROP OWNED BY \"{user}\" CASCADE; DROP ROLE \"{user}\"");
    orders.replica.postgres.exec(drop).await?;
    hidden
}

async fn create_users(mysql: &MysqlDatabase, postgres: &PgDatabase, user: &str) -> Result<()> {
    mysql
        .exec(format!(
            "CREATE USER '{user}' IDENTIFIED BY '{MYSQL_PASSWORD}'; \
         GRANT SELECT, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '{user}'"
        ))
        .await?;
    let database = &postgres.name;
    postgres
        .exec(format!(
            "CREATE ROLE \"{user}\" LOGIN PASSWORD '{POSTGRES_PASSWORD}'; \
         GRANT ALL ON DATABASE \"{database}\" TO \"{user}\""
        ))
        .await
}

async fn is_hidden(cluster: &Cluster, orders: &Orders, user: &str) -> Result<()> {
    orders.replica.start().await?;
    orders.flows().await?;
    let mut seen = vec![("while rows flow".to_owned(), everything(orders).await?)];
    // A password that is refused ends up in an error message more easily than any other.
    let namespace = orders.namespace();
    namespace
        .secret("mysql", &[("username", user), ("password", WRONG_PASSWORD)])
        .await?;
    orders
        .replica
        .wait_not_ready("PrerequisitesNotMet", READY_AT_MOST)
        .await?;
    seen.push(("while it is refused".to_owned(), everything(orders).await?));
    namespace
        .secret("mysql", &[("username", user), ("password", MYSQL_PASSWORD)])
        .await?;
    orders.replica.wait_ready().await?;
    seen.push((
        "the operator's log".to_owned(),
        Operator::installed(cluster).await?.logs().await?,
    ));
    for (place, text) in seen {
        ensure!(
            text.len() > 1_000,
            "hardly anything was seen {place}: {text}"
        );
        for password in [MYSQL_PASSWORD, POSTGRES_PASSWORD, WRONG_PASSWORD] {
            let encoded = serde_json::to_value(ByteString(password.as_bytes().to_vec()))?;
            let encoded = encoded.as_str().unwrap_or_default().to_owned();
            for form in [password.to_owned(), encoded] {
                let line = text.lines().find(|line| line.contains(&form));
                ensure!(line.is_none(), "{place}: {}", line.unwrap_or_default());
            }
        }
    }
    Ok(())
}

/// Every object but the Secrets, their descriptions, and the logs of all pods.
async fn everything(orders: &Orders) -> Result<String> {
    let namespace = orders.namespace();
    let mut text = namespace
        .kubectl(&["get", KINDS, "-o", "yaml", "--show-managed-fields"])
        .await?;
    let resources = ["describe", "replicationsources,replicasinks,statefulsets"];
    text += &namespace.kubectl(&resources).await?;
    // Checks come and go.
    let passing = namespace.kubectl(&["describe", "pods,jobs"]).await;
    text += &passing.unwrap_or_default();
    for labels in [
        "app.kubernetes.io/component=agent",
        "app.kubernetes.io/component=check",
    ] {
        let selector = format!("--selector={labels}");
        // A pod may be between two containers.
        let logs = namespace.kubectl(&["logs", &selector, "--tail=-1"]).await;
        text += &logs.unwrap_or_default();
    }
    text += &namespace
        .http_get(Replica::AGENT, 8080, "/v1/status")
        .await
        .unwrap_or_default();
    text += &namespace
        .http_get(Replica::AGENT, 8080, "/metrics")
        .await
        .unwrap_or_default();
    Ok(text)
}
