//! `make cluster-demo`: a real cluster of one node, the packaged chart, a shop that is written to,
//! and `kubectl get` that shows how its replica gets Ready; then both sides are compared.
//!
//! Exit code 0 when they are equal, 1 when not. `KEEP=1` goes on until Ctrl-C and leaves operator and
//! replica running. What an earlier run left behind is removed first.

use std::{
    env,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Result;
use sluice_e2e::{
    Cluster, MysqlDatabase, PgDatabase, PipelineFile, Shop, WriterOptions, Writers,
    cluster::{OPERATOR_NAMESPACE, Operator, RELEASE},
    compare::{Pair, compare},
    pipeline::Ends,
    process::{holds, log_end},
    wait::wait_for,
};
use tokio::{signal::ctrl_c, time::sleep};

const NAMESPACE: &str = "sluice-demo";
const DATABASE: &str = "shop_cluster_demo";
const SOURCE: &str = "shop";
const SINK: &str = "shop-postgres";
const FILE: &str = "target/demo/cluster-shop.yaml";
const ORDERS: u64 = 200_000;
const CHANGES_PER_SECOND: u32 = 500;
/// How often the resources are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long the log is followed once everything is copied: figures that only drift are written
/// every half minute.
const STREAMING: Duration = Duration::from_secs(35);
const CATCH_UP_MAX: Duration = Duration::from_secs(120);

#[tokio::main]
async fn main() -> ExitCode {
    match demo().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn keeps_running() -> bool {
    env::var("KEEP").is_ok_and(|keep| !keep.is_empty() && keep != "0")
}

/// How long each step took.
#[derive(Default)]
struct Times(Vec<(String, Duration)>);

impl Times {
    fn add(&mut self, what: &str, since: Instant) {
        self.0.push((what.to_owned(), since.elapsed()));
    }

    fn print(&self) {
        for (what, took) in &self.0 {
            println!("  {what:<58}{:>7.1} s", took.as_secs_f64());
        }
    }
}

async fn demo() -> Result<bool> {
    println!("Sluice on a cluster: a live MySQL database, replicated into PostgreSQL.\n");
    let cluster = Cluster::connect().await?;
    let mut times = Times::default();
    clean_up(&cluster).await?;

    let servers = cluster.databases()?;
    let mut mysql = MysqlDatabase::create_named(&servers, DATABASE).await?;
    let mut postgres = PgDatabase::create_named(&servers, DATABASE).await?;
    mysql.keep();
    postgres.keep();
    println!("Filling MySQL with a shop of {} orders …", grouped(ORDERS));
    let began = Instant::now();
    let shop = Shop::create(&mysql).await?;
    shop.load_rows(ORDERS).await?;
    times.add("MySQL filled", began);

    println!("\n$ helm package charts/sluice");
    println!("$ helm install {RELEASE} sluice-*.tgz --namespace {OPERATOR_NAMESPACE} --wait …");
    let began = Instant::now();
    Operator::installed(&cluster).await?;
    times.add("chart packaged and installed, the operator ready", began);

    let options = WriterOptions {
        changes_per_second: Some(CHANGES_PER_SECOND),
        bulk: false,
        ..WriterOptions::default()
    };
    let writers = Writers::start_with(&shop, options).await?;
    println!("\nWriters now change about {CHANGES_PER_SECOND} rows of the shop per second.\n");
    let began = Instant::now();
    let ends = apply(&cluster, &mysql, &postgres).await?;
    let ready = show_until(&cluster, began, wait_ready(&cluster)).await;
    if let Err(error) = ready {
        return Err(error.context(explanation(&cluster).await));
    }
    times.add("from kubectl apply to Ready=True", began);

    if keeps_running() {
        println!("{}", what_to_type());
        show_until(&cluster, began, async { Ok(ctrl_c().await?) }).await?;
    } else {
        let watched = async {
            sleep(STREAMING).await;
            Ok(())
        };
        show_until(&cluster, began, watched).await?;
    }
    let report = writers.stop().await?;
    let stopped = Instant::now();
    caught_up(&ends).await?;
    times.add(
        "from the last change in MySQL to all in PostgreSQL",
        stopped,
    );
    println!(
        "\nThe writers made {} transactions with {} changes. Every row and value, compared:\n",
        grouped(report.transactions),
        grouped(report.changes)
    );
    let began = Instant::now();
    let is_equal = compare_all(&mysql, &postgres).await?;
    times.add("both sides compared", began);
    times.print();
    farewell(&cluster).await?;
    Ok(is_equal)
}

/// Removes what an earlier run left: its namespace, also when no operator is there to let go of it.
async fn clean_up(cluster: &Cluster) -> Result<()> {
    let delete = ["delete", "namespace", NAMESPACE, "--ignore-not-found"];
    let told = cluster
        .kubectl(&[&delete[..], &["--wait=false"]].concat())
        .await?;
    if told.is_empty() {
        return Ok(());
    }
    println!("Removing what an earlier run left behind …");
    let sources = ["get", "replicationsources.sluice.dev", "-o", "name"];
    let there = ["--namespace", NAMESPACE];
    // Without the definitions there are no such resources either.
    let sources = cluster.kubectl(&[&there[..], &sources].concat()).await;
    for source in sources.unwrap_or_default().lines() {
        let patch = r#"{"metadata":{"finalizers":null}}"#;
        let patch = ["patch", source, "--type=merge", "-p", patch];
        // The operator may have let go of it meanwhile.
        drop(cluster.kubectl(&[&there[..], &patch].concat()).await);
    }
    cluster
        .kubectl(&[&delete[..], &["--timeout=120s"]].concat())
        .await?;
    Ok(())
}

/// Writes the two Secrets and the two resources to a file and applies it, as a user would.
async fn apply(cluster: &Cluster, mysql: &MysqlDatabase, postgres: &PgDatabase) -> Result<Ends> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(FILE);
    let file = PipelineFile::new(mysql, postgres).named(SOURCE, SINK);
    let mut ends = file.write_to(&path)?.ends;
    // In a cluster, a pipeline is called by its namespace, too.
    ends.pipeline = format!("{NAMESPACE}/{SINK}");
    println!("$ kubectl create namespace {NAMESPACE}");
    cluster.kubectl(&["create", "namespace", NAMESPACE]).await?;
    println!("$ kubectl -n {NAMESPACE} apply -f {FILE}");
    let path = path.display().to_string();
    let applied = in_namespace(cluster, &["apply", "-f", &path]).await?;
    println!("{applied}");
    println!("$ kubectl -n {NAMESPACE} get replicationsources,replicasinks   (as they change)\n");
    Ok(ends)
}

async fn wait_ready(cluster: &Cluster) -> Result<()> {
    let (source, sink) = (
        format!("replicationsource/{SOURCE}"),
        format!("replicasink/{SINK}"),
    );
    let wait = ["wait", "--for=condition=Ready", "--timeout=280s"];
    let told = in_namespace(cluster, &[&wait[..], &[&source, &sink]].concat()).await?;
    println!(
        "$ kubectl -n {NAMESPACE} wait --for=condition=Ready replicationsource/{SOURCE} replicasink/{SINK}"
    );
    println!("{told}");
    Ok(())
}

/// Prints both resources whenever they have changed, until something else is done.
async fn show_until(
    cluster: &Cluster,
    since: Instant,
    until: impl Future<Output = Result<()>>,
) -> Result<()> {
    let mut last = String::new();
    let show = async {
        loop {
            let get = ["get", "replicationsources,replicasinks"];
            // What can't be read now is read the next time.
            if let Ok(table) = in_namespace(cluster, &get).await {
                let figures = without_age(&table);
                if figures != last {
                    println!("— after {:.0} s", since.elapsed().as_secs_f64());
                    println!("{table}");
                    last = figures;
                }
            }
            sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        outcome = until => outcome,
        () = show => Ok(()),
    }
}

/// A table without its last column, which changes all the time.
fn without_age(table: &str) -> String {
    let lines = table.lines().map(str::trim_end);
    let lines = lines.map(|line| line.rsplit_once(' ').map_or(line, |(before, _)| before));
    lines.collect::<Vec<_>>().join("\n")
}

async fn in_namespace(cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    let there = ["--namespace", NAMESPACE];
    cluster.kubectl(&[&there[..], arguments].concat()).await
}

/// What a person would look up when a replica does not get ready.
async fn explanation(cluster: &Cluster) -> String {
    let mut seen = Vec::new();
    for arguments in [
        &["describe", "replicationsources,replicasinks"][..],
        &["get", "pods,jobs,statefulsets", "-o", "wide"],
        &["events"],
    ] {
        let told = in_namespace(cluster, arguments).await;
        let told = told.unwrap_or_else(|error| format!("{error:#}"));
        seen.push(format!("$ kubectl {}\n{told}", arguments.join(" ")));
    }
    seen.join("\n")
}

async fn caught_up(ends: &Ends) -> Result<()> {
    let place = log_end(ends).await?;
    let client = tokio::sync::Mutex::new(None);
    wait_for("the last change in PostgreSQL", CATCH_UP_MAX, || async {
        let holds = holds(&mut *client.lock().await, ends, &place).await?;
        Ok(holds.then_some(()))
    })
    .await
}

async fn compare_all(mysql: &MysqlDatabase, postgres: &PgDatabase) -> Result<bool> {
    println!(
        "  {:<14}{:>12}{:>12}{:>12}",
        "table", "MySQL", "PostgreSQL", "different"
    );
    let mut different = 0;
    for table in Shop::TABLES {
        let found = compare(mysql, postgres, &Pair::same(mysql, table)).await?;
        println!(
            "  {table:<14}{:>12}{:>12}{:>12}",
            grouped(found.mysql_rows),
            grouped(found.postgres_rows),
            grouped(found.different)
        );
        for example in &found.examples {
            println!("      {example}");
        }
        different += found.different;
    }
    if different == 0 {
        println!("\nBoth sides are equal.\n");
    } else {
        println!("\nBOTH SIDES DIFFER in {} rows.\n", grouped(different));
    }
    Ok(different == 0)
}

fn what_to_type() -> String {
    format!(
        "It goes on until you press Ctrl-C. Meanwhile, in another terminal:

    eval \"$(e2e/cluster up --no-image)\"     # exports KUBECONFIG and SLUICE_KUBECTL
    $SLUICE_KUBECTL -n {NAMESPACE} get replicasinks --watch
    $SLUICE_KUBECTL -n {NAMESPACE} describe replicasink {SINK}
    $SLUICE_KUBECTL -n {NAMESPACE} delete pod {SINK}-agent-0
    $SLUICE_KUBECTL -n {OPERATOR_NAMESPACE} port-forward service/{RELEASE} 8080    # the page: http://localhost:8080
"
    )
}

async fn farewell(cluster: &Cluster) -> Result<()> {
    if keeps_running() {
        println!(
            "\nOperator and replica go on, without the writers, until `make down`. The resources are in"
        );
        println!("{FILE}: change them and apply them again.");
        return Ok(());
    }
    let delete = ["delete", "namespace", NAMESPACE, "--timeout=120s"];
    cluster.kubectl(&delete).await?;
    let uninstall = ["uninstall", RELEASE, "--namespace", OPERATOR_NAMESPACE];
    cluster
        .helm(&[&uninstall[..], &["--wait"]].concat())
        .await?;
    println!(
        "\nThe operator is uninstalled; cluster and databases are still there, until `make down`."
    );
    println!("KEEP=1 make cluster-demo keeps everything running until Ctrl-C.");
    Ok(())
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
